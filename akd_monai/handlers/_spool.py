# SPDX-License-Identifier: Apache-2.0
"""Entries that wait to be sent to a tracking server."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from akd_monai.errors import InputError
from akd_monai.files import atomic_write

__all__ = ["Spool"]

logger = logging.getLogger(__name__)


class Spool:
    """Entries in the order in which they are to be sent, which survive the process once :meth:`keep` was called.

    Args:
        path: file with one JSON entry a line; it exists only while something waits.
        run_name: run of the entries; those of another run are dropped.

    Example:
        >>> import tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> spool = Spool(Path(folder.name) / "spool.jsonl", "run_1")
        >>> spool.entries.append({"step": 1})
        >>> spool.keep()
        >>> Spool(spool.path, "run_1").entries
        [{'step': 1}]
        >>> spool.sent(spool.entries[0])
        >>> spool.path.exists()
        False
        >>> folder.cleanup()
    """

    def __init__(self, path: str | Path, run_name: str) -> None:
        self.path = Path(path)
        self.run_name = run_name
        self.entries: list[dict[str, Any]] = self._read()

    def keep(self) -> None:
        """Write what waits to the file."""
        lines = [json.dumps({"run_name": self.run_name, **entry}) for entry in self.entries]
        try:
            atomic_write(self.path, "".join(f"{line}\n" for line in lines))
        except (OSError, InputError) as error:
            logger.warning("%s cannot be written (%s): the entries stay in memory only", self.path, error)

    def sent(self, entry: dict[str, Any]) -> None:
        """Forget ``entry``, and delete the file once nothing waits."""
        self.entries.remove(entry)
        if not self.entries:
            self.path.unlink(missing_ok=True)

    def _read(self) -> list[dict[str, Any]]:
        entries = []
        try:
            lines = self.path.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return []
        except OSError as error:
            logger.warning("%s cannot be read (%s): what waits there is not sent", self.path, error)
            return []
        for line in lines:
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if isinstance(entry, dict) and entry.pop("run_name", None) == self.run_name:
                entries.append(entry)
        return entries
