# SPDX-License-Identifier: Apache-2.0
"""Write a model card for each student of an experiment, from the experiment's results alone."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from akd_monai._home import map_strings, without_home
from akd_monai.bundle.metadata import read_metadata
from akd_monai.errors import InputError
from akd_monai.experiments._cards.facts import (
    data_rows,
    joined,
    rows_of,
    scanner_rows,
    setting_rows,
    teacher_cells,
    version_rows,
)
from akd_monai.experiments._cards.licence import licence_of
from akd_monai.experiments._cards.scores import difference_rows, limits, score_rows
from akd_monai.experiments._protocols import PROTOCOLS
from akd_monai.experiments._study.lines import Line, lines_of
from akd_monai.experiments._study.study import Study
from akd_monai.experiments._study.table import Table, study_tables
from akd_monai.experiments._templates import rendered
from akd_monai.files import as_path, atomic_write, sha256_of
from akd_monai.tables import markdown_table

__all__ = ["write_cards"]

_TEMPLATE = "model_card.md"
_COLUMNS = {
    "data": ["target", "fold", "seed", "learned at", "training", "validation", "test", "training set", "test set"],
    "scores": ["metric", "site", "mean", "95 %, cases", "95 %, trainings and cases", "of"],
    "differences": [
        "metric",
        "minus",
        "mean",
        "95 %, cases",
        "95 %, trainings and cases",
        "better runs",
        "p (Holm)",
        "",
    ],
    "weights": ["target", "fold", "seed", "best epoch", "file", "SHA-256"],
    "teachers": ["training", "learned at", "cases", "SHA-256 of the weights"],
    "scanners": ["site", "maker", "field strength (T)", "coil", "source"],
    "pairs": ["", ""],
}


def write_cards(study: Study, folder: str | os.PathLike[str], tables: Sequence[Table] | None = None) -> list[Path]:
    """Write ``STUDENT-TEACHER-METHOD.md``, or ``STUDENT-METHOD.md`` where there is no teacher, for each student.

    The sections are those of Mitchell et al., Model Cards for Model Reporting, FAT* 2019, arXiv:1810.03993. Equal results
    give equal bytes. No home folder and no name of a user is written.

    Args:
        study: the experiment's results, complete and of one kind.
        folder: of the cards.
        tables: those of the study, where they have been computed before.

    Returns:
        The cards.

    Raises:
        InputError: if a file of weights is no longer the one that was evaluated, or a bundle of the experiment is missing.
    """
    root = as_path(folder, "folder")
    given = study_tables(study) if tables is None else tables
    written = []
    for line in lines_of(study.matrix):
        if line.role == "student":
            content = map_strings(_content(study, given, line), without_home)
            written.append(atomic_write(root / f"{_name(line)}.md", rendered(_TEMPLATE, content)))
    return written


def _name(line: Line) -> str:
    labelled = None if line.labelled is None else f"labelled-{line.labelled}"
    return "-".join(part for part in (line.network, line.teacher, line.method, labelled) if part)


def _content(study: Study, tables: Sequence[Table], line: Line) -> dict[str, Any]:
    bundle = study.folder / "bundles" / f"student-{line.network}"
    metadata = read_metadata(bundle)
    records = [study.trainings[row] for row in rows_of(study, line)]
    return {
        "line": line,
        "matrix": study.matrix,
        "is_synthetic": study.data_kind == "synthetic",
        "metadata": {key: _one_line(metadata.get(key)) for key in ("name", "task", "description", "intended_use")},
        "references": list(dict.fromkeys(["arXiv:2404.02738", *map(str, metadata.get("references") or ())])),
        "licence": licence_of(bundle),
        "parameters": joined(record.get("network_parameters") for record in records),
        "teacher_licence": None if line.teacher is None else licence_of(_teacher_bundle(study, line)),
        "protocol": PROTOCOLS.get(study.matrix.protocol, ""),
        "settings": _table("pairs", setting_rows(study, line)),
        "versions": _table("pairs", version_rows(study, line)),
        "data": _table("data", data_rows(study, line)),
        "scanners": _table("scanners", scanner_rows(study.matrix.targets)),
        "scores": _table("scores", score_rows(tables, line)),
        "differences": _table("differences", difference_rows(tables, line)),
        "limits": limits(study, tables, line),
        "weights": _table("weights", _weights(study, line)),
        "teachers": _table("teachers", _teachers(study, line)),
        "has_ece": any(table.metric.key == "ece" for table in tables),
    }


def _teacher_bundle(study: Study, line: Line) -> Path:
    return study.folder / "bundles" / f"teacher-{line.teacher}"


def _table(kind: str, rows: Sequence[Sequence[str]]) -> str:
    """Return a table, or nothing where it would have no row."""
    return markdown_table(_COLUMNS[kind], rows) if rows else ""


def _one_line(value: object) -> str:
    return " ".join(str(value or "").split())


def _weights(study: Study, line: Line) -> list[list[str]]:
    """Return every file of weights with the hash that was evaluated."""
    rows = []
    for cell in study.cells:
        if cell.kind == "test" or not line.has(cell.row):
            continue
        training = study.trainings[cell.row]
        stated = str(training["weights_sha256"])
        file = Path(cell.folder) / "models" / "model.pt"
        if file.is_file() and sha256_of(file) != stated:
            raise InputError(
                f"{str(file)!r} holds other weights than those that were evaluated, {stated[:12]}...",
                where="model cards",
                remedy="delete the cell's folder and run the experiment again",
            )
        row = cell.row
        place = [row.target, "" if row.fold is None else str(row.fold), str(row.seed)]
        name = f"`{file.relative_to(study.folder).as_posix()}`"
        rows.append([*place, joined([training.get("best_epoch")]), name, f"`{stated}`"])
    return rows


def _teachers(study: Study, line: Line) -> list[list[str]]:
    """Return the trainings that the student's teachers, or its first weights, come from."""
    rows = []
    for cell in teacher_cells(study, line):
        record = study.trainings[cell.row]
        cases = str(len(record.get("case_ids") or ()))
        rows.append([cell.name, joined([record.get("sites")]), cases, f"`{record['weights_sha256']}`"])
    return rows
