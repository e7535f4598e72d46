# SPDX-License-Identifier: Apache-2.0
"""An SQLite file of MLflow that several runs share: made completely or not at all, and never waited for."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from akd_monai.files import check_writable, remove_leftovers

__all__ = ["database_of", "follow_moved_files", "prepare_database"]

_PREFIX = "sqlite:///"
_FILES = "mlruns"
# where MLflow keeps addresses of files
_ADDRESSES = (("experiments", "artifact_location"), ("runs", "artifact_uri"))
# MLflow itself waits 20 seconds, several times
_BUSY_SECONDS = 0.3


def database_of(uri: str) -> Path | None:
    """Return the file of an SQLite URI, None for any other URI.

    Example:
        >>> database_of("sqlite:///runs/mlruns.db"), database_of("http://127.0.0.1:5000")
        (PosixPath('runs/mlruns.db'), None)
    """
    if not uri.startswith(_PREFIX):
        return None
    name = uri.removeprefix(_PREFIX).partition("?")[0]
    return Path(name) if name and name != ":memory:" else None


def prepare_database(uri: str) -> None:
    """Make the tables of a new SQLite file, or see that nothing holds the present one; for other URIs do nothing.

    MLflow makes its tables in some fifty steps, during which another process finds half of them and stops for ever. They
    are therefore made in a file of another name, which takes the name if nobody has it yet.

    Raises:
        sqlite3.OperationalError: if the file is locked, or cannot be written to.
    """
    path = database_of(uri)
    if path is None:
        return
    if not path.exists():
        _make(path)
    with contextlib.closing(sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("ROLLBACK")


def _make(path: Path) -> None:
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    check_writable(path.parent)
    remove_leftovers(path.parent)
    temporary = path.with_name(f".tmp-{os.getpid()}-{threading.get_ident()}-{path.name}")
    try:
        store = SqlAlchemyStore(f"{_PREFIX}{temporary}", (path.parent / _FILES).absolute().as_uri())
        store.engine.dispose()
        _take_name(temporary, path)
    finally:
        for left in path.parent.glob(f"{temporary.name}*"):
            left.unlink(missing_ok=True)


def _take_name(temporary: Path, path: Path) -> None:
    try:
        os.link(temporary, path)
    except FileExistsError:
        return  # another run was faster
    except OSError:
        # a file system without links: between question and answer lies a moment
        if not path.exists():
            os.replace(temporary, path)


def follow_moved_files(path: Path) -> int:
    """Let a database that was moved, or copied, with its folder name the files of its runs at their new place.

    MLflow keeps absolute addresses. Files that lie in the folder ``mlruns`` beside the database are those of its runs;
    what lies in another place that exists keeps its address.

    Returns:
        How many addresses have changed.
    """
    changed = 0
    with contextlib.closing(sqlite3.connect(path, timeout=_BUSY_SECONDS)) as connection, connection:
        known = [_addresses(connection, *place) for place in _ADDRESSES]
        moved = _moved_places(path, [address for addresses in known for address in addresses])
        for (table, column), addresses in zip(_ADDRESSES, known, strict=True):
            for address in addresses:
                place, tail = _split(address)
                if place in moved:
                    values = (f"{_beside(path).as_uri()}{tail}", address)
                    connection.execute(f"UPDATE {table} SET {column} = ? WHERE {column} = ?", values)
                    changed += 1
    return changed


def _addresses(connection: sqlite3.Connection, table: str, column: str) -> list[str]:
    rows = connection.execute(f"SELECT DISTINCT {column} FROM {table} WHERE {column} LIKE 'file:%'")
    return [str(address) for (address,) in rows.fetchall()]


def _moved_places(database: Path, addresses: list[str]) -> set[str]:
    """Return the folders of files that are now beside the database, or nowhere."""
    beside = _beside(database)
    moved = set()
    for address in addresses:
        place, tail = _split(address)
        is_here = bool(tail) and (beside / url2pathname(tail).lstrip("/\\")).exists()
        if place not in ("", beside.as_uri()) and (is_here or not _folder(place).exists()):
            moved.add(place)
    return moved


def _split(address: str) -> tuple[str, str]:
    """Divide the address of files after the folder ``mlruns``; the first part is empty without one.

    Example:
        >>> _split("file:///a/mlruns/7/artifacts"), _split("file:///a/mlruns"), _split("file:///a/b")
        (('file:///a/mlruns', '/7/artifacts'), ('file:///a/mlruns', ''), ('', 'file:///a/b'))
    """
    head, found, tail = address.rpartition(f"/{_FILES}")
    if not found or (tail and not tail.startswith("/")):
        return "", address
    return f"{head}/{_FILES}", tail


def _folder(address: str) -> Path:
    return Path(url2pathname(urlsplit(address).path))


def _beside(database: Path) -> Path:
    return database.absolute().parent / _FILES
