# SPDX-License-Identifier: Apache-2.0
"""The rows of an experiment's figures: a network with the way it learned, over all targets, folds and seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from akd_monai.experiments._plan.cell import Row
from akd_monai.experiments._plan.matrix import Matrix

__all__ = ["Line", "dice_by_case", "lines_of", "mean_by_target", "of_line", "own_site_lines"]

_STUDENTS = ("without", "pretrained", "joint")
_TEACHERS = ("teacher_zero_shot", "teacher_at_target")
_SAID = {
    "without": "w/o distillation",
    "pretrained": "pre-trained at the sources",
    "joint": "sources and target together",
    "teacher_zero_shot": "teacher, zero-shot",
    "teacher_at_target": "teacher, trained at the target",
    "teacher_own_sites": "teacher, at its own sites",
}


@dataclass(frozen=True)
class Line:
    """A network and how it learned.

    Args:
        role: ``"teacher"`` or ``"student"``.
        network: its name in the experiment.
        method: a method, a control or ``"without"``.
        teacher: of a distilled student.
    """

    role: Literal["teacher", "student"]
    network: str
    method: str
    teacher: str | None = None

    @property
    def how(self) -> str:
        """How it learned, for a reader."""
        said = _SAID.get(self.method, self.method)
        return said if self.teacher is None else f"{said} from {self.teacher}"

    @property
    def label(self) -> str:
        """Network and how it learned."""
        return f"{self.network}, {self.how}"

    def has(self, row: Row) -> bool:
        """Return whether a cell belongs to this line."""
        return (row.role, row.network, row.method, row.teacher) == (self.role, self.network, self.method, self.teacher)


def lines_of(matrix: Matrix) -> list[Line]:
    """Return the lines that are tested at the target sites, students first, each with its controls before its methods."""
    lines: list[Line] = []
    allowed = {"without", *matrix.controls}
    for student in matrix.students:
        lines += [Line("student", student.name, method) for method in _STUDENTS if method in allowed]
        for teacher in matrix.teachers:
            lines += [Line("student", student.name, method.name, teacher.name) for method in matrix.methods]
    for teacher in matrix.teachers:
        lines += [Line("teacher", teacher.name, method) for method in _TEACHERS if method in allowed]
    return lines


def own_site_lines(matrix: Matrix) -> list[Line]:
    """Return the lines of teachers that are tested at the sites at which they learned."""
    if "teacher_own_sites" not in matrix.controls:
        return []
    return [Line("teacher", teacher.name, "teacher_own_sites") for teacher in matrix.teachers]


def of_line(scores: pd.DataFrame, line: Line) -> pd.DataFrame:
    """Return the scores of a line."""
    teacher = scores["teacher"].isna() if line.teacher is None else scores["teacher"] == line.teacher
    wanted = (scores["role"] == line.role) & (scores["network"] == line.network) & (scores["method"] == line.method)
    return scores[wanted & teacher]


def dice_by_case(scores: pd.DataFrame, line: Line, target: str, metric: str = "dice") -> Mapping[str, float]:
    """Return the metric of each case at a target, averaged over seeds; undefined values are left out of the average."""
    found = of_line(scores, line)
    found = found[found["target"] == target]
    means = found.groupby("case_id", sort=True)[metric].mean()
    return {str(case): float(value) for case, value in means.items()}


def mean_by_target(scores: pd.DataFrame, line: Line, targets: Sequence[str], metric: str = "dice") -> list[float]:
    """Return the mean over the cases of each target; NaN where there is none."""
    means = []
    for target in targets:
        values = [v for v in dice_by_case(scores, line, target, metric).values() if not math.isnan(v)]
        means.append(sum(values) / len(values) if values else math.nan)
    return means
