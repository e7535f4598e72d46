# SPDX-License-Identifier: Apache-2.0
"""Folders to write to: made and tried before any work is done, and written to by one run at a time."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from akd_monai.errors import InputError

try:
    import fcntl
except ImportError:  # Windows has no flock
    fcntl = None  # type: ignore[assignment]

logger = logging.getLogger(__name__)

TEMPORARY = ".tmp-"


def as_path(value: object, name: str) -> Path:
    """Return ``value`` as a path.

    Raises:
        InputError: for a number or anything else that is no path, as a command line may hand over.

    Example:
        >>> as_path(5, "input_dir")
        Traceback (most recent call last):
        ...
        akd_monai.errors.InputError: input_dir must be the path of a folder, got 5.
    """
    if not isinstance(value, str | os.PathLike):
        raise InputError(f"{name} must be the path of a folder, got {value!r}.")
    return Path(value).expanduser()


def made_folder(folder: Path, purpose: str = "output") -> Path:
    """Make ``folder`` if it is not there, see that a file can be made in it, and return it.

    Raises:
        InputError: if the folder cannot be made or written to, for instance because it is a file.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        why = "it is a file" if folder.is_file() else (error.strerror or type(error).__name__)
        raise InputError(
            f"the {purpose} folder {folder} cannot be written to ({why}); choose another folder."
        ) from None
    return folder


@contextmanager
def only_writer(folder: Path) -> Iterator[Path]:
    """Make ``folder``, keep it to this process until the end of the block, and clear what a killed run left half written.

    Two runs that write one manifest would lose each other's records. The operating system frees the folder when the
    process ends, however it ends.

    Raises:
        InputError: if the folder cannot be written to, or another process writes to it.

    Example:
        >>> with tempfile.TemporaryDirectory() as folder, only_writer(Path(folder)):
        ...     with only_writer(Path(folder)):
        ...         pass
        Traceback (most recent call last):
        ...
        akd_monai.errors.InputError: the output folder ... is being written to by another process; ...
    """
    made_folder(folder)
    # The folder itself is locked, so that no file is left in it.
    descriptor = os.open(folder, os.O_RDONLY) if fcntl is not None else None
    try:
        if descriptor is not None:
            _lock(descriptor, folder)
        for pattern in (f"{TEMPORARY}*", f"*/{TEMPORARY}*", f"*/*/{TEMPORARY}*"):
            for left_over in folder.glob(pattern):
                left_over.unlink(missing_ok=True)
        yield folder
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _lock(descriptor: int, folder: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise InputError(
            f"the output folder {folder} is being written to by another process; wait until it has ended, or choose"
            " another folder."
        ) from None
    except OSError as error:
        # Some network file systems lock no folders; going on without is better than not at all.
        logger.debug("%s cannot be locked: %s", folder, error)
