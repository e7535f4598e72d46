# SPDX-License-Identifier: Apache-2.0
"""The tables of an experiment as files: Markdown to read, CSV for programs, LaTeX for papers."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from akd_monai.experiments._study.answer import study_answers
from akd_monai.experiments._study.costs import CostTable, cost_table
from akd_monai.experiments._study.facts import study_facts
from akd_monai.experiments._study.latex import latex_cell, latex_string, latex_table
from akd_monai.experiments._study.records import cost_records, table_records
from akd_monai.experiments._study.study import Study
from akd_monai.experiments._study.table import Table, TableRow, study_tables
from akd_monai.experiments._tables import interval, number, p_value
from akd_monai.experiments.crossed import CrossedSummary
from akd_monai.files import as_path, atomic_write
from akd_monai.tables import markdown_table

__all__ = ["markdown_of", "write_tables"]

TABLES = "tables"
_GAINS = ("minus w/o", "p (Holm)", "minus control", "p (Holm)")
_COST_HEADER = ("", "trainings", "parameters", "seconds", "CPU seconds", "peak memory (GiB)")


def write_tables(study: Study, folder: str | os.PathLike[str], tables: Sequence[Table] | None = None) -> list[Path]:
    """Write the tables of an experiment to ``tables`` in a folder, each as ``.md``, ``.csv`` and ``.tex``.

    There is one for each metric, and class where there are several, and ``cost``; ``answers.md`` holds the sentences.

    Args:
        study: the experiment.
        folder: usually ``report`` in the experiment's folder.
        tables: those of :func:`~akd_monai.experiments._study.table.study_tables`, if they are at hand.

    Returns:
        The files written.
    """
    place = as_path(folder, "folder") / TABLES
    facts = study_facts(study)
    files: dict[str, str] = {"answers.md": _answers(study, facts)}
    given = study_tables(study) if tables is None else tables
    has_classes = len({table.class_name for table in given}) > 1
    for table in given:
        if all(math.isnan(cell.mean) for row in table.rows for cell in row.cells):
            continue
        name = _file_name(table, has_classes)
        files[f"{name}.md"] = _markdown(table, facts)
        files[f"{name}.csv"] = _csv(table_records(study, table))
        files[f"{name}.tex"] = _latex(table, name, facts)
    cost = cost_table(study)
    files["cost.md"] = _cost_markdown(cost, facts)
    files["cost.csv"] = _csv(cost_records(study, cost))
    files["cost.tex"] = _cost_latex(cost, facts)
    for name, content in files.items():
        atomic_write(place / name, content)
    return [place / name for name in files]


def markdown_of(study: Study, table: Table) -> str:
    """Return a table as Markdown, with its notes and the facts of its experiment."""
    return _markdown(table, study_facts(study))


def _file_name(table: Table, has_classes: bool) -> str:
    metric = table.metric.key.removesuffix("_mm")
    return re.sub(r"[^\w.-]", "-", f"{metric}-{table.class_name}") if has_classes else metric


def _csv(records: Sequence[dict[str, Any]]) -> str:
    return str(pd.DataFrame(records).to_csv(index=False, lineterminator="\n"))


def _answers(study: Study, facts: Sequence[tuple[str, str]]) -> str:
    said = []
    for one in study_answers(study):
        said.append(f"- **{one['headline']}.** {one['sentence']}")
        said += [f"  - {line}" for line in one.get("details", "").splitlines()]
    return "\n".join([*(said or ["- No method was run."]), "", _signed(facts), ""])


def _markdown(table: Table, facts: Sequence[tuple[str, str]]) -> str:
    digits = table.metric.digits
    header = ["", *table.columns, *_GAINS]
    rows = []
    for row in table.rows:
        parts = [_parts(cell, digits) for cell in row.cells]
        if row.is_bold:
            parts[-1][0] = f"**{parts[-1][0]}**"
        rows.append([row.line.label, *map(" ".join, [*parts, *_gains(row, digits)])])
    notes = [f"- {note}" for note in table.notes]
    return "\n".join([table.caption, "", markdown_table(header, rows), "", *notes, "", _signed(facts), ""])


def _parts(cell: CrossedSummary, digits: int, signed: bool = False) -> list[str]:
    """Return the mean, its intervals and what is undefined, each by itself."""
    said = [number(cell.mean, digits, signed=signed)]
    if cell.over_cases is not None:
        said.append(interval(*cell.over_cases, digits, signed=signed))
    if cell.over_runs_and_cases is not None:
        said.append(f"| {interval(*cell.over_runs_and_cases, digits, signed=signed)}")
    if cell.undefined:
        said.append(f"({cell.undefined} undefined)")
    return said


def _gains(row: TableRow, digits: int) -> list[list[str]]:
    """Return the differences to w/o and to the control with their p-values; nothing where there is none."""
    said: list[list[str]] = []
    for finding in (row.against_plain, row.against_control):
        if finding is None:
            said += [[], []]
        else:
            said += [_parts(finding.difference, digits, signed=True), [p_value(finding.p_holm)]]
    return said


def _signed(facts: Sequence[tuple[str, str]]) -> str:
    return " · ".join(value for _, value in facts)


def _latex(table: Table, name: str, facts: Sequence[tuple[str, str]]) -> str:
    digits = table.metric.digits
    rows: list[list[str]] = []
    networks = [row.line.network for row in table.rows]
    for place, row in enumerate(table.rows):
        if place and networks[place] != networks[place - 1]:
            rows.append([])
        cells = [latex_cell(_parts(cell, digits)) for cell in row.cells]
        if row.is_bold:
            cells[-1] = latex_cell(_parts(row.cells[-1], digits), is_bold=True)
        rows.append([latex_string(row.line.label), *cells, *map(latex_cell, _gains(row, digits))])
    header = ["", *table.columns, *_GAINS]
    return latex_table(table.caption, name, header, rows, [*table.notes, _signed(facts)])


def _cost_rows(table: CostTable) -> list[list[str]]:
    rows = []
    for row in table.rows:
        parameters = "n/a" if math.isnan(row.parameters) else f"{int(row.parameters):,}"
        figures = [number(row.seconds, 1), number(row.cpu_seconds, 1), number(row.peak_memory_gib, 2)]
        rows.append([row.label, str(row.trainings), parameters, *figures])
    return rows


def _cost_markdown(table: CostTable, facts: Sequence[tuple[str, str]]) -> str:
    return "\n".join([table.caption, "", markdown_table(_COST_HEADER, _cost_rows(table)), "", _signed(facts), ""])


def _cost_latex(table: CostTable, facts: Sequence[tuple[str, str]]) -> str:
    rows = [[latex_string(cell) for cell in row] for row in _cost_rows(table)]
    return latex_table(table.caption, "cost", _COST_HEADER, rows, [_signed(facts)])
