# SPDX-License-Identifier: Apache-2.0
"""Everything that touches a file: atomic writes, hashes, JSON, folders that can be written to, and who writes to them."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import json
import logging
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from akd_monai._json_files import read_json
from akd_monai.errors import InputError

try:
    import fcntl
except ImportError:  # Windows has no flock
    fcntl = None  # type: ignore[assignment]

__all__ = [
    "FolderLock",
    "as_path",
    "atomic_write",
    "check_writable",
    "is_running",
    "read_json",
    "remove_leftovers",
    "save_atomic",
    "sha256_of",
    "write_json",
]

logger = logging.getLogger(__name__)

Content = str | bytes | memoryview | Callable[[BinaryIO], Any]

_TEMPORARY = ".tmp-"
_NAME_KEPT = 40
_MEGABYTE = 1e6
# Worker processes of a killed run hold its lock until they notice, which takes PyTorch up to 5 seconds.
_ORPHAN_SECONDS = 15.0


def atomic_write(
    path: str | os.PathLike[str],
    content: Content,
    *,
    size: int | None = None,
    keep: str | os.PathLike[str] | None = None,
    sync: bool = True,
) -> Path:
    """Write a file so that a process killed at any moment leaves the complete old file or the complete new one.

    Args:
        path: the file; its folder is made.
        content: a string (written as UTF-8 with plain line ends), bytes, or a function that writes to a binary stream.
        size: bytes that will be written, if known: too small a disk is then refused before anything is written.
        keep: name under which the previous file is kept.
        sync: wait until it is on the disk, so that it outlives a power cut as well; for what can be computed again,
            that is not worth the time.

    Returns:
        The path.

    Raises:
        InputError: if the folder cannot be made or written to.
        OSError: if no space is left; the message names folder and size.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     atomic_write(Path(folder) / "deep" / "note.txt", "hello").read_text()
        'hello'
    """
    path = Path(path)
    write, known_size = _writer(content)
    size = known_size if size is None else size
    # In the same folder, so that replacing is a rename.
    temporary = _temporary(path)
    with _explained(path, size):
        path.parent.mkdir(parents=True, exist_ok=True)
        if size is not None and shutil.disk_usage(path.parent).free < size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        try:
            with open(temporary, "wb") as stream:
                write(stream)
                stream.flush()
                if sync:
                    os.fsync(stream.fileno())
            if keep is not None and path.exists():
                os.replace(path, keep)
            os.replace(temporary, path)
            if sync:
                _sync_folder(path.parent)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
    return path


def _temporary(path: Path) -> Path:
    # Process and thread keep two writers of one file apart. A name may be as long as the file system allows already.
    return path.with_name(f"{_TEMPORARY}{os.getpid()}-{threading.get_ident()}-{path.name[-_NAME_KEPT:]}")


def _writer(content: Content) -> tuple[Callable[[BinaryIO], Any], int | None]:
    if callable(content):
        return content, None
    data = content.encode() if isinstance(content, str) else memoryview(content)
    return (lambda stream: stream.write(data)), len(data)


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
        InputError: if the folder cannot be made or written to.
        OSError: if no space is left.
    """
    import torch

    buffer = io.BytesIO()
    torch.save(obj, buffer)
    content = buffer.getbuffer()
    sha256 = hashlib.sha256(content).hexdigest()
    if before_write is not None:
        before_write(sha256)
    atomic_write(path, content, keep=keep)
    return sha256


def sha256_of(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits.

    Raises:
        OSError: if the file cannot be read.
    """
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_json(path: str | os.PathLike[str], content: Any, *, indent: int | None = 1, sort_keys: bool = False) -> Path:
    """Write ``content`` as JSON through :func:`atomic_write`; NaN and infinity, which JSON cannot hold, are refused.

    Raises:
        ValueError: for NaN or infinity.
        InputError: if the folder cannot be made or written to.
        OSError: if no space is left.
    """
    text = json.dumps(content, indent=indent, sort_keys=sort_keys, ensure_ascii=False, allow_nan=False)
    return atomic_write(path, text + "\n")


def as_path(value: object, name: str) -> Path:
    """Return ``value`` as a path.

    Raises:
        InputError: for a number or anything else that is no path, as a command line may hand over; ``True`` is a flag
            without a value.

    Example:
        >>> as_path(5, "input_dir")
        Traceback (most recent call last):
        ...
        akd_monai.errors.InputError: input_dir must be a path, got 5.
    """
    if value is True:
        raise InputError(f"{name} has no value", remedy="give a path; one that begins with a hyphen as ./-name")
    if not isinstance(value, (str, os.PathLike)):
        raise InputError(f"{name} must be a path, got {value!r}.")
    return Path(value).expanduser()


def check_writable(folder: str | os.PathLike[str]) -> Path:
    """Make ``folder``, prove that a file can be written to it, and return it.

    Raises:
        InputError: if it cannot be made or written to, naming it.
    """
    folder = Path(folder)
    probe = _temporary(folder / "probe")
    with _explained(probe, None):
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    return folder


def remove_leftovers(folder: str | os.PathLike[str], *, depth: int = 0) -> None:
    """Delete temporary files of processes that no longer run, left when one was killed while it wrote.

    Args:
        folder: where to look.
        depth: how many levels of sub-folders to look into.
    """
    for level in range(depth + 1):
        for path in Path(folder).glob("*/" * level + f"{_TEMPORARY}*"):
            pid = path.name.removeprefix(_TEMPORARY).split("-")[0]
            # In a container the next process often has the number of the killed one.
            if pid.isdigit() and (int(pid) == os.getpid() or not is_running(int(pid))):
                with contextlib.suppress(OSError):
                    path.unlink()


def is_running(pid: int) -> bool:
    """Return whether a process of this number exists on this machine."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


class FolderLock:
    """Keep a folder to one process; the operating system frees it when the process ends, however it ends.

    On Windows, and on file systems without locks, nothing is locked.

    Args:
        folder: it is made.
        name: file of the lock in it, which holds the process id.
        remedy: what to do about a folder in use.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder, FolderLock(folder):
        ...     FolderLock(folder).acquire()
        Traceback (most recent call last):
        ...
        akd_monai.errors.InputError: folder '...' is in use by process ...
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        name: str = ".lock",
        *,
        remedy: str = "wait until that run ends, or choose another output folder",
    ) -> None:
        self.path = Path(folder) / name
        self._remedy = remedy
        self._stream: Any = None

    def acquire(self) -> None:
        """Take the lock.

        Raises:
            InputError: if another process holds it, naming that process, or the folder cannot be written to.
        """
        if fcntl is None or self._stream is not None:
            return
        check_writable(self.path.parent)
        with _explained(self.path, None):
            stream = open(self.path, "a+", encoding="ascii")  # noqa: SIM115 - open as long as the lock is held
        give_up = time.monotonic() + _ORPHAN_SECONDS
        while not _try_lock(stream):
            stream.seek(0)
            holder = stream.read().strip()
            if holder.isdigit() and not is_running(int(holder)) and time.monotonic() < give_up:
                time.sleep(0.2)
                continue
            stream.close()
            raise InputError(
                f"folder {str(self.path.parent)!r} is in use by process {holder or 'unknown'}: {self._remedy}."
            )
        stream.truncate(0)
        stream.write(str(os.getpid()))
        stream.flush()
        self._stream = stream

    def descriptors(self) -> list[int]:
        """Return what a child process must inherit so that the lock is held until it has ended too; nothing without lock."""
        return [] if self._stream is None else [self._stream.fileno()]

    def release(self) -> None:
        """Give the lock back; without one held, nothing happens."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def __enter__(self) -> FolderLock:
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def _try_lock(stream: Any) -> bool:
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        # Some network file systems have no locks; running without one is better than not at all.
        logger.warning("%s cannot be locked (%s): do not start a second run in its folder.", stream.name, error)
    return True


@contextlib.contextmanager
def _explained(path: Path, size: int | None) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        folder = str(path.parent)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            needed = "" if size is None else f": {size / _MEGABYTE:.1f} MB needed"
            message = (
                f"no space left in {folder!r} for {path.name}{needed}; free some, files written before are complete"
            )
            raise OSError(error.errno, message) from error
        raise InputError(
            f"folder {folder!r} cannot be written to ({error.strerror or error}): choose another or change its "
            "permissions."
        ) from error


def _sync_folder(folder: Path) -> None:
    # A rename is only safe from a power cut once the folder itself is on disk; not every system can do that.
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
