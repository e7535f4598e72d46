# SPDX-License-Identifier: Apache-2.0
"""All that an experiment has found: scores of every case, and what each training and evaluation says of itself."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from akd_monai.data.manifest import Manifest
from akd_monai.errors import InputError
from akd_monai.experiments._plan.cell import Cell, Row, is_done
from akd_monai.experiments._plan.expand import expand
from akd_monai.experiments._plan.matrix import Matrix, read_matrix
from akd_monai.experiments._plan.parts import EXPERIMENT
from akd_monai.experiments._study.checks import check_records
from akd_monai.experiments.results import read_case_rows
from akd_monai.files import as_path, read_json

__all__ = ["Study", "read_study"]

Record = Mapping[str, Any]
_REMEDY = "delete the cell's folder and run the experiment again"
_MOST_NAMED = 3


@dataclass(frozen=True)
class Study:
    """The results of an experiment, complete and of one kind of data.

    Attributes:
        folder: of the experiment.
        matrix: what its file says.
        cells: all of its cells, in order.
        data_kind: whether the cases are those of a synthetic set.
        scores: one row a case and class of every evaluation, with the columns ``target``, ``fold``, ``seed``, ``role``,
            ``network``, ``method``, ``teacher``, ``labelled`` (of the cell's row; ``None`` where it has none), ``case_id``,
            ``site``, ``class``, ``dice``, ``hd95_mm``, ``asd_mm`` and, where it was written, ``ece``.
        trainings: ``training.json`` of every training, by its row.
        evaluations: ``evaluation.json`` of every evaluation, by its row.
        results: ``result.json`` of every cell, by its name.
    """

    folder: Path
    matrix: Matrix
    cells: tuple[Cell, ...]
    data_kind: Literal["synthetic", "real"]
    scores: pd.DataFrame
    trainings: Mapping[Row, Record]
    evaluations: Mapping[Row, Record]
    results: Mapping[str, Record]


def read_study(folder: str | os.PathLike[str]) -> Study:
    """Read the results of an experiment from its folder.

    Raises:
        InputError: if the folder holds no experiment, a cell is missing or belongs to another experiment, or its records
            contradict each other, see :func:`~akd_monai.experiments._study.checks.check_records`.
    """
    root = as_path(folder, "output_dir").resolve()
    file = root / EXPERIMENT
    if not file.is_file():
        raise InputError(
            f"{str(folder)!r} holds no {EXPERIMENT}", where="results of an experiment", remedy="give its output_dir"
        )
    matrix = read_matrix(file)
    cells = tuple(expand(matrix, root))
    _check_complete(cells)
    tests = [cell for cell in cells if cell.kind == "test"]
    trainings = {cell.row: _record(cell, "training.json") for cell in cells if cell.kind != "test"}
    evaluations = {cell.row: _record(cell, "evaluation.json") for cell in tests}
    scores = pd.concat([_scores(cell) for cell in tests], ignore_index=True)
    check_records(cells, trainings, evaluations, scores)
    return Study(
        folder=root,
        matrix=matrix,
        cells=cells,
        data_kind="synthetic" if Manifest(matrix.dataset_dir).extra.get("synthetic") else "real",
        scores=scores,
        trainings=trainings,
        evaluations=evaluations,
        results={cell.name: read_json(cell.result, remedy=_REMEDY) for cell in cells},
    )


def _check_complete(cells: Sequence[Cell]) -> None:
    missing = [cell.name for cell in cells if not is_done(cell)]
    if missing:
        named = ", ".join(missing[:_MOST_NAMED])
        more = f" and {len(missing) - _MOST_NAMED} more" if len(missing) > _MOST_NAMED else ""
        raise InputError(
            f"{len(missing)} of {len(cells)} cells are not done: {named}{more}",
            where="results of an experiment",
            remedy="run the experiment to its end; tables are made of complete experiments only",
        )


def _record(cell: Cell, name: str) -> dict[str, Any]:
    file = Path(cell.folder) / "eval" / name
    if not file.is_file():
        raise InputError(f"cell {cell.name} has no {name}", where="results of an experiment", remedy=_REMEDY)
    return dict(read_json(file, remedy=_REMEDY))


def _scores(cell: Cell) -> pd.DataFrame:
    """Return the table of cases of an evaluation with the columns of the cell's row before it."""
    file = Path(cell.folder) / "eval" / "per_case.csv"
    where = "results of an experiment"
    if not file.is_file():
        raise InputError(f"cell {cell.name} has no {file.name}", where=where, remedy=_REMEDY)
    try:
        frame = pd.DataFrame(read_case_rows(file))
    except InputError as error:
        raise InputError(f"cell {cell.name}: {error.what.rstrip('.')}", where=where, remedy=_REMEDY) from error
    if not file.read_bytes().endswith(b"\n"):
        # its last figure may have lost digits
        raise InputError(f"cell {cell.name}: {file} ends within a line", where=where, remedy=_REMEDY)
    if frame.empty:
        raise InputError(f"cell {cell.name} evaluated no case", where="results of an experiment", remedy=_REMEDY)
    row = cell.row
    place = {"target": row.target, "fold": row.fold, "seed": row.seed, "role": row.role}
    what = {"network": row.network, "method": row.method, "teacher": row.teacher, "labelled": row.labelled}
    index = {name: pd.Series([value] * len(frame), dtype=object) for name, value in {**place, **what}.items()}
    if "class" not in frame:
        frame["class"] = ""
    return pd.concat([pd.DataFrame(index), frame], axis=1)
