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
_TEACHERS = ("teacher_at_target", "teacher_adapted")
_SAID = {
    "without": "w/o distillation",
    "pretrained": "pre-trained at the sources",
    "joint": "sources and target together",
    "teacher_zero_shot": "teacher, zero-shot",
    "teacher_at_target": "teacher, trained at the target",
    "teacher_adapted": "teacher, adapted to the target",
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
        labelled: how many labelled cases of the target it learned from; ``None`` for all, or for none.
    """

    role: Literal["teacher", "student"]
    network: str
    method: str
    teacher: str | None = None
    labelled: int | None = None

    @property
    def how(self) -> str:
        """How it learned, for a reader."""
        said = _SAID.get(self.method, self.method)
        if self.teacher is not None:
            said = f"{said} from {self.teacher}"
        if self.labelled is None:
            return said
        return f"{said}, {self.labelled} labelled {'case' if self.labelled == 1 else 'cases'}"

    @property
    def label(self) -> str:
        """Network and how it learned."""
        return f"{self.network}, {self.how}"

    @property
    def is_method(self) -> bool:
        """Whether it is a student that learned by a method, and neither plain nor a control."""
        return self.role == "student" and self.method not in _STUDENTS

    def has(self, row: Row) -> bool:
        """Return whether a cell belongs to this line."""
        own = (self.role, self.network, self.method, self.teacher, self.labelled)
        return (row.role, row.network, row.method, row.teacher, row.labelled) == own


def lines_of(matrix: Matrix) -> list[Line]:
    """Return the lines that are tested at the target sites, students first, each with its controls before its methods.

    What learned from one number of labelled cases stands together, plain student first.
    """
    lines: list[Line] = []
    for student in matrix.students:
        for labelled in matrix.labelled_cases:
            lines += _student_lines(matrix, student.name, labelled)
    for teacher in matrix.teachers:
        if "teacher_zero_shot" in matrix.controls:
            lines.append(Line("teacher", teacher.name, "teacher_zero_shot"))
        for labelled in matrix.labelled_cases:
            found = [method for method in _TEACHERS if method in matrix.controls]
            lines += [Line("teacher", teacher.name, method, labelled=labelled) for method in found]
    return lines


def _student_lines(matrix: Matrix, student: str, labelled: int | None) -> list[Line]:
    allowed = {"without", *matrix.controls}
    names = [method for method in _STUDENTS if method in allowed]
    names += [method.name for method in matrix.methods if not method.is_distilled]
    lines = [Line("student", student, name, labelled=labelled) for name in names]
    for teacher in matrix.teachers:
        methods = [method for method in matrix.methods if method.is_distilled and method.is_run(labelled)]
        lines += [Line("student", student, method.name, teacher.name, labelled) for method in methods]
    return lines


def own_site_lines(matrix: Matrix) -> list[Line]:
    """Return the lines of teachers that are tested at the sites at which they learned."""
    if "teacher_own_sites" not in matrix.controls:
        return []
    return [Line("teacher", teacher.name, "teacher_own_sites") for teacher in matrix.teachers]


def of_line(scores: pd.DataFrame, line: Line) -> pd.DataFrame:
    """Return the scores of a line."""
    wanted = (scores["role"] == line.role) & (scores["network"] == line.network) & (scores["method"] == line.method)
    for column, value in (("teacher", line.teacher), ("labelled", line.labelled)):
        wanted &= scores[column].isna() if value is None else scores[column] == value
    return scores[wanted]


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
