# SPDX-License-Identifier: Apache-2.0
"""The rows of one student in the tables of an experiment, and the limits of what they show."""

from __future__ import annotations

from collections.abc import Sequence

from akd_monai.experiments._comparison import FEW_CASES, Metric
from akd_monai.experiments._study.comparisons import MIN_RUNS, Finding
from akd_monai.experiments._study.lines import Line
from akd_monai.experiments._study.study import Study
from akd_monai.experiments._study.table import Table, TableRow
from akd_monai.experiments._tables import interval, number
from akd_monai.experiments.crossed import CrossedSummary

__all__ = ["difference_rows", "limits", "score_rows"]

_OUTCOMES = {
    "above": "better",
    "below": "worse",
    "none": "no difference shown",
    "few": "too few trainings or cases to tell",
}
_FULL_SIDE = 384
_LEAST_SHOWN = 0.001


def score_rows(tables: Sequence[Table], line: Line) -> list[list[str]]:
    """Return metric, place, mean, both intervals and what they rest on, for each target and the mean over them."""
    rows = []
    for table in tables:
        for place, summary in zip(table.columns, _row(table, line).cells, strict=True):
            rows.append([_title(table), place, *_figures(summary, table.metric), _basis(summary)])
    return rows


def difference_rows(tables: Sequence[Table], line: Line) -> list[list[str]]:
    """Return the paired differences of a student to the plain one and to the control, where it has them."""
    rows = []
    for table in tables:
        row = _row(table, line)
        for finding in (row.against_plain, row.against_control, row.against_base):
            if finding is not None:
                rows.append([_title(table), finding.other.how, *_difference(finding, table.metric)])
    return rows


def _row(table: Table, line: Line) -> TableRow:
    return next(row for row in table.rows if row.line == line)


def _title(table: Table) -> str:
    unit = f" ({table.metric.unit})" if table.metric.unit else ""
    named = f", {table.class_name}" if table.class_name else ""
    return f"{table.metric.label}{unit}{named}"


def _figures(summary: CrossedSummary, metric: Metric, signed: bool = False) -> list[str]:
    found = [number(summary.mean, metric.digits, signed)]
    for ends in (summary.over_cases, summary.over_runs_and_cases):
        found.append("none" if ends is None else interval(*ends, metric.digits, signed))
    return found


def _basis(summary: CrossedSummary) -> str:
    undefined = f", {summary.undefined} undefined" if summary.undefined else ""
    return f"{summary.cases} cases, {summary.runs} {'seed' if summary.runs == 1 else 'seeds'}{undefined}"


def _difference(finding: Finding, metric: Metric) -> list[str]:
    above = f"{finding.runs_above} of {finding.runs}"
    figures = _figures(finding.difference, metric, signed=True)
    return [*figures, above, _probability(finding.p_holm), _OUTCOMES[finding.outcome]]


def _probability(value: float | None) -> str:
    """Return a p-value for a reader.

    Example:
        >>> _probability(0.0312), _probability(0.00002), _probability(None)
        ('0.031', 'below 0.001', 'none')
    """
    if value is None:
        return "none"
    return "below 0.001" if value < _LEAST_SHOWN else number(value, 3)


def limits(study: Study, tables: Sequence[Table], line: Line) -> list[str]:
    """Return what the reader must not conclude, in sentences; every one follows from the records."""
    matrix = study.matrix
    summaries = _row(tables[0], line).cells
    found = []
    if study.data_kind == "synthetic":
        found.append("All images are SYNTHETIC drawings. No figure here says anything about patients or real scanners.")
    if len(matrix.seeds) < MIN_RUNS:
        found.append("One seed: another training may well give other figures; no interval here covers that.")
    few = [place for place, one in zip(matrix.targets, summaries, strict=False) if one.cases < FEW_CASES]
    if few:
        found.append(f"Fewer than {FEW_CASES} test cases at {', '.join(few)}: intervals there are too narrow.")
    if len(matrix.run_folds) < matrix.folds:
        found.append(f"Only {len(matrix.run_folds)} of {matrix.folds} folds were run: not every case was tested.")
    if line.teacher is not None and _row(tables[0], line).against_control is None:
        found.append(
            "No control was run that learned from the sources without a teacher; a gain may come from their data."
        )
    undefined = [_title(table) for table in tables if _row(table, line).cells[-1].undefined]
    if undefined:
        found.append(f"Undefined values, as of an empty mask, are in no mean of {', '.join(undefined)}.")
    if matrix.protocol == "cross_site":
        found.append("At a site from which no labelled case was learned, nothing was measured.")
    found += _small(study, line)
    return found


def _small(study: Study, line: Line) -> list[str]:
    sides = [
        side for row, record in study.trainings.items() if line.has(row) for side in record.get("spatial_size") or ()
    ]
    if sides and min(sides) < _FULL_SIDE:
        return [f"Slices of {min(sides)} pixels a side, where the paper has {_FULL_SIDE}: small structures are lost."]
    return []
