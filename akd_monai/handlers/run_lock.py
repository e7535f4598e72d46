# SPDX-License-Identifier: Apache-2.0
"""A folder that only one run writes to."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from akd_monai.errors import InputError
from akd_monai.handlers.files import is_running

try:
    import fcntl
except ImportError:  # Windows has no flock
    fcntl = None  # type: ignore[assignment]

# Worker processes of a killed run hold its lock until they notice, which takes PyTorch up to 5 seconds.
_ORPHAN_SECONDS = 15.0


class RunLock:
    """Keep a folder to one run; the operating system frees it when the process ends, however it ends.

    Args:
        folder: an existing folder; the lock is its file ``.lock``, which holds the process id.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder, RunLock(folder):
        ...     RunLock(folder).acquire()
        Traceback (most recent call last):
        ...
        akd_monai.errors.InputError: folder '...' is in use by process ...
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.path = Path(folder) / ".lock"
        self._stream: Any = None

    def acquire(self) -> None:
        """Take the lock.

        Raises:
            InputError: if another run holds it, naming its process.
        """
        if fcntl is None or self._stream is not None:
            return
        stream = open(self.path, "a+", encoding="ascii")  # noqa: SIM115 - open as long as the lock is held
        give_up = time.monotonic() + _ORPHAN_SECONDS
        while True:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                stream.seek(0)
                holder = stream.read().strip()
                if holder.isdigit() and not is_running(int(holder)) and time.monotonic() < give_up:
                    time.sleep(0.2)
                    continue
                stream.close()
                raise InputError(
                    f"folder {str(self.path.parent)!r} is in use by process {holder or 'unknown'}: wait until that run "
                    "ends, or choose another output folder."
                ) from error
        stream.truncate(0)
        stream.write(str(os.getpid()))
        stream.flush()
        self._stream = stream

    def release(self) -> None:
        """Give the lock back; without one held, nothing happens."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def __enter__(self) -> RunLock:
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
