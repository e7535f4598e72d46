# SPDX-License-Identifier: Apache-2.0
"""Rows in one memory-mapped file that only grows, with an index of checksums: the store of version 0.1."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from akd_monai.errors import InputError

try:
    import fcntl
except ImportError:  # Windows has no flock
    fcntl = None  # type: ignore[assignment]

_RECORD = struct.Struct("<16sqI")  # key, tag, checksum of the row
_CHECKED = struct.Struct("<16sqII")  # and a checksum of the record


class MappedRows:
    """Rows of bytes under keys of 16 bytes: ``rows.bin`` holds the rows, ``index.bin`` one record for each.

    A row is written before its record, and a record carries checksums of both. Processes that share the folder append
    under a lock.
    """

    def __init__(self, folder: str | os.PathLike[str], row_bytes: int) -> None:
        self.folder = Path(folder)
        self.row_bytes = row_bytes
        self._forget()

    def _forget(self) -> None:
        self._rows: dict[bytes, tuple[int, int, int]] = {}
        self._records = 0
        self._seen: set[int] = set()
        self._map: NDArray[np.uint8] = np.empty((0, self.row_bytes), np.uint8)

    def find(self, key: bytes) -> int | None:
        """Return the tag of a row, None if there is no valid one."""
        if key not in self._rows:
            self.refresh()
        found = self._rows.get(key)
        if found is None or not self._is_complete(key, found[0], found[2]):
            return None
        return found[1]

    def count(self, keys: Iterable[bytes]) -> int:
        """Return how many of ``keys`` have a row."""
        self.refresh()
        return sum(key in self._rows for key in keys)

    def append(self, key: bytes, tag: int, row: NDArray[np.uint8]) -> None:
        """Store a row, unless there is a valid one under this key."""
        if row.nbytes != self.row_bytes:
            raise ValueError(f"a row has {self.row_bytes} bytes, got {row.nbytes}")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with self._locked() as index:
                self.refresh()
                if key not in self._rows:
                    self._write(index, key, tag, row)
        except OSError as error:
            raise InputError(f"cannot write to {str(self.folder)!r} ({error})") from error

    def _write(self, index: int, key: bytes, tag: int, row: NDArray[np.uint8]) -> None:
        content, number = memoryview(np.ascontiguousarray(row).reshape(-1).data), self._records
        rows = os.open(self.folder / "rows.bin", os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
        try:
            _write_at(rows, content, number * self.row_bytes)
        finally:
            os.close(rows)
        record = _RECORD.pack(key, tag, zlib.crc32(content))
        _write_at(index, memoryview(record + struct.pack("<I", zlib.crc32(record))), number * _CHECKED.size)
        self.refresh()
        self._seen.add(number)

    def read(self, keys: Sequence[bytes], start: int = 0, stop: int | None = None) -> NDArray[np.uint8]:
        """Return rows that ``find`` has found, or their bytes from ``start`` to ``stop``."""
        rows = [self._rows[key][0] for key in keys]
        if rows and max(rows) >= len(self._map):
            self._remap()
        return self._map[:, start:stop][rows]

    def refresh(self) -> None:
        """Take in the records that were added since."""
        path = self.folder / "index.bin"
        try:
            size = path.stat().st_size
            if size < self._records * _CHECKED.size:
                self._forget()  # somebody has emptied the folder
            if size < (self._records + 1) * _CHECKED.size:
                return
            with open(path, "rb") as stream:
                stream.seek(self._records * _CHECKED.size)
                content = stream.read()
        except (FileNotFoundError, NotADirectoryError):
            return
        for offset in range(0, len(content) - _CHECKED.size + 1, _CHECKED.size):
            key, tag, check, own = _CHECKED.unpack_from(content, offset)
            if zlib.crc32(content[offset : offset + _RECORD.size]) != own:
                break
            self._rows[key] = (self._records, tag, check)
            self._records += 1

    def _is_complete(self, key: bytes, row: int, check: int) -> bool:
        if row in self._seen:
            return True
        if row >= len(self._map):
            self._remap()
        if row < len(self._map) and zlib.crc32(self._map[row]) == check:
            self._seen.add(row)
            return True
        del self._rows[key]
        return False

    def _remap(self) -> None:
        path = self.folder / "rows.bin"
        count = path.stat().st_size // self.row_bytes if path.exists() else 0
        if count:
            # a plain view of it: every index into a memmap makes another one, with its attributes
            self._map = np.asarray(np.memmap(path, np.uint8, "r", shape=(count, self.row_bytes)))

    @contextmanager
    def _locked(self) -> Iterator[int]:
        index = os.open(self.folder / "index.bin", os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
        try:
            if fcntl is not None:
                fcntl.flock(index, fcntl.LOCK_EX)
            yield index
        finally:
            os.close(index)  # and with it the lock


def _write_at(file: int, content: memoryview, offset: int) -> None:
    os.lseek(file, offset, os.SEEK_SET)
    while content:
        content = content[os.write(file, content) :]
