# SPDX-License-Identifier: Apache-2.0
"""What a student of an experiment learned from, and how: the records of its trainings side by side."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from akd_monai.data import SITES
from akd_monai.experiments._plan.cell import Cell, Row
from akd_monai.experiments._study.lines import Line
from akd_monai.experiments._study.study import Study
from akd_monai.experiments._tables import shown

__all__ = ["data_rows", "joined", "rows_of", "scanner_rows", "setting_rows", "teacher_cells", "version_rows"]

Rows = list[list[str]]
_SETTINGS = (
    ("spatial_size", "size of a slice"),
    ("epochs", "epochs"),
    ("iterations", "iterations"),
    ("batch_size", "batch size"),
    ("processes", "processes"),
    ("optimizer", "optimizer"),
    ("learning_rate", "learning rate"),
    ("schedule", "schedule"),
    ("lambdas", "weights of the terms"),
    ("amp", "mixed precision"),
    ("device", "device"),
)


def rows_of(study: Study, line: Line) -> list[Row]:
    """Return the trainings of a student, in the order of the experiment."""
    return [cell.row for cell in study.cells if cell.kind != "test" and line.has(cell.row)]


def joined(values: Iterable[Any]) -> str:
    """Return the different values for a reader; what is not known in any record is "not recorded".

    Example:
        >>> joined([3, 3, None]), joined([0.01, 0.02]), joined([None])
        ('3', '0.01 or 0.02', 'not recorded')
    """
    found = list(dict.fromkeys(shown(value) for value in values if value is not None))
    return " or ".join(found) if found else "not recorded"


def setting_rows(study: Study, line: Line) -> Rows:
    """Return name and value of each setting of the trainings; what no record states is not listed."""
    records = [study.trainings[row] for row in rows_of(study, line)]
    pairs = [[name, joined(record.get(key) for record in records)] for key, name in _SETTINGS]
    return [pair for pair in pairs if pair[1] != "not recorded"]


def version_rows(study: Study, line: Line) -> Rows:
    """Return the packages and the computer of the trainings."""
    records = [study.trainings[row] for row in rows_of(study, line)]
    machines = [record["machine"] for record in records if isinstance(record.get("machine"), Mapping)]
    names = dict.fromkeys(name for machine in machines for name in machine)
    rows = [["akd_monai", joined(record.get("version") for record in records)]]
    return rows + [[name, joined(machine.get(name) for machine in machines)] for name in names]


def data_rows(study: Study, line: Line) -> Rows:
    """Return for each training at a target its sites, numbers of cases, and the fingerprints of the cases."""
    rows = []
    for row in rows_of(study, line):
        training = study.trainings[row]
        tested = study.evaluations[row]
        numbers = [len(record.get(key) or ()) for record, key in _parts(training, tested)]
        cases = [str(record.get("cases") or "not recorded")[:16] for record in (training, tested)]
        fold = "" if row.fold is None else str(row.fold)
        rows.append([row.target, fold, str(row.seed), shown(training.get("sites")), *map(str, numbers), *cases])
    return rows


def _parts(training: Mapping[str, Any], tested: Mapping[str, Any]) -> Sequence[tuple[Mapping[str, Any], str]]:
    return ((training, "case_ids"), (training, "validation_case_ids"), (tested, "case_ids"))


def teacher_cells(study: Study, line: Line) -> list[Cell]:
    """Return the trainings of a student's teachers, or of the weights that it started from, without repetition."""
    by_name = {cell.name: cell for cell in study.cells}
    needed: dict[str, Cell] = {}
    waiting = [cell for cell in study.cells if cell.kind != "test" and line.has(cell.row)]
    for cell in waiting:
        new = [by_name[name] for name in cell.needs if name not in needed]
        needed.update({other.name: other for other in new})
        waiting += new
    return list(needed.values())


def scanner_rows(targets: Sequence[str]) -> Rows:
    """Return how the scans of the known sites among the targets were made."""
    return [
        [site.name, site.vendor, shown(list(site.field_strength_t)), site.coil, site.source]
        for site in SITES
        if site.name in targets
    ]
