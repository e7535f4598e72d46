# SPDX-License-Identifier: Apache-2.0
"""Rows in an LMDB environment; the package ``lmdb`` is needed."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import lmdb
import numpy as np
from numpy.typing import NDArray

from akd_monai.errors import InputError

_HEADER = struct.Struct("<qII")  # tag, checksum, nothing: rows start at a multiple of 8
# has to be chosen in advance; address space, not disk
_MAP_SIZE = 1 << 40


class LmdbRows:
    """Rows of bytes under keys of 16 bytes; a checksum is verified when a row is first found."""

    def __init__(self, folder: str | os.PathLike[str], row_bytes: int) -> None:
        self.folder = Path(folder)
        self.row_bytes = row_bytes
        self._tags: dict[bytes, int] = {}
        self._opened: lmdb.Environment | None = None

    def _environment(self) -> lmdb.Environment:
        if self._opened is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._opened = lmdb.open(str(self.folder), map_size=_MAP_SIZE, readahead=False)
        return self._opened

    def close(self) -> None:
        """Close the environment; a process may open one folder only once."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def find(self, key: bytes) -> int | None:
        """Return the tag of a row, None if there is no valid one."""
        if key not in self._tags:
            with self._environment().begin(buffers=True) as transaction:
                tag = self._verified(transaction.get(key))
            if tag is None:
                return None
            self._tags[key] = tag
        return self._tags[key]

    def _verified(self, value: memoryview | None) -> int | None:
        if value is None or len(value) != _HEADER.size + self.row_bytes:
            return None
        tag, checksum, _ = _HEADER.unpack_from(value)
        return tag if _checksum(tag, value[_HEADER.size :]) == checksum else None

    def count(self, keys: Iterable[bytes]) -> int:
        """Return how many of ``keys`` have a row."""
        with self._environment().begin(buffers=True) as transaction:
            return sum(transaction.get(key) is not None for key in keys)

    def append(self, key: bytes, tag: int, row: NDArray[np.uint8]) -> None:
        """Store a row, unless there is a valid one under this key."""
        content = np.ascontiguousarray(row).reshape(-1).data
        value = _HEADER.pack(tag, _checksum(tag, content), 0) + bytes(content)
        try:
            with self._environment().begin(write=True, buffers=True) as transaction:
                if self._verified(transaction.get(key)) is None:
                    transaction.put(key, value)
        except (OSError, lmdb.Error) as error:
            raise InputError(f"cannot write to {str(self.folder)!r} ({error})") from error

    def read(self, keys: Sequence[bytes], start: int = 0, stop: int | None = None) -> NDArray[np.uint8]:
        """Return rows that ``find`` has found, or their bytes from ``start`` to ``stop``."""
        stop = self.row_bytes if stop is None else stop
        rows = np.empty((len(keys), stop - start), np.uint8)
        with self._environment().begin(buffers=True) as transaction:
            for key, row in zip(keys, rows, strict=True):
                row[:] = np.frombuffer(transaction.get(key), np.uint8)[_HEADER.size :][start:stop]
        return rows


def _checksum(tag: int, content: memoryview) -> int:
    return zlib.crc32(content, zlib.crc32(struct.pack("<q", tag)))
