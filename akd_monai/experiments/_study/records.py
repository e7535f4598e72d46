# SPDX-License-Identifier: Apache-2.0
"""A table of an experiment in long form, one record a cell, for programs."""

from __future__ import annotations

from typing import Any

from akd_monai.experiments._study.comparisons import Finding
from akd_monai.experiments._study.costs import CostTable
from akd_monai.experiments._study.facts import slice_sizes, study_facts
from akd_monai.experiments._study.study import Study
from akd_monai.experiments._study.table import Table, TableRow
from akd_monai.experiments._tables import shown
from akd_monai.experiments.crossed import CrossedSummary

__all__ = ["cost_records", "table_records"]

Record = dict[str, Any]


def table_records(study: Study, table: Table) -> list[Record]:
    """Return a record for each cell; comparisons stand with the mean over sites, which they are made for.

    What is not there is ``None``, an empty field in CSV; figures are not rounded.
    """
    facts = _facts(study)
    records = []
    for row in table.rows:
        line = row.line
        for place, (column, cell) in enumerate(zip(table.columns, row.cells, strict=True)):
            is_mean = place == len(row.cells) - 1
            what: Record = {"role": line.role, "network": line.network, "method": line.method, "teacher": line.teacher}
            what["labelled_cases"] = line.labelled
            where = {"metric": table.metric.key, "class": table.class_name, "site": column}
            records.append({**what, **where, **_figures(cell), **_compared(row, is_mean), **facts})
    return records


def cost_records(study: Study, table: CostTable) -> list[Record]:
    """Return a record for each row of the table of costs."""
    facts = _facts(study)
    return [{**vars(row), **facts} for row in table.rows]


def _facts(study: Study) -> Record:
    matrix = study.matrix
    given = dict(study_facts(study))
    return {
        "experiment": matrix.name,
        "data": study.data_kind,
        "protocol": matrix.protocol,
        "folds": f"{len(matrix.run_folds)} of {matrix.folds}",
        "seeds": shown(matrix.seeds),
        "slices": slice_sizes(study),
        "command": given["command"],
        "versions": given["versions"],
    }


def _figures(cell: CrossedSummary, prefix: str = "") -> Record:
    low, high = cell.over_cases or (None, None)
    runs_low, runs_high = cell.over_runs_and_cases or (None, None)
    return {
        f"{prefix}mean": cell.mean,
        f"{prefix}cases": cell.cases,
        f"{prefix}runs": cell.runs,
        f"{prefix}undefined": cell.undefined,
        f"{prefix}over_cases_low": low,
        f"{prefix}over_cases_high": high,
        f"{prefix}over_runs_and_cases_low": runs_low,
        f"{prefix}over_runs_and_cases_high": runs_high,
    }


def _compared(row: TableRow, is_mean: bool) -> Record:
    plain = row.against_plain if is_mean else None
    control = row.against_control if is_mean else None
    base = row.against_base if is_mean else None
    return {
        **_difference("minus_without", plain),
        **_difference("minus_control", control),
        **({} if row.against_base is None else _difference("minus_base", base)),
        "bold": is_mean and row.is_bold,
    }


def _difference(name: str, finding: Finding | None) -> Record:
    nothing = CrossedSummary(float("nan"), 0, 0, 0, None, None)
    figures = _figures(nothing if finding is None else finding.difference, f"{name}_")
    tests = {f"{name}_p": None, f"{name}_p_holm": None, f"{name}_runs_above": None, f"{name}_outcome": None}
    if finding is None:
        return {**dict.fromkeys(figures), **tests}
    found = (finding.p_value, finding.p_holm, finding.runs_above, finding.outcome)
    return {**figures, **dict(zip(tests, found, strict=True))}
