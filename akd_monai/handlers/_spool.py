# SPDX-License-Identifier: Apache-2.0
"""Entries that wait to be sent to a tracking server."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from akd_monai.errors import InputError
from akd_monai.files import atomic_write

__all__ = ["DESTINATION", "SPOOL", "Spool", "read_spool"]

SPOOL = "mlflow_spool.jsonl"
# what an entry says of its run, beside what is to be logged
DESTINATION = ("run", "run_name", "experiment_name", "tracking_uri")

logger = logging.getLogger(__name__)


class Spool:
    """Entries in the order in which they are to be sent, which survive the process once :meth:`keep` was called.

    Entries of other runs in the file stay there, and so do lines that cannot be read.

    Args:
        path: file with one JSON entry a line; it exists only while something waits.
        destination: where the entries belong: ``"run"``, an id that no other run has, and what else
            :func:`~akd_monai.handlers.send_spooled` needs.

    Example:
        >>> import tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> spool = Spool(Path(folder.name) / "spool.jsonl", {"run": "run_1"})
        >>> spool.entries.append({"time": 1, "step": 1})
        >>> spool.keep()
        >>> Spool(spool.path, {"run": "run_1"}).entries
        [{'time': 1, 'step': 1}]
        >>> spool.sent(spool.entries[0])
        >>> spool.path.exists()
        False
        >>> folder.cleanup()
    """

    def __init__(self, path: str | Path, destination: Mapping[str, str]) -> None:
        self.path = Path(path)
        self.destination = dict(destination)
        self.entries = [_without_destination(entry) for entry in read_spool(self.path) if self._is_own(entry)]
        self._kept = bool(self.entries)

    def keep(self) -> None:
        """Write what waits to the file."""
        self._kept = True
        self._write([{**self.destination, **entry} for entry in self.entries])

    def sent(self, entry: dict[str, Any]) -> None:
        """Forget ``entry``, and take what is in the file out of it once nothing waits."""
        self.entries.remove(entry)
        if not self.entries and self._kept:
            self._kept = False
            self._write([])

    def _is_own(self, entry: Mapping[str, Any]) -> bool:
        # version 0.1 wrote the name alone, which was the id unless a config gave another
        found = entry.get("run", entry.get("run_name"))
        return found in (self.destination["run"], None if "run" in entry else self.destination.get("run_name"))

    def _is_own_line(self, line: str) -> bool:
        entry = _entry(line)
        return entry is not None and self._is_own(entry)

    def _write(self, own: list[dict[str, Any]]) -> None:
        others = [line for line in _lines(self.path) if not self._is_own_line(line)]
        lines = [*others, *map(json.dumps, own)]
        try:
            if lines:
                atomic_write(self.path, "".join(f"{line}\n" for line in lines))
            else:
                self.path.unlink(missing_ok=True)
        except (OSError, InputError) as error:
            logger.warning("%s cannot be written (%s): the entries stay in memory only", self.path, error)


def read_spool(path: Path, unread: list[int] | None = None) -> list[dict[str, Any]]:
    """Return the entries of a file with what they say of their run; a line that cannot be read is skipped.

    Args:
        path: the file, which need not exist.
        unread: gets the numbers of lines that were skipped.
    """
    entries = []
    for number, line in enumerate(_lines(path), start=1):
        entry = _entry(line)
        if entry is not None:
            entries.append(entry)
            continue
        logger.warning("line %d of %s cannot be read and is not sent", number, path)
        if unread is not None:
            unread.append(number)
    return entries


def _lines(path: Path) -> list[str]:
    try:
        # entries are ASCII: a damaged byte costs its own line, as an escape that JSON does not have
        return path.read_text(encoding="ascii", errors="backslashreplace").splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        logger.warning("%s cannot be read (%s): what waits there is not sent", path, error)
        return []


def _entry(line: str) -> dict[str, Any] | None:
    """Return what a line holds, None if that is no entry."""
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    is_entry = isinstance(entry, dict) and ("run" in entry or "run_name" in entry) and "time" in entry
    return entry if is_entry else None


def _without_destination(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in entry.items() if name not in DESTINATION}
