# SPDX-License-Identifier: Apache-2.0
"""The report of a compression: one page that opens offline, and its table as CSV, Markdown and JSON."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pandas as pd

from akd_monai._home import map_strings, without_home
from akd_monai.data.manifest import is_synthetic
from akd_monai.experiments._compress.found import Found, FoundRow, control_of
from akd_monai.experiments._compress.request import Request
from akd_monai.experiments._compress.students import TEACHER
from akd_monai.experiments._compress.teaching import Teaching
from akd_monai.experiments._compress.words import (
    choice_rule,
    chosen_row,
    distillation_sentences,
    exchange_sentence,
)
from akd_monai.experiments._pages.figures import Point, cost_figure, pareto_front
from akd_monai.experiments._tables import interval, number, shown
from akd_monai.experiments._templates import data_uri, rendered
from akd_monai.files import atomic_write, write_json
from akd_monai.tables import markdown_table

__all__ = ["write_page"]

_COLUMNS = (
    "row", "Dice", "95 % over cases", "against the teacher", "against the control", "parameters", "MB",
    "CPU seconds a volume", "memory, MB", "front",
)  # fmt: skip
_SECONDS = "CPU seconds a volume"
_SIZE = "megabytes of the ONNX file"
_DIGITS = 3


def write_page(found: Found, request: Request, teaching: Teaching, folder: Path, command: str) -> Path:
    """Write ``report/index.html`` and, in ``report/tables``, ``compress.csv``, ``.md`` and ``.json``.

    Args:
        found: what the cells have found.
        request: what was asked for.
        teaching: what is known of the teacher.
        folder: of the compression.
        command: that was run, for the page.

    Returns:
        The page.
    """
    report = folder / "report"
    points = _points(found)
    front = {point.label for panel in points.values() for point in pareto_front(panel)}
    cells = [_cells(row, found, front) for row in found.rows]
    records = [_record(row, found, front, folder) for row in found.rows]
    tables = report / "tables"
    tables.mkdir(parents=True, exist_ok=True)
    sentences = [exchange_sentence(found), choice_rule(found)]
    text = "\n\n".join([*sentences, markdown_table(_COLUMNS, cells)]) + "\n"
    atomic_write(tables / "compress.md", text)
    atomic_write(tables / "compress.csv", pd.DataFrame(records).to_csv(index=False))
    write_json(tables / "compress.json", {"rows": records, "measured": found.measured})
    content = {
        "title": f"{request.teacher.name} made light",
        "kind": _kind(request, teaching),
        "facts": _facts(found, request, teaching),
        "exchange": sentences[0],
        "rule": sentences[1],
        "tool": os.path.relpath(chosen_row(found).onnx, folder),
        "answers": distillation_sentences(found),
        "cautions": _cautions(found, teaching),
        "picture": data_uri(cost_figure(points)),
        "columns": _COLUMNS,
        "rows": cells,
        "note": _note(found),
        "command": without_home(command, "$HOME"),
        "files": [f"tables/{path.name}" for path in sorted(tables.iterdir())],
    }
    return atomic_write(report / "index.html", rendered("compress.html", map_strings(content, without_home)))


def _points(found: Found) -> dict[str, list[Point]]:
    panels: dict[str, list[Point]] = {_SECONDS: [], _SIZE: []}
    for row in found.rows:
        panels[_SECONDS].append(Point(row.label, row.network, row.cpu_seconds, row.dice))
        panels[_SIZE].append(Point(row.label, row.network, row.megabytes, row.dice))
    return panels


def _cells(row: FoundRow, found: Found, front: set[str]) -> list[str]:
    summary = row.summary
    control = control_of(row, found.rows)
    return [
        row.label,
        number(row.dice, _DIGITS),
        "" if summary is None else interval(summary.low, summary.high, _DIGITS),
        "" if row.how == TEACHER else number(row.gain(found.teacher), _DIGITS, signed=True),
        "" if control is None else number(row.gain(control), _DIGITS, signed=True),
        f"{row.parameters:,}",
        number(row.megabytes, 2),
        number(row.cpu_seconds, 3),
        number(row.peak_mb, 0),
        "yes" if row.label in front else "",
    ]


def _record(row: FoundRow, found: Found, front: set[str], folder: Path) -> dict[str, Any]:
    control = control_of(row, found.rows)
    against = None if control is None else row.minus(control)
    teacher = row.minus(found.teacher)
    summary = row.summary
    return {
        "network": row.network,
        "how": row.how,
        "metric": row.metric,
        "mean": row.dice,
        "cases": None if summary is None else summary.n,
        "low": None if summary is None else summary.low,
        "high": None if summary is None else summary.high,
        "minus_teacher": row.gain(found.teacher),
        "minus_teacher_low": None if teacher is None else teacher.low,
        "minus_teacher_high": None if teacher is None else teacher.high,
        "control": None if control is None else control.label,
        "minus_control": None if control is None else row.gain(control),
        "minus_control_low": None if against is None else against.low,
        "minus_control_high": None if against is None else against.high,
        "validation": row.validation,
        "parameters": row.parameters,
        "megabytes": row.megabytes,
        "cpu_seconds": row.cpu_seconds,
        "peak_mb": row.peak_mb,
        "front": row.label in front,
        "file": os.path.relpath(row.onnx, folder),
    }


def _kind(request: Request, teaching: Teaching) -> str:
    if not teaching.has_sites:
        return ""
    return "synthetic" if is_synthetic(request.dataset_dir) else "real"


def _facts(found: Found, request: Request, teaching: Teaching) -> list[tuple[str, str]]:
    split = teaching.split
    cases = len(found.teacher.cases)
    facts = [("Recipe", request.recipe)]
    if teaching.has_sites:
        facts.append(("Seed", str(request.seed)))
    if cases:
        facts.append(("Held-out cases", str(cases)))
    if split:
        facts.append(("Students’ sites", shown(split["sites"])))
        facts.append(("Fold", f"{split['fold'] + 1} of {split['folds']}"))
    if teaching.sources:
        facts.append(("Pre-trained at", shown(teaching.sources)))
    return facts


def _cautions(found: Found, teaching: Teaching) -> list[str]:
    cautions = [*teaching.cautions, "One training of each: nothing is known of what other seeds would give."]
    if not found.teacher.cases:
        cautions.append("The bundle’s evaluation gives means alone: no interval and no test of a difference.")
    if teaching.sources:
        cautions.append("The distilled students start from the pre-trained ones, which are their controls.")
    return cautions


def _note(found: Found) -> str:
    measured = found.measured
    shape = " × ".join(map(str, measured["shape"]))
    kind = "a synthetic volume" if measured["synthetic"] else "a held-out volume"
    return (
        f"Time: {measured['engine']}, one thread, {kind} of {shape}, from its file to the mask’s, medians of interleaved "
        "rounds, each in a process of its own, after everything else had ended, on "
        f"{measured['machine']['cpu']}; the rows of a student share one network, which was timed once. Compare times with "
        "each other only. Front: no other row has at least this Dice for less time, or none for fewer megabytes."
    )
