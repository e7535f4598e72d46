# SPDX-License-Identifier: Apache-2.0
"""What the trainings of an experiment cost, from the records of its cells."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from akd_monai.experiments._plan.cell import Cell
from akd_monai.experiments._study.facts import study_facts
from akd_monai.experiments._study.study import Study

__all__ = ["CostRow", "CostTable", "cost_table"]

_GIB = 2**30


@dataclass(frozen=True)
class CostRow:
    """The trainings of a network by one way to learn.

    Attributes:
        label: network and how it learned.
        trainings: how many there are.
        parameters: of the network; NaN if its trainings do not say.
        seconds: of a training, a mean.
        cpu_seconds: processor time of a training, a mean.
        peak_memory_gib: the most that one of them had.
    """

    label: str
    trainings: int
    parameters: float
    seconds: float
    cpu_seconds: float
    peak_memory_gib: float


@dataclass(frozen=True)
class CostTable:
    """What trainings cost, a row for each network and way to learn."""

    rows: tuple[CostRow, ...]
    caption: str


def cost_table(study: Study) -> CostTable:
    """Return what the trainings of an experiment took, networks and ways to learn in the order of the cells.

    What a system does not report is NaN, and left out of the means.
    """
    groups: dict[tuple[str, str, str, str], list[Cell]] = {}
    for cell in study.cells:
        if cell.kind != "test":
            row = cell.row
            groups.setdefault((row.role, row.network, row.method, row.teacher or ""), []).append(cell)
    given = dict(study_facts(study))
    caption = (
        f"Cost of a training. {given['data']}; {given['protocol']}; {given['slices']}. Means over sites, "
        "folds and seeds; times depend on the computer and on what else it was doing."
    )
    return CostTable(tuple(_row(study, key, cells) for key, cells in sorted(groups.items())), caption)


def _row(study: Study, key: tuple[str, str, str, str], cells: Sequence[Cell]) -> CostRow:
    role, network, method, teacher = key
    learned = {"sources": "at the sources", "without": "w/o distillation"}.get(method, method)
    how = f"{learned} from {teacher}" if teacher else learned
    peaks = _figures(study, cells, "peak_memory_bytes")
    parameters = [study.trainings[cell.row].get("network_parameters") for cell in cells]
    known = [float(count) for count in parameters if count is not None]
    return CostRow(
        label=f"{network} ({role}), {how}",
        trainings=len(cells),
        parameters=known[0] if known else math.nan,
        seconds=_mean(_figures(study, cells, "seconds")),
        cpu_seconds=_mean(_figures(study, cells, "cpu_seconds")),
        peak_memory_gib=max(peaks) / _GIB if peaks else math.nan,
    )


def _figures(study: Study, cells: Sequence[Cell], key: str) -> list[float]:
    values = [study.results[cell.name].get(key) for cell in cells]
    return [float(value) for value in values if value is not None]


def _mean(values: Sequence[float]) -> float:
    return fmean(values) if values else math.nan
