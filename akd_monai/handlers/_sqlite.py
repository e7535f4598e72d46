# SPDX-License-Identifier: Apache-2.0
"""An SQLite file of MLflow that several runs share: made completely or not at all, and never waited for."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from pathlib import Path

from akd_monai.files import check_writable, remove_leftovers

__all__ = ["database_of", "prepare_database"]

_PREFIX = "sqlite:///"
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
        store = SqlAlchemyStore(f"{_PREFIX}{temporary}", (path.parent / "mlruns").absolute().as_uri())
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
