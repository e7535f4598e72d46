# SPDX-License-Identifier: Apache-2.0
"""The tables of an experiment as strings, with the paper's number beside ours and what was gained beside each row."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from akd_monai.experiments._pages.paper import PAPER, PaperDice, paper_dice
from akd_monai.experiments._plan.matrix import Matrix
from akd_monai.experiments._plan.methods import TERMS
from akd_monai.experiments._study.comparisons import Finding, Outcome
from akd_monai.experiments._study.lines import Line
from akd_monai.experiments._study.study import Study
from akd_monai.experiments._study.table import CALIBRATION, Table, TableRow
from akd_monai.experiments._tables import interval, number, p_value
from akd_monai.experiments.crossed import CrossedSummary

__all__ = ["calibration_content", "comparison_content", "table_content"]

_DICE = "dice"
_OUTCOMES: dict[Outcome, tuple[str, str]] = {
    "above": ("better", "helped"),
    "below": ("worse", "hurt"),
    "none": ("not shown", "none"),
    "few": ("too few", "few"),
}
_COMPARED = (
    "Row", "Minus", "Mean", "95 %, over cases", "95 %, over trainings and cases", "Trainings above", "p, Wilcoxon",
    "p, Holm", "Difference",
)  # fmt: skip


def table_content(study: Study, tables: Sequence[Table]) -> list[dict[str, Any]]:
    """Return the tables of scores; the first metric has the paper's numbers."""
    shown = []
    for table in tables:
        if table.metric.key == CALIBRATION.key:
            continue
        is_dice = table.metric.key == _DICE
        rows = [_row(study.matrix, table, row, is_dice) for row in table.rows]
        has_paper = is_dice and any(cell["paper"] for row in rows for cell in row["cells"])
        shown.append(
            {
                "heading": _heading(table),
                "caption": table.caption,
                "paper_note": _paper_note(study) if has_paper else "",
                "columns": list(table.columns),
                "rows": rows,
                "notes": list(table.notes),
                "is_first": is_dice,
            }
        )
    return shown


def calibration_content(tables: Sequence[Table]) -> list[dict[str, Any]]:
    """Return the tables of the calibration error in percentage points; none if no probabilities were kept."""
    shown = []
    for table in tables:
        means = [cell.mean for row in table.rows for cell in row.cells]
        if table.metric.key != CALIBRATION.key or all(math.isnan(mean) for mean in means):
            continue
        rows = []
        for row in table.rows:
            rows.append({"label": row.line.label, "cells": [number(100 * cell.mean, 2) for cell in row.cells]})
        shown.append({"class": table.class_name, "columns": list(table.columns), "rows": rows})
    return shown


def comparison_content(tables: Sequence[Table]) -> list[dict[str, Any]]:
    """Return the paired differences of Dice: each row minus the plain student, and minus the control."""
    shown = []
    for table in (table for table in tables if table.metric.key == _DICE):
        each = [(row.against_plain, row.against_control, row.against_base) for row in table.rows]
        found = [finding for findings in each for finding in findings if finding is not None]
        if found:
            rows = [_compared(finding, table.metric.digits) for finding in found]
            shown.append({"class": table.class_name, "columns": list(_COMPARED), "rows": rows})
    return shown


def _paper_note(study: Study) -> str:
    """Return how the paper's numbers and ours differ in data and protocol."""
    size = study.matrix.settings.get("spatial_size", (384, 384))
    data = "a synthetic phantom" if study.data_kind == "synthetic" else "real cases"
    return (
        f"In italics what {PAPER} prints: real MRI of six sites, slices of 384 × 384, one run without an interval, protocol "
        f"and test cases not stated. Here: {data}, slices of {size[0]} × {size[1]}, protocol {study.matrix.protocol}. Means "
        "of the paper's numbers are over the same sites. Which of the teachers’ rows the paper’s are is not stated."
    )


def _heading(table: Table) -> str:
    unit = f" ({table.metric.unit})" if table.metric.unit else ""
    named = f", class {table.class_name}" if table.class_name else ""
    return f"{table.metric.label}{unit}{named}"


def _row(matrix: Matrix, table: Table, row: TableRow, is_dice: bool) -> dict[str, Any]:
    digits = table.metric.digits
    printed = [_printed(matrix, row.line, target) if is_dice else None for target in table.columns[:-1]]
    cells = []
    for cell, paper in zip(row.cells, [*map(_said, printed), _mean_of(printed)], strict=True):
        cells.append({**_cell(cell, digits), "bold": False, "paper": paper})
    cells[-1]["bold"] = row.is_bold
    starts_group = row.line.method in ("without", "teacher_zero_shot")
    return {
        "label": row.line.label,
        "notes": _gains(row, digits),
        "kind": "starts" if starts_group else "",
        "cells": cells,
    }


def _cell(cell: CrossedSummary, digits: int) -> dict[str, Any]:
    lines = []
    if cell.over_cases is not None:
        lines.append(interval(*cell.over_cases, digits))
    if cell.over_runs_and_cases is not None:
        lines.append(f"| {interval(*cell.over_runs_and_cases, digits)}")
    if cell.undefined:
        lines.append(f"{cell.undefined} undefined")
    return {"mean": number(cell.mean, digits), "lines": lines}


def _gains(row: TableRow, digits: int) -> list[str]:
    """Return what the row gains over the plain student and, beside it, over the control."""
    gains = []
    base = "" if row.against_base is None else row.against_base.other.method
    found = (("w/o", row.against_plain), ("control", row.against_control), (base, row.against_base))
    for said, finding in found:
        if finding is not None:
            gains.append(f"{number(finding.difference.mean, digits, signed=True)} against {said}")
    return gains


def _compared(finding: Finding, digits: int) -> dict[str, Any]:
    difference = finding.difference
    said, kind = _OUTCOMES[finding.outcome]
    ends = [difference.over_cases, difference.over_runs_and_cases]
    cells = [
        finding.line.label,
        finding.other.how,
        number(difference.mean, digits, signed=True),
        *(interval(*pair, digits, signed=True) if pair else "n/a" for pair in ends),
        f"{finding.runs_above} of {finding.runs}",
        p_value(finding.p_value),
        p_value(finding.p_holm),
        said,
    ]
    return {"cells": cells, "kind": kind}


def _printed(matrix: Matrix, line: Line, target: str) -> PaperDice | None:
    """Return the paper's number for a row at a site; controls of students are not in the paper."""
    bundles = {network.name: network.bundle for network in (*matrix.students, *matrix.teachers)}
    if line.labelled is not None:
        return None
    if line.role == "teacher" or line.method == "without":
        return paper_dice(bundles[line.network], target)
    for method in matrix.methods:
        if method.name == line.method and line.teacher is not None:
            terms = TERMS if method.is_as_printed else method.terms
            # a recipe has no terms of its own, and is not in the paper
            return (
                paper_dice(bundles[line.network], target, teacher=bundles[line.teacher], terms=terms) if terms else None
            )
    return None


def _said(printed: PaperDice | None) -> str:
    return "" if printed is None else f"paper {number(printed.dice, 3)}"


def _mean_of(printed: Sequence[PaperDice | None]) -> str:
    values = [one.dice for one in printed if one is not None]
    return f"paper {number(sum(values) / len(values), 3)}" if values and len(values) == len(printed) else ""
