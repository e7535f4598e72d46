# SPDX-License-Identifier: Apache-2.0
"""From the file of an experiment to its cells: protocol × target × fold × teacher × student × method × seed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from akd_monai.experiments._plan.cell import Cell, Row, in_order
from akd_monai.experiments._plan.commands import Commands
from akd_monai.experiments._plan.matrix import Matrix, Network

__all__ = ["expand"]

_PARTS = (("train#dataset#data", "training"), ("validate#dataset#data", "validation"))


def expand(matrix: Matrix, folder: Path) -> list[Cell]:
    """Return the cells of an experiment in ``folder``, each after all that it needs.

    A teacher is trained once for each target and seed, since no fold of the target changes its data; so is a student
    that is pre-trained on the sources. Whatever learns at the target is trained once a fold; under ``loso`` there is
    one fold, and nothing learns at the target.
    """
    cells: list[Cell] = []
    for target in matrix.targets:
        for seed in matrix.seeds:
            cells += _Group(matrix, folder, target, seed).cells()
    return in_order(cells)


@dataclass(frozen=True)
class _Group:
    """All cells of one target and seed."""

    matrix: Matrix
    folder: Path
    target: str
    seed: int

    def cells(self) -> Iterator[Cell]:
        teachers: dict[str, Cell] = {}
        pretrained: dict[str, Cell] = {}
        for teacher in self.matrix.teachers:
            teachers[teacher.name] = self._at_sources("teacher", teacher)
            yield teachers[teacher.name]
            if "teacher_own_sites" in self.matrix.controls:
                yield self._own_sites(teacher, teachers[teacher.name])
        if "pretrained" in self.matrix.controls:
            for student in self.matrix.students:
                pretrained[student.name] = self._at_sources("student", student)
                yield pretrained[student.name]
        for fold in self.matrix.run_folds:
            yield from self._teachers_in_fold(fold, teachers)
            for student in self.matrix.students:
                yield from self._students_in_fold(fold, student, teachers, pretrained)

    @property
    def _make(self) -> Commands:
        return Commands(self.matrix, self.folder)

    @property
    def _sources(self) -> list[str]:
        return [site for site in self.matrix.sources if site != self.target]

    def _row(
        self,
        role: Literal["teacher", "student"],
        network: Network,
        method: str,
        fold: int | None = None,
        teacher: str | None = None,
    ) -> Row:
        return Row(self.target, self.seed, role, network.name, method, teacher, fold)

    def _at_sources(self, role: Literal["teacher", "student"], network: Network) -> Cell:
        split = self._own_split(network) if role == "teacher" else self._without_test
        return self._make.train(self._row(role, network, "sources"), network, **split)

    @property
    def _without_test(self) -> dict[str, Any]:
        """Return the sources, whose cases are for training and validation alone."""
        return {"sites": self._sources, "folds": None}

    def _own_split(self, teacher: Network) -> dict[str, Any]:
        """Return the sources as their teacher has them: with test cases if the experiment gives it folds."""
        return {**self._without_test, "folds": teacher.settings.get("folds")}

    def _own_sites(self, teacher: Network, trained: Cell) -> Cell:
        split = self._own_split(teacher)
        part = "validation" if split["folds"] is None else "test"
        row = self._row("teacher", teacher, "teacher_own_sites")
        return self._make.test(row, trained, teacher, **split, part=part)

    def _learning(self, fold: int) -> dict[str, Any]:
        """Return where the students learn."""
        if self.matrix.protocol == "loso":
            return self._without_test
        return {"sites": [self.target], "folds": self.matrix.folds, "fold": fold}

    def _tested(self, fold: int) -> dict[str, Any]:
        """Return where everything is tested."""
        if self.matrix.protocol == "loso":
            return {"sites": [self.target], "folds": None, "part": "all"}
        return self._learning(fold)

    def _teachers_in_fold(self, fold: int, trained: dict[str, Cell]) -> Iterator[Cell]:
        for teacher in self.matrix.teachers:
            if "teacher_zero_shot" in self.matrix.controls:
                row = self._row("teacher", teacher, "teacher_zero_shot", fold)
                yield self._make.test(row, trained[teacher.name], teacher, **self._tested(fold))
            if "teacher_at_target" in self.matrix.controls:
                row = self._row("teacher", teacher, "teacher_at_target", fold)
                cell = self._make.train(row, teacher, **self._learning(fold))
                yield from (cell, self._make.test(row, cell, teacher, **self._tested(fold)))

    def _students_in_fold(
        self, fold: int, student: Network, teachers: dict[str, Cell], pretrained: dict[str, Cell]
    ) -> Iterator[Cell]:
        learning = self._learning(fold)
        trained = [self._make.train(self._row("student", student, "without", fold), student, **learning)]
        if student.name in pretrained:
            row = self._row("student", student, "pretrained", fold)
            trained.append(self._make.train(row, student, initial=pretrained[student.name], **learning))
        if "joint" in self.matrix.controls:
            values = {**learning, **self._joint_data()}
            trained.append(self._make.train(self._row("student", student, "joint", fold), student, **values))
        for teacher in self.matrix.teachers:
            for method in self.matrix.methods:
                row = self._row("student", student, method.name, fold, teacher.name)
                teaching = teachers[teacher.name]
                trained.append(self._make.distill(row, student, teacher, teaching, method, **learning))
        for cell in trained:
            yield from (cell, self._make.test(cell.row, cell, student, **self._tested(fold)))

    def _joint_data(self) -> dict[str, str]:
        """Return the cases of the sources, split as for a teacher, and those of the target, split in folds."""
        here = "sites=@sites, seed=@split_seed, fold=@fold, folds=@folds"
        there = f"sites={self._sources!r}, seed=@split_seed, folds=None"
        data = {}
        for name, part in _PARTS:
            lists = (f"akd_monai.data.datalist(@dataset_dir, '{part}', {given})" for given in (there, here))
            data[name] = f"${' + '.join(lists)}"
        return data
