# SPDX-License-Identifier: Apache-2.0
"""The course of a run as a text file that needs no server to be read."""

from __future__ import annotations

import json
import logging
import math
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events
from monai.engines import Evaluator

from akd_monai.files import atomic_write
from akd_monai.handlers.events import run_late
from akd_monai.handlers.metrics import epoch_metrics

logger = logging.getLogger(__name__)


class History:
    """Append one JSON line an epoch: ``epoch``, ``iteration``, all metrics of training and validation, and ``lr``.

    An undefined metric (NaN or infinite) is ``null``. When a run starts or resumes, lines of later epochs than those it
    has behind it are dropped, so that every epoch stands there once.

    Args:
        path: the file, such as ``history.jsonl``.
        evaluator: whose metrics are added; by default those that a ``ValidationHandler`` of the trainer runs.

    Example:
        >>> import tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> engine, path = Engine(lambda engine, batch: None), Path(folder.name) / "history.jsonl"
        >>> engine.state.metrics = {"loss/total": 0.5}
        >>> History(path).attach(engine)
        >>> _ = engine.run([0, 1])
        >>> path.read_text()
        '{"epoch": 1, "iteration": 2, "loss/total": 0.5}\\n'
        >>> folder.cleanup()
    """

    def __init__(self, path: str | Path, evaluator: Evaluator | None = None) -> None:
        self.path, self.evaluators = Path(path), None if evaluator is None else [evaluator]
        self._lines: list[str] = []

    def attach(self, engine: Engine) -> None:
        """Follow ``engine``, a trainer; the place among its handlers does not matter."""
        engine.add_event_handler(Events.STARTED, self._start)

    def _start(self, engine: Engine) -> None:
        run_late(engine, Events.EPOCH_COMPLETED, self._append)
        if getattr(engine.state, "rank", 0) != 0:
            return
        present = read_history(self.path)
        kept = [row for row in present if row["iteration"] <= engine.state.iteration]
        self._lines = [_line(row) for row in kept]
        if len(kept) < len(present):
            atomic_write(self.path, "".join(self._lines))

    def _append(self, engine: Engine) -> None:
        if getattr(engine.state, "rank", 0) != 0:
            return
        row = {"epoch": engine.state.epoch, "iteration": engine.state.iteration}
        self._lines.append(_line({**row, **epoch_metrics(engine, self.evaluators)}))
        # Some hundred lines at most: written as a whole, a killed process leaves no half line behind.
        atomic_write(self.path, "".join(self._lines))


def read_history(path: str | Path) -> list[dict[str, Any]]:
    """Return the rows of a history file; an absent one has none, and a line that cannot be read is left out.

    Example:
        >>> read_history("no-such-file.jsonl")
        []
    """
    rows = []
    for number, line in enumerate(_text(path).splitlines(), start=1):
        try:
            row = json.loads(line)
            rows.append({**row, "epoch": int(row["epoch"]), "iteration": int(row["iteration"])})
        except (ValueError, KeyError, TypeError):
            logger.warning("line %d of %s cannot be read and is left out", number, path)
    return rows


def _text(path: str | Path) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""


def _line(row: dict[str, Any]) -> str:
    defined = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}
    return json.dumps(defined, allow_nan=False) + "\n"
