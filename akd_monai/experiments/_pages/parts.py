# SPDX-License-Identifier: Apache-2.0
"""The report of an experiment of several parts: their tables one after the other, never in one ranking or test."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from akd_monai._home import map_strings, without_home
from akd_monai.experiments._pages.paper import PAPER, PRINTED_BESIDE, PRINTED_UNDER, TABLE_3_NOTES, printed_beside
from akd_monai.experiments._pages.tables import table_content
from akd_monai.experiments._plan.parts import EXPERIMENT
from akd_monai.experiments._protocols import PROTOCOLS
from akd_monai.experiments._study.answer import study_answers
from akd_monai.experiments._study.study import Study, read_study
from akd_monai.experiments._study.table import Table, study_tables
from akd_monai.experiments._study.written import markdown_of
from akd_monai.experiments._tables import number
from akd_monai.experiments._templates import rendered
from akd_monai.files import atomic_write, read_json
from akd_monai.tables import markdown_table

__all__ = ["parts_of", "write_parts_report"]

_SEPARATE = (
    "Each part is an experiment of its own. Its rows are compared with each other, and with no row of another part: the "
    "tasks differ, and so do the cases that were learned from."
)


def parts_of(folder: Path) -> list[Path]:
    """Return the folders of the parts of an experiment; none for one without parts."""
    file = folder / EXPERIMENT
    names = read_json(file).get("parts", []) if file.is_file() else []
    return [folder / name for name in names]


def write_parts_report(folder: Path) -> Path:
    """Write ``report/index.html`` and ``report/tables/dice.md`` of an experiment of parts from the results of each.

    Args:
        folder: of the experiment.

    Returns:
        The page.

    Raises:
        InputError: if a table of a part would be wrong, see
            :func:`~akd_monai.experiments._study.study.read_study`.
    """
    studies = [read_study(part) for part in parts_of(folder)]
    report = folder / "report"
    is_of_both = {study.matrix.protocol for study in studies} == set(PROTOCOLS)
    notes = [_SEPARATE, *(TABLE_3_NOTES if is_of_both else ())]
    dice = [_dice(study) for study in studies]
    atomic_write(report / "tables" / "dice.md", _markdown(folder.resolve().name, studies, dice, notes, is_of_both))
    parts = []
    for study, tables in zip(studies, dice, strict=True):
        parts.append(_part(study, tables, is_of_both))
    kinds = {study.data_kind for study in studies}
    content = {
        "title": folder.resolve().name,
        "kind": kinds.pop() if len(kinds) == 1 else "",
        "notes": notes,
        "parts": map_strings(parts, without_home),
    }
    return atomic_write(report / "index.html", rendered("parts.html", content))


def _dice(study: Study) -> list[Table]:
    return [table for table in study_tables(study) if table.metric.key == "dice"]


def _part(study: Study, tables: Sequence[Table], is_of_both: bool) -> dict[str, Any]:
    shown = table_content(study, tables)
    for table in shown:
        table["rows"] += [_quoted(row) for row in _printed(study, is_of_both)]
    return {
        "name": study.folder.name,
        "protocol_name": study.matrix.protocol,
        "protocol": PROTOCOLS[study.matrix.protocol],
        "answers": study_answers(study),
        "tables": shown,
        "page": f"../{study.folder.name}/report/index.html",
    }


def _printed(study: Study, is_of_both: bool) -> list[list[str]]:
    """Return the rows that the paper prints of other methods under the protocol of a part; none where all have one."""
    if not is_of_both:
        return []
    rows = []
    for name in PRINTED_BESIDE:
        if PRINTED_UNDER[name] == study.matrix.protocol:
            values = printed_beside(name, study.matrix.targets)
            cells = ["" if value is None else number(value, 3) for value in values]
            known = [value for value in values if value is not None]
            mean = number(sum(known) / len(known), 3) if known and len(known) == len(values) else ""
            rows.append([f"{name}, as {PAPER} prints it", *cells, mean])
    return rows


def _quoted(row: Sequence[str]) -> dict[str, Any]:
    cells = [{"mean": "", "bold": False, "lines": [], "paper": value} for value in row[1:]]
    return {"label": row[0], "notes": ["quoted; other data, one run"], "kind": "starts", "cells": cells}


def _markdown(
    title: str, studies: Sequence[Study], dice: Sequence[Sequence[Table]], notes: Sequence[str], is_of_both: bool
) -> str:
    blocks = [f"# {title}", *notes]
    for study, tables in zip(studies, dice, strict=True):
        blocks += [f"## {study.folder.name}", PROTOCOLS[study.matrix.protocol]]
        blocks += [markdown_of(study, table).strip() for table in tables]
        rows = _printed(study, is_of_both)
        if rows:
            header = ["quoted, other data, one run", *study.matrix.targets, "mean"]
            blocks.append(markdown_table(header, rows))
    return "\n\n".join(blocks) + "\n"
