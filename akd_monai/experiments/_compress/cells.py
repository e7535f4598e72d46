# SPDX-License-Identifier: Apache-2.0
"""The cells of a compression: trainings, tests, exports, and one measurement after all of them."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from akd_monai.bundle import recipe_path
from akd_monai.experiments._compress.request import Request
from akd_monai.experiments._compress.students import TEACHER, Student
from akd_monai.experiments._compress.teaching import Teaching
from akd_monai.experiments._plan.cell import Cell, Kind, Row, in_order
from akd_monai.experiments._plan.commands import written_value
from akd_monai.files import sha256_of

__all__ = ["ALONE", "DISTILLED", "MEASURED", "PRETRAINED", "SCORES", "Planned", "bundle_of", "plan_cells", "rows_of"]

ALONE, PRETRAINED, DISTILLED = "alone", "pretrained", "distilled"
SCORES = "scores.json"
MEASURED = "measured.json"
_SCORE = ("-m", "akd_monai.experiments._compress.score", ".")
_MEASURE = ("-m", "akd_monai.experiments._compress.measure")
_DISTILL = ("-m", "akd_monai", "distill", "--teacher=../teacher", "--student=.")
_TRAIN = ("-m", "monai.bundle", "run", "--config_file", "configs/train.json")
_OFF = tuple(f"--lambda_{term}=0" for term in ("logits", "gram", "affinity"))
_MODEL = Path("models", "model.pt")
# file systems take 255 bytes
_LONGEST = 200
_DIGITS = 12


@dataclass(frozen=True)
class Planned:
    """A row of the report, and the cells from which it is made.

    Args:
        network: name of the student, or ``"teacher"``.
        how: ``"alone"``, ``"pretrained"``, ``"distilled"``, or ``"teacher"``.
        bundle: its folder.
        train: its training; ``None`` for the teacher.
        test: its evaluation.
        export: its ONNX file.
    """

    network: str
    how: str
    bundle: Path
    train: Cell | None
    test: Cell
    export: Cell

    @property
    def onnx(self) -> Path:
        """The exported network."""
        return Path(self.export.folder) / "model.onnx"


def rows_of(teaching: Teaching) -> tuple[str, ...]:
    """Return how each student learns: alone, pre-trained where the teacher's sites are at hand, and distilled."""
    return (ALONE, PRETRAINED, DISTILLED) if teaching.sources else (ALONE, DISTILLED)


def bundle_of(folder: Path, teaching: Teaching, student: Student, how: str) -> Path:
    """Return the bundle of a row; without sites each row has its own, for its configs say where a training writes."""
    name = f"student-{student.name}" if teaching.has_sites else f"student-{student.name}-{how}"
    return folder / "bundles" / name


class _Plan:
    def __init__(self, request: Request, teaching: Teaching, folder: Path) -> None:
        self._request = request
        self._teaching = teaching
        self._folder = folder
        # what else a result depends on
        identity = {"teacher_sha256": sha256_of(request.weights), "settings": dict(request.settings)}
        self._settings = json.dumps(identity, sort_keys=True)
        self._recipe = json.dumps({**identity, "recipe_sha256": sha256_of(recipe_path(request.recipe))}, sort_keys=True)
        self._data = (f"--dataset_dir={request.dataset_dir}",)

    def teacher(self) -> Planned:
        bundle = self._folder / "bundles" / TEACHER
        test = self._test(TEACHER, TEACHER, bundle, bundle / _MODEL, ())
        return Planned(
            TEACHER, TEACHER, bundle, None, test, self._export(TEACHER, TEACHER, bundle, bundle / _MODEL, ())
        )

    def student(self, student: Student) -> Iterator[Planned | Cell]:
        started: Cell | None = None
        if self._teaching.sources:
            started = self._train(student, "sources", {"sites": list(self._teaching.sources), "folds": None})
            yield started
        for how in rows_of(self._teaching):
            initial = None if how == ALONE else started
            trained = self._train(student, how, self._teaching.split, initial)
            bundle = Path(trained.start_in)
            weights = self._weights(trained)
            needs = (trained.name,)
            test = self._test(student.name, how, bundle, weights, needs)
            export = self._export(student.name, how, bundle, weights, needs)
            yield Planned(student.name, how, bundle, trained, test, export)

    def measure(self, rows: Sequence[Planned]) -> Cell:
        """Return the cell that measures every network in one process when nothing else is left to run."""
        timed = [row for row in rows if row.how in (TEACHER, ALONE)]
        # a student more, and all of them are measured again, in one run
        name = f"measure/{_joined([row.network for row in timed])}"
        folder = self._folder / "cells" / name
        models = [f"--model={row.network}={os.path.relpath(row.onnx, folder)}" for row in timed]
        volume = [f"--volume={image}" for image in self._teaching.test_images[:1]]
        needs = [cell.name for row in rows for cell in (row.test, row.export)]
        command = (*_MEASURE, f"--output_file={MEASURED}", *models, *volume)
        return self._cell(name, "measure", self._row(TEACHER, "measure"), command, folder, needs)

    def _train(self, student: Student, how: str, split: Mapping[str, Any], initial: Cell | None = None) -> Cell:
        bundle = bundle_of(self._folder, self._teaching, student, how)
        name = f"train/{student.name}/{how}"
        kind: Kind = "distill" if how == DISTILLED else "train"
        flags = [*self._data, *self._places(name, bundle), *_flags(split)]
        if initial is not None:
            flags.append(f"--initial_weights={os.path.relpath(self._weights(initial), bundle)}")
        if kind == "distill":
            command = (*_DISTILL, *self._request.flags, *flags)
        elif self._teaching.has_sites:
            command = (*_TRAIN, *flags)
        else:
            # with every weight at 0 this is the student's own training, wherever its configs keep trainer and run
            command = (*_DISTILL, *self._request.trust, *_OFF, *flags)
        needs = () if initial is None else (initial.name,)
        return self._cell(name, kind, self._row(student.name, how), command, bundle, needs)

    def _places(self, name: str, bundle: Path) -> list[str]:
        if not self._teaching.has_sites:
            return []
        place = os.path.relpath(self._folder / "cells" / name, bundle)
        return [f"--ckpt_dir={place}/models", f"--output_dir={place}/eval", f"--seed={self._request.seed}"]

    def _weights(self, trained: Cell) -> Path:
        return Path(trained.folder if self._teaching.has_sites else trained.start_in) / _MODEL

    def _test(self, network: str, how: str, bundle: Path, weights: Path, needs: Sequence[str]) -> Cell:
        name = f"test/{network}/{how}"
        place = os.path.relpath(self._folder / "cells" / name, bundle)
        own = []
        if self._teaching.has_sites:
            own = [f"--ckpt_path={os.path.relpath(weights, bundle)}", f"--output_dir={place}/eval"]
        command = (*_SCORE, f"{place}/{SCORES}", *self._data, *own, *_flags(self._teaching.split))
        return self._cell(name, "test", self._row(network, how), command, bundle, needs)

    def _export(self, network: str, how: str, bundle: Path, weights: Path, needs: Sequence[str]) -> Cell:
        name = f"export/{network}/{how}"
        file = os.path.relpath(self._folder / "cells" / name / "model.onnx", bundle)
        trust = ["--trust_bundle"] if self._request.trusted else []
        command = (
            "-m",
            "akd_monai",
            "export",
            ".",
            f"--weights={os.path.relpath(weights, bundle)}",
            f"--output_file={file}",
        )
        return self._cell(name, "export", self._row(network, how), (*command, *trust), bundle, needs)

    def _row(self, network: str, how: str) -> Row:
        target = "+".join(self._teaching.split.get("sites", ["own"]))
        return Row(target, self._request.seed, "teacher" if network == TEACHER else "student", network, how)

    def _cell(
        self, name: str, kind: Kind, row: Row, command: Sequence[str], start_in: Path, needs: Sequence[str]
    ) -> Cell:
        folder = self._folder / "cells" / name
        return Cell(
            name=name,
            kind=kind,
            row=row,
            command=tuple(command),
            start_in=str(start_in),
            folder=str(folder),
            result=str(folder / "result.json"),
            needs=tuple(needs),
            settings=self._recipe if row.method == DISTILLED else self._settings,
        )


def _joined(names: Sequence[str]) -> str:
    """Return names in one that a folder may have."""
    joined = "+".join(names)
    if len(joined) <= _LONGEST:
        return joined
    return f"{len(names)}-networks-{hashlib.sha256(joined.encode()).hexdigest()[:_DIGITS]}"


def _flags(values: Mapping[str, Any]) -> list[str]:
    return [f"--{name}={written_value(value)}" for name, value in values.items()]


def plan_cells(
    request: Request, teaching: Teaching, students: Sequence[Student], folder: Path
) -> tuple[list[Planned], list[Cell]]:
    """Return the rows of a compression, and its cells, each after all that it needs, the measurement last."""
    plan = _Plan(request, teaching, folder)
    rows = [plan.teacher()]
    cells: list[Cell] = [rows[0].test, rows[0].export]
    for student in students:
        for entry in plan.student(student):
            if isinstance(entry, Cell):
                cells.append(entry)
                continue
            rows.append(entry)
            trained = [] if entry.train is None else [entry.train]
            cells += [*trained, entry.test, entry.export]
    cells.append(plan.measure(rows))
    return rows, in_order(cells)
