# SPDX-License-Identifier: Apache-2.0
"""Rows as BLOBs of one SQLite database, in write-ahead mode."""

from __future__ import annotations

import os
import sqlite3
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from akd_monai.errors import InputError

_TABLE = "CREATE TABLE IF NOT EXISTS rows(key BLOB UNIQUE, tag INTEGER, checksum INTEGER, content BLOB)"
# 20 MB of a feature map in few pages
_PAGE = 65536
_WAIT_SECONDS = 60


class SqliteRows:
    """Rows of bytes under keys of 16 bytes; a checksum is verified when a row is first found."""

    def __init__(self, folder: str | os.PathLike[str], row_bytes: int) -> None:
        self.path = Path(folder) / "rows.sqlite"
        self.row_bytes = row_bytes
        self._found: dict[bytes, tuple[int, int]] = {}
        self._connection: sqlite3.Connection | None = None

    def _database(self) -> sqlite3.Connection:
        if self._connection is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(self.path, timeout=_WAIT_SECONDS, isolation_level=None)
            self._connection.execute(f"PRAGMA page_size={_PAGE}")
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=NORMAL")
            self._connection.execute(_TABLE)
        return self._connection

    def close(self) -> None:
        """Close the database."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def find(self, key: bytes) -> int | None:
        """Return the tag of a row, None if there is no valid one."""
        if key not in self._found:
            query = "SELECT rowid, tag, checksum, content FROM rows WHERE key=?"
            try:
                row = self._database().execute(query, (key,)).fetchone()
            except sqlite3.DatabaseError:
                return None
            if row is None or zlib.crc32(row[3], zlib.crc32(str(row[1]).encode())) != row[2]:
                return None
            self._found[key] = (row[0], row[1])
        return self._found[key][1]

    def count(self, keys: Iterable[bytes]) -> int:
        """Return how many of ``keys`` have a row."""
        stored = {key for (key,) in self._database().execute("SELECT key FROM rows")}
        return sum(key in stored for key in keys)

    def append(self, key: bytes, tag: int, row: NDArray[np.uint8]) -> None:
        """Store a row, unless there is a valid one under this key."""
        content = np.ascontiguousarray(row).reshape(-1).data
        values = (key, tag, zlib.crc32(content, zlib.crc32(str(tag).encode())), content)
        try:
            with self._database() as database:
                database.execute("BEGIN IMMEDIATE")
                if self.find(key) is None:
                    database.execute("INSERT OR REPLACE INTO rows VALUES(?, ?, ?, ?)", values)
        except (OSError, sqlite3.OperationalError) as error:
            raise InputError(f"cannot write to {str(self.path)!r} ({error})") from error

    def read(self, keys: Sequence[bytes], start: int = 0, stop: int | None = None) -> NDArray[np.uint8]:
        """Return rows that ``find`` has found, or their bytes from ``start`` to ``stop``."""
        stop = self.row_bytes if stop is None else stop
        rows = np.empty((len(keys), stop - start), np.uint8)
        for key, row in zip(keys, rows, strict=True):
            with self._database().blobopen("rows", "content", self._found[key][0], readonly=True) as blob:
                blob.seek(start)
                row[:] = np.frombuffer(blob.read(stop - start), np.uint8)
        return rows
