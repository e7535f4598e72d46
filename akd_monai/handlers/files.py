# SPDX-License-Identifier: Apache-2.0
"""Files that are either the old ones or the new ones, never half of one."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import torch

from akd_monai.errors import InputError

TEMPORARY = ".tmp-"
_MEGABYTE = 1e6


def atomic_write(
    path: str | os.PathLike[str],
    write: Callable[[BinaryIO], Any],
    *,
    size: int | None = None,
    keep: str | os.PathLike[str] | None = None,
) -> None:
    """Write a file so that a process killed at any moment leaves the old file or the new one, whole.

    Args:
        path: the file; its folder must exist.
        write: called with the open binary stream.
        size: bytes that will be written, if known: too small a disk is then refused before anything is written.
        keep: name under which the file of before is kept.

    Raises:
        InputError: if the folder does not exist or may not be written to.
        OSError: if no space is left; the text names folder and size.

    Example:
        >>> import tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> path = Path(folder.name) / "note.bin"
        >>> atomic_write(path, lambda stream: stream.write(b"whole"))
        >>> path.read_bytes(), os.listdir(folder.name)
        (b'whole', ['note.bin'])
        >>> folder.cleanup()
    """
    path = Path(path)
    # The same folder, so that replacing is a rename; the process id keeps two writers apart.
    temporary = path.with_name(f"{TEMPORARY}{os.getpid()}-{path.name}")
    with _explained(path, size):
        if size is not None and shutil.disk_usage(path.parent).free < size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        try:
            with open(temporary, "wb") as stream:
                write(stream)
                stream.flush()
                os.fsync(stream.fileno())
            if keep is not None and path.exists():
                os.replace(path, keep)
            os.replace(temporary, path)
            _sync_folder(path.parent)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


def save_atomic(
    obj: Any,
    path: str | os.PathLike[str],
    *,
    keep: str | os.PathLike[str] | None = None,
    before_write: Callable[[str], None] | None = None,
) -> str:
    """Write ``obj`` by ``torch.save`` through :func:`atomic_write` and return the SHA-256 of the file.

    Equal content gives equal bytes. ``before_write`` is called with the SHA-256 before the file appears.

    Raises:
        InputError: if the folder does not exist or may not be written to.
        OSError: if no space is left.
    """
    buffer = io.BytesIO()
    torch.save(obj, buffer)
    content = buffer.getbuffer()
    sha256 = hashlib.sha256(content).hexdigest()
    if before_write is not None:
        before_write(sha256)
    atomic_write(path, lambda stream: stream.write(content), size=content.nbytes, keep=keep)
    return sha256


def sha256_of(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits.

    Raises:
        OSError: if the file cannot be read.
    """
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def check_writable(folder: str | os.PathLike[str]) -> Path:
    """Make ``folder`` and prove that it takes a file.

    Raises:
        InputError: if it cannot be made or written to, naming it.
    """
    folder = Path(folder)
    probe = folder / f"{TEMPORARY}{os.getpid()}-probe"
    with _explained(probe, None):
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    return folder


def remove_leftovers(folder: str | os.PathLike[str]) -> None:
    """Delete temporary files of processes that no longer run, left when one was killed while it wrote."""
    for path in Path(folder).glob(f"{TEMPORARY}*"):
        pid = path.name.removeprefix(TEMPORARY).split("-")[0]
        # In a container the next process often has the number of the killed one.
        if pid.isdigit() and (int(pid) == os.getpid() or not is_running(int(pid))):
            with contextlib.suppress(OSError):
                path.unlink()


@contextlib.contextmanager
def _explained(path: Path, size: int | None) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        folder, name = str(path.parent), path.name
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            needed = "" if size is None else f": {size / _MEGABYTE:.1f} MB needed"
            text = f"no space left in {folder!r} for {name}{needed}; free some, files written before are whole"
            raise OSError(error.errno, text) from error
        raise InputError(
            f"folder {folder!r} cannot be written to ({error.strerror or error}): choose another or change its rights."
        ) from error


def _sync_folder(folder: Path) -> None:
    # A rename is only safe from a power cut once the folder itself is on disk; not every system can do that.
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def is_running(pid: int) -> bool:
    """Return whether a process of this number exists on this machine."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True
