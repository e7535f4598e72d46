# SPDX-License-Identifier: Apache-2.0
"""A table of an experiment: a row for each network and way to learn, a column for each target, and the mean over them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from akd_monai.experiments._comparison import METRICS, Metric
from akd_monai.experiments._study.blocks import blocks_of
from akd_monai.experiments._study.comparisons import CONTROL, PLAIN, Finding, compare_rows
from akd_monai.experiments._study.lines import Line, lines_of, own_site_lines
from akd_monai.experiments._study.study import Study
from akd_monai.experiments.crossed import CrossedSummary, crossed_summary

__all__ = ["CALIBRATION", "MEAN", "Table", "TableRow", "study_tables"]

MEAN = "mean"
CALIBRATION = Metric("ece", "ECE", "", 3, False)


@dataclass(frozen=True)
class TableRow:
    """A row of a table.

    Attributes:
        line: network and how it learned.
        cells: one for each target, then the mean over the targets.
        against_plain: the row minus the plain student; ``None`` for that itself and for teachers.
        against_control: a distilled row minus the control; ``None`` where there is none.
    """

    line: Line
    cells: tuple[CrossedSummary, ...]
    against_plain: Finding | None
    against_control: Finding | None

    @property
    def is_bold(self) -> bool:
        """Whether the mean may be printed bold: better than the plain student by the test and the interval."""
        return self.against_plain is not None and self.against_plain.outcome == "above"


@dataclass(frozen=True)
class Table:
    """A metric of one class for all rows.

    Attributes:
        metric: the metric.
        class_name: the class.
        columns: the targets, then :data:`MEAN`.
        rows: students with their controls and methods, then teachers.
        caption: data, protocol, cases, folds and seeds, and how to read a cell.
        notes: a sentence each, such as how many methods are above the plain student.
    """

    metric: Metric
    class_name: str
    columns: tuple[str, ...]
    rows: tuple[TableRow, ...]
    caption: str
    notes: tuple[str, ...]


def study_tables(study: Study) -> list[Table]:
    """Return the tables of an experiment: one for each class and metric that was written."""
    metrics = [*METRICS, CALIBRATION] if "ece" in study.scores else list(METRICS)
    classes = sorted(study.scores["class"].unique())
    return [_table(study, metric, name) for name in classes for metric in metrics]


def _table(study: Study, metric: Metric, class_name: str) -> Table:
    findings = compare_rows(study, metric, class_name)
    targets = study.matrix.targets
    scores = study.scores[study.scores["class"] == class_name]
    rows = []
    for line in [*lines_of(study.matrix), *own_site_lines(study.matrix)]:
        sites = [blocks_of(scores, line, target, metric.key) for target in targets]
        cells = [crossed_summary([site]) for site in sites]
        against = {finding.other.method: finding for finding in findings if finding.line == line}
        rows.append(TableRow(line, (*cells, crossed_summary(sites)), against.get(PLAIN), against.get(CONTROL)))
    return Table(
        metric=metric,
        class_name=class_name,
        columns=(*targets, MEAN),
        rows=tuple(rows),
        caption=_caption(study, metric, class_name, rows),
        notes=_notes(study, metric, rows),
    )


def _caption(study: Study, metric: Metric, class_name: str, rows: Sequence[TableRow]) -> str:
    matrix = study.matrix
    data = "SYNTHETIC phantom, no patients" if study.data_kind == "synthetic" else "real cases"
    cases = rows[0].cells[-1].cases + rows[0].cells[-1].undefined // max(rows[0].cells[-1].runs, 1)
    unit = f" in {metric.unit}" if metric.unit else ""
    named = f", class {class_name}" if class_name else ""
    folds = "one fold" if matrix.folds == 1 else f"{len(matrix.run_folds)} of {matrix.folds} folds"
    seeds = f"{len(matrix.seeds)} {'seed' if len(matrix.seeds) == 1 else 'seeds'}"
    return (
        f"{metric.label}{unit}{named}. {data}; protocol {matrix.protocol}, {cases} test cases at {len(matrix.targets)} "
        f"target sites, {folds}, {seeds}. Mean over cases and seeds with the 95 % interval over cases and, after the bar, "
        "over trainings and cases; the last column is the mean over sites. Bold: better than w/o by Wilcoxon's test over "
        "cases, adjusted by Holm for all comparisons of this table, and by the interval over trainings and cases."
    )


def _notes(study: Study, metric: Metric, rows: Sequence[TableRow]) -> tuple[str, ...]:
    notes = []
    for student in study.matrix.students:
        methods = [row for row in rows if row.line.network == student.name and row.line.teacher is not None]
        if not methods:
            continue
        plain = [row.against_plain for row in methods]
        notes.append(_counted(student.name, "w/o", plain, metric))
        control = [row.against_control for row in methods]
        if any(finding is not None for finding in control):
            notes.append(_counted(student.name, "the control pre-trained at the sources", control, metric))
    return tuple(notes)


def _counted(student: str, other: str, findings: Sequence[Finding | None], metric: Metric) -> str:
    known = [finding for finding in findings if finding is not None]
    sign = 1 if metric.higher_is_better else -1
    higher = sum(finding.difference.mean * sign > 0 for finding in known)
    shown = Counter(finding.outcome for finding in known)
    total = len(known)
    return (
        f"{student}: {higher} of {total} methods above {other} by the mean; shown by test and interval: {shown['above']} "
        f"above, {shown['below']} below."
    )
