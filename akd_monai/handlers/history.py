# SPDX-License-Identifier: Apache-2.0
"""The metrics of every epoch of a run in a file that needs no server to be read."""

from __future__ import annotations

import json
import logging
import math
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events
from monai.engines import Evaluator

from akd_monai.errors import InputError, one_line
from akd_monai.files import atomic_write
from akd_monai.handlers._events import is_first_rank, run_late
from akd_monai.handlers._metrics import epoch_metrics

__all__ = ["History", "read_history"]

logger = logging.getLogger(__name__)


class History:
    r"""Append one JSON line an epoch: ``epoch``, ``iteration``, all metrics of training and validation, and ``lr``.

    An undefined metric (NaN or infinite) is ``null``. When a run starts or resumes, lines past its present iteration
    are dropped, so that the file holds every epoch once.

    Args:
        path: the file, such as ``history.jsonl``.
        evaluator: whose metrics are added; by default those that a ``ValidationHandler`` of the trainer runs.

    Example:
        >>> import tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> path = Path(folder.name) / "history.jsonl"
        >>> engine = Engine(lambda engine, batch: None)
        >>> engine.state.metrics = {"loss/total": 0.5}
        >>> History(path).attach(engine)
        >>> _ = engine.run([0, 1])
        >>> path.read_text()
        '{"epoch": 1, "iteration": 2, "loss/total": 0.5}\n'
        >>> folder.cleanup()
    """

    def __init__(self, path: str | Path, evaluator: Evaluator | None = None) -> None:
        self.path = Path(path)
        self.evaluators = None if evaluator is None else [evaluator]
        self._lines: list[str] = []

    def attach(self, engine: Engine) -> None:
        """Follow ``engine``, a trainer; the position among its handlers does not matter."""
        engine.add_event_handler(Events.STARTED, self._start)

    def _start(self, engine: Engine) -> None:
        run_late(engine, Events.EPOCH_COMPLETED, self._append)
        if not is_first_rank(engine):
            return
        present = read_history(self.path)
        kept = [row for row in present if row["iteration"] <= engine.state.iteration]
        self._lines = [_line(row) for row in kept]
        if len(kept) < len(present):
            self._write()

    def _append(self, engine: Engine) -> None:
        if not is_first_rank(engine):
            return
        position = {"epoch": engine.state.epoch, "iteration": engine.state.iteration}
        self._lines.append(_line({**position, **epoch_metrics(engine, self.evaluators)}))
        self._write()

    def _write(self) -> None:
        # Some hundred lines at most: all are written again, so that a killed process leaves no half line.
        atomic_write(self.path, "".join(self._lines))


def read_history(path: str | Path) -> list[dict[str, Any]]:
    """Return the rows of a history file; a missing file has none, and a line that cannot be read is skipped.

    Raises:
        InputError: if the file itself cannot be read.

    Example:
        >>> read_history("no-such-file.jsonl")
        []
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read ({one_line(error)})", where=str(path), remedy="move it away") from error
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            rows.append({**row, "epoch": int(row["epoch"]), "iteration": int(row["iteration"])})
        except (ValueError, KeyError, TypeError):
            logger.warning("line %d of %s cannot be read and is skipped", number, path)
    return rows


def _line(row: dict[str, Any]) -> str:
    defined = {}
    for name, value in row.items():
        undefined = isinstance(value, float) and not math.isfinite(value)
        defined[name] = None if undefined else value
    return json.dumps(defined, allow_nan=False) + "\n"
