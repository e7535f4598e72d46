# SPDX-License-Identifier: Apache-2.0
"""Refuse results that would make a wrong table: other cases, weights or teachers than the plan says."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from akd_monai.errors import InputError
from akd_monai.experiments._plan.cell import Cell, Row
from akd_monai.experiments._study.check_scores import REMEDY, WHERE, check_scores

__all__ = ["check_records"]

Record = Mapping[str, Any]
Records = Mapping[Row, Record]


def check_records(cells: Sequence[Cell], trainings: Records, evaluations: Records, scores: pd.DataFrame) -> None:
    """Check that rows which stand side by side were made from the same cases by the networks that the plan names.

    Args:
        cells: of the experiment, all done.
        trainings: what each training says of itself.
        evaluations: what each evaluation says of itself.
        scores: the rows of all tables of cases.

    Raises:
        InputError: naming the cells, for evaluations of one target and fold on different cases, or of different files;
            trainings at one place from different cases, or chosen by different ones; a table of cases that is not of its
            evaluation; weights that are not those of the training; a teacher, or first weights, that are another one's;
            test cases among those learned from.
    """
    _check_same_cases(cells, trainings, evaluations)
    check_scores(evaluations, scores)
    by_name = {cell.name: cell for cell in cells}
    for cell in cells:
        needed = [by_name[name] for name in cell.needs]
        if cell.kind == "test":
            _check_weights(cell, evaluations[cell.row], needed[0], trainings[needed[0].row])
            _check_unseen(cell, evaluations[cell.row], _learned_from(needed[0], by_name), trainings)
            continue
        _check_baseline(cell, trainings[cell.row])
        teaching = [one for one in needed if cell.kind == "distill" and one.row.role == "teacher"]
        if teaching:
            _check_teacher(cell, trainings[cell.row], teaching, trainings)
        for earlier in needed:
            if earlier not in teaching:
                _check_start(cell, trainings[cell.row], earlier, trainings[earlier.row])


def _check_same_cases(cells: Sequence[Cell], trainings: Records, evaluations: Records) -> None:
    tests = [cell for cell in cells if cell.kind == "test" and cell.row.method != "teacher_own_sites"]
    _check_equal(tests, lambda cell: (cell.row.target, cell.row.fold), evaluations, "cases", "evaluated on")
    # what is trained at several sites at once is a group of its own
    students = [cell for cell in cells if cell.kind != "test" and cell.row.method not in ("sources", "alone", "joint")]
    for key, what in (("cases", "trained on"), ("validation_cases", "chosen by")):
        _check_equal(students, lambda cell: (cell.row.target, cell.row.fold, cell.row.labelled), trainings, key, what)
    sources = [cell for cell in cells if cell.kind != "test" and cell.row.method == "sources"]
    _check_equal(sources, lambda cell: (cell.row.target, cell.row.role), trainings, "cases", "trained on")


def _check_equal(cells: Iterable[Cell], group: Callable[[Cell], Any], records: Records, key: str, what: str) -> None:
    first: dict[Any, Cell] = {}
    for cell in cells:
        other = first.setdefault(group(cell), cell)
        if records[cell.row].get(key) != records[other.row].get(key) or records[cell.row].get(key) is None:
            raise InputError(
                f"cells {other.name} and {cell.name} were {what} different cases, or do not say on which",
                where=WHERE,
                remedy=REMEDY,
            )


def _check_weights(cell: Cell, evaluation: Record, trained: Cell, training: Record) -> None:
    if evaluation.get("weights_sha256") != training.get("weights_sha256") or not training.get("weights_sha256"):
        raise InputError(
            f"cell {cell.name} evaluated other weights than {trained.name} has made", where=WHERE, remedy=REMEDY
        )


def _check_baseline(cell: Cell, training: Record) -> None:
    """Check that a training used the baseline of generalisation that its settings name, and none where they name none."""
    planned = json.loads(cell.settings).get("generalisation", {}).get("name")
    if training.get("generalisation") != planned:
        used = training.get("generalisation") or "no baseline"
        raise InputError(
            f"cell {cell.name} learned by {used} in place of {planned or 'none'}", where=WHERE, remedy=REMEDY
        )


def _check_teacher(cell: Cell, training: Record, teaching: Sequence[Cell], trainings: Records) -> None:
    """Check the hash of the only teacher, or those of several by their number."""
    hashes = [trainings[one.row].get("weights_sha256") for one in teaching]
    several = {str(number): value for number, value in enumerate(hashes, start=1)}
    if training.get("teacher_sha256") != (hashes[0] if len(hashes) == 1 else several):
        names = " and ".join(one.name for one in teaching)
        have = "has" if len(hashes) == 1 else "have"
        raise InputError(f"cell {cell.name} had another teacher than {names} {have} made", where=WHERE, remedy=REMEDY)


def _check_start(cell: Cell, training: Record, earlier: Cell, started: Record) -> None:
    if training.get("initial_weights_sha256") != started.get("weights_sha256"):
        raise InputError(
            f"cell {cell.name} started from other weights than {earlier.name} has made", where=WHERE, remedy=REMEDY
        )


def _learned_from(trained: Cell, by_name: Mapping[str, Cell]) -> list[Cell]:
    """Return a training with those of its teachers and its first weights, and with theirs."""
    found = [trained]
    for cell in found:
        found += [by_name[name] for name in cell.needs if by_name[name] not in found]
    return found


def _check_unseen(cell: Cell, evaluation: Record, trained: Sequence[Cell], trainings: Records) -> None:
    tested = set(evaluation.get("case_ids") or ())
    # a teacher has no test cases at its own sites: it is tested on those that chose its weights
    keys = ["case_ids", "unlabelled_case_ids"]
    if cell.row.method != "teacher_own_sites":
        keys.append("validation_case_ids")
    for training in trained:
        for key in keys:
            seen = sorted(tested & set(trainings[training.row].get(key) or ()))
            if seen:
                raise InputError(
                    f"cell {cell.name} was tested on {seen[0]}, which {training.name} has learned from",
                    where=WHERE,
                    remedy=REMEDY,
                )
