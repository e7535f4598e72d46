# SPDX-License-Identifier: Apache-2.0
"""A store of rows of equal size, one file each, for several processes at once."""

from __future__ import annotations

import logging
import os
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from akd_monai.errors import InputError
from akd_monai.files import remove_leftovers

try:
    import fcntl
except ImportError:  # Windows has no flock
    fcntl = None  # type: ignore[assignment]  # a module elsewhere

__all__ = ["RowStore", "not_writable"]

logger = logging.getLogger(__name__)
_HEADER = struct.Struct("<qI")  # tag, checksum of tag and row
_SUFFIX = ".row"


class RowStore:
    """Rows of bytes under keys of 16 bytes, each in a file of its own with a tag and a checksum.

    A file appears under its name once it is complete, so that a process killed at any moment leaves complete rows
    only. A row that does not fit its checksum is reported and treated as missing. Of two processes that store a row under
    one key, the first one counts; without file locks (Windows, some network file systems) it may be the last one.

    Args:
        folder: made when the first row is stored.
        row_bytes: size of a row.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     RowStore(folder, row_bytes=3).append(b"k" * 16, 7, np.array([1, 2, 3], np.uint8))
        ...     other = RowStore(folder, row_bytes=3)
        ...     other.find(b"k" * 16), other.read([b"k" * 16])
        (7, array([[1, 2, 3]], dtype=uint8))
    """

    def __init__(self, folder: str | os.PathLike[str], row_bytes: int) -> None:
        self.folder = Path(folder)
        self.row_bytes = row_bytes
        self._tags: dict[bytes, int] = {}
        self._is_clean = False

    def find(self, key: bytes) -> int | None:
        """Return the tag of a row, None if there is no valid one; its checksum is verified the first time."""
        if key not in self._tags:
            tag = self._verified(key)
            if tag is None:
                return None
            self._tags[key] = tag
        return self._tags[key]

    def count(self, keys: Iterable[bytes]) -> int:
        """Return how many of ``keys`` have a row, valid or not."""
        stored = {path.name for path in self.folder.glob(f"*/*{_SUFFIX}")}
        return sum(_file_name(key) in stored for key in keys)

    def append(self, key: bytes, tag: int, row: NDArray[np.uint8]) -> None:
        """Store a row, unless there is a valid one under this key.

        Args:
            key: 16 bytes.
            tag: a signed integer of 64 bits, kept with the row.
            row: ``[row_bytes]``.

        Raises:
            InputError: if the folder cannot be written to or the disk is full; what is stored stays valid.
        """
        if row.nbytes != self.row_bytes:
            raise ValueError(f"a row has {self.row_bytes} bytes, got {row.nbytes}")
        content = np.ascontiguousarray(row).reshape(-1).data
        header = _HEADER.pack(tag, _checksum(tag, content))
        try:
            with self._locked():
                if self.find(key) is None:
                    _write(self._path(key), header, content)
        except OSError as error:
            raise not_writable(self.folder, error) from error

    def read(self, keys: Sequence[bytes], start: int = 0, stop: int | None = None) -> NDArray[np.uint8]:
        """Return rows that :meth:`find` has found, ``[n, row_bytes]``, or their bytes from ``start`` to ``stop``.

        Raises:
            InputError: if one of them has disappeared.
        """
        stop = self.row_bytes if stop is None else stop
        rows = np.empty((len(keys), stop - start), np.uint8)
        for key, row in zip(keys, rows, strict=True):
            self._read_into(key, start, row)
        return rows

    def _read_into(self, key: bytes, start: int, row: NDArray[np.uint8]) -> None:
        path = self._path(key)
        try:
            with open(path, "rb", buffering=0) as stream:
                stream.seek(_HEADER.size + start)
                count = stream.readinto(row.data)
        except OSError as error:
            raise _disappeared(path) from error
        if count != row.nbytes:
            raise _disappeared(path)

    def _verified(self, key: bytes) -> int | None:
        path = self._path(key)
        try:
            content = path.read_bytes()
        except OSError:
            return None
        if len(content) == _HEADER.size + self.row_bytes:
            tag, checksum = _HEADER.unpack_from(content)
            if _checksum(tag, memoryview(content)[_HEADER.size :]) == checksum:
                return int(tag)
        logger.warning("%s of the teacher cache is damaged and will be computed again.", path)
        return None

    def _path(self, key: bytes) -> Path:
        # 256 folders, because some tools are slow with many files in one
        return self.folder / key[:1].hex() / _file_name(key)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.folder / ".lock", "ab") as stream:
            if fcntl is not None:
                # some network file systems have no locks; rows are complete all the same
                with suppress(OSError):
                    fcntl.flock(stream, fcntl.LOCK_EX)
            if not self._is_clean:
                remove_leftovers(self.folder, depth=1)
                self._is_clean = True
            yield


def _write(path: Path, *parts: bytes | memoryview) -> None:
    """Let a complete file appear.

    Unlike :func:`akd_monai.files.atomic_write` it does not wait for the disk, several milliseconds a row: what a power cut
    takes of a row, its checksum tells, and the row is computed again.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".tmp-{os.getpid()}-{path.name}")
    try:
        with open(temporary, "wb") as stream:
            stream.writelines(parts)
        os.replace(temporary, path)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _file_name(key: bytes) -> str:
    return key.hex() + _SUFFIX


def _checksum(tag: int, content: memoryview) -> int:
    return zlib.crc32(content, zlib.crc32(struct.pack("<q", tag)))


def not_writable(folder: Path, error: OSError) -> InputError:
    """Return the error for a folder of the cache to which nothing can be added."""
    reason = os.strerror(error.errno) if error.errno else str(error)
    return InputError(
        f"cannot write to the teacher cache {str(folder)!r} ({reason}): free space or choose another folder; what is "
        "stored there stays valid."
    )


def _disappeared(path: Path) -> InputError:
    return InputError(
        "was deleted or changed while a run was using it", where=str(path), remedy="start the run again", code="lost"
    )
