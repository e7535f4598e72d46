# SPDX-License-Identifier: Apache-2.0
"""What the cells of a compression have found, one row a network and way to learn."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from akd_monai.bundle import build_network
from akd_monai.experiments._compress.cells import ALONE, DISTILLED, MEASURED, PRETRAINED, SCORES, Planned
from akd_monai.experiments._compress.score import dice_of
from akd_monai.experiments._compress.students import TEACHER
from akd_monai.experiments._plan.cell import Cell
from akd_monai.experiments.statistics import PairedDifference, Summary, paired_difference, summarize
from akd_monai.files import read_json

__all__ = ["Found", "FoundRow", "control_of", "read_found"]


@dataclass(frozen=True)
class FoundRow:
    """A network and how it learned.

    Args:
        network: ``"teacher"`` or the student's name.
        how: ``"teacher"``, ``"alone"``, ``"pretrained"`` or ``"distilled"``.
        metric: what ``dice`` is, as the bundle's evaluation names it.
        dice: mean over the held-out cases.
        cases: Dice of each case, where the bundle writes it.
        validation: metric by which the weights were chosen, where the training says it.
        parameters: of the network.
        megabytes: of the ONNX file.
        cpu_seconds: from a volume's file to its mask's.
        peak_mb: memory of the process that does so.
        onnx: the exported file.
    """

    network: str
    how: str
    metric: str
    dice: float
    cases: Mapping[str, float]
    validation: float | None
    parameters: int
    megabytes: float
    cpu_seconds: float
    peak_mb: float
    onnx: Path

    @property
    def label(self) -> str:
        """Network and how it learned."""
        return self.network if self.how == TEACHER else f"{self.network}, {self.how}"

    @property
    def summary(self) -> Summary | None:
        """Mean and interval over cases; ``None`` where only a mean is known."""
        return summarize(self.cases.values()) if self.cases else None

    def minus(self, other: FoundRow) -> PairedDifference | None:
        """Return the paired difference to another row on the same cases; ``None`` where only means are known."""
        return paired_difference(self.cases, other.cases) if self.cases and other.cases else None

    def gain(self, other: FoundRow) -> float:
        """Return by how much its Dice is higher than another's: over cases in which both have one, else of their means."""
        paired = self.minus(other)
        return self.dice - other.dice if paired is None else paired.mean


@dataclass(frozen=True)
class Found:
    """All rows, the teacher first, and how they were measured.

    Args:
        rows: the rows.
        measured: engine, shape of the volume, machine.
    """

    rows: tuple[FoundRow, ...]
    measured: Mapping[str, Any]

    @property
    def teacher(self) -> FoundRow:
        """The row of the teacher."""
        return self.rows[0]

    @property
    def students(self) -> tuple[FoundRow, ...]:
        """All other rows."""
        return self.rows[1:]


def read_found(rows: Sequence[Planned], measure: Cell, *, trusted: bool = False) -> Found:
    """Read the results of cells that are all done.

    Args:
        rows: of the plan.
        measure: the measurement of their networks.
        trusted: whether code of the bundles may be run to count parameters.
    """
    measured = read_json(Path(measure.folder) / MEASURED)
    counted: dict[str, int] = {}
    found = []
    for row in rows:
        if row.network not in counted:
            network = build_network(row.bundle, trust_bundle=trusted)
            counted[row.network] = sum(value.numel() for value in network.parameters())
        found.append(_row(row, counted[row.network], measured))
    return Found(tuple(found), measured)


def _row(row: Planned, parameters: int, measured: Mapping[str, Any]) -> FoundRow:
    scores = read_json(Path(row.test.folder) / SCORES)
    metric, dice = dice_of(scores["metrics"])
    cases = {name: math.nan if value is None else value for name, value in scores["cases"].items()}
    if cases:
        metric, dice = "Dice", summarize(cases.values()).mean
    return FoundRow(
        network=row.network,
        how=row.how,
        metric=metric,
        dice=dice,
        cases=cases,
        validation=_validation(row),
        parameters=parameters,
        megabytes=row.onnx.stat().st_size / 1e6,
        cpu_seconds=float(measured["cpu_seconds"][row.network]),
        peak_mb=float(measured["peak_mb"][row.network]),
        onnx=row.onnx,
    )


def _validation(row: Planned) -> float | None:
    """Return the metric of the weights that the training has kept, which no test case has influenced."""
    file = None if row.train is None else Path(row.train.folder) / "eval" / "training.json"
    if file is None or not file.is_file():
        return None
    found = read_json(file).get("best_metric")
    return None if found is None else float(found)


def control_of(row: FoundRow, rows: Sequence[FoundRow]) -> FoundRow | None:
    """Return the row with which a distilled one is compared: the same student with the same start, without the teacher."""
    if row.how != DISTILLED:
        return None
    of_network = {one.how: one for one in rows if one.network == row.network}
    return of_network.get(PRETRAINED, of_network.get(ALONE))
