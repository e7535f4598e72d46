# SPDX-License-Identifier: Apache-2.0
"""From the file of an experiment to its cells: protocol × target × fold × teacher × student × method × seed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from akd_monai.experiments._plan.cell import Cell, Row, in_order
from akd_monai.experiments._plan.commands import Commands
from akd_monai.experiments._plan.matrix import Matrix, Network
from akd_monai.experiments._plan.methods import Method

__all__ = ["expand"]

_PARTS = (("train#dataset#data", "training"), ("validate#dataset#data", "validation"))
Role = Literal["teacher", "student"]
Cells = Mapping[str, Cell]


def expand(matrix: Matrix, folder: Path) -> list[Cell]:
    """Return the cells of an experiment in ``folder``, each after all that it needs.

    A teacher is trained once for each target and seed, since no fold of the target changes its data; so is a student
    that is pre-trained on the sources. A teacher of a single site is trained once for each seed and shared by all targets.
    Whatever learns at the target is trained once a fold and number of labelled cases; under ``loso`` there is one fold,
    and nothing learns at the target.
    """
    cells: list[Cell] = []
    alone = _alone(matrix, folder)
    cells += alone.values()
    for target in matrix.targets:
        for seed in matrix.seeds:
            cells += _Group(matrix, folder, target, seed, alone).cells()
    return in_order(cells)


def _alone(matrix: Matrix, folder: Path) -> dict[tuple[str, str, int], Cell]:
    """Return the teachers of single sites, by network, site and seed, if a method has several teachers."""
    if not any(method.teacher == "several" for method in matrix.methods):
        return {}
    make = Commands(matrix, folder)
    found = {}
    for teacher in matrix.teachers:
        for site in matrix.sources:
            if matrix.targets == (site,):
                continue
            for seed in matrix.seeds:
                row = Row(site, seed, "teacher", teacher.name, "alone")
                split: dict[str, Any] = {"sites": [site], "folds": teacher.settings.get("folds")}
                found[teacher.name, site, seed] = make.train(row, teacher, **split)
    return found


@dataclass(frozen=True)
class _Group:
    """All cells of one target and seed."""

    matrix: Matrix
    folder: Path
    target: str
    seed: int
    alone: Mapping[tuple[str, str, int], Cell]

    def cells(self) -> Iterator[Cell]:
        teachers: dict[str, Cell] = {}
        pretrained: dict[str, Cell] = {}
        for teacher in self.matrix.teachers:
            teachers[teacher.name] = self._at_sources("teacher", teacher)
            yield teachers[teacher.name]
            if "teacher_own_sites" in self.matrix.controls:
                yield self._own_sites(teacher, teachers[teacher.name])
        if self.matrix.has_pretrained:
            for student in self.matrix.students:
                pretrained[student.name] = self._at_sources("student", student)
                yield pretrained[student.name]
        for fold in self.matrix.run_folds:
            for labelled in self.matrix.labelled_cases:
                yield from _Fold(self, fold, labelled, teachers, pretrained).cells()

    @property
    def make(self) -> Commands:
        return Commands(self.matrix, self.folder)

    @property
    def sources(self) -> list[str]:
        return [site for site in self.matrix.sources if site != self.target]

    def row(
        self,
        role: Role,
        network: Network,
        method: str,
        fold: int | None = None,
        teacher: str | None = None,
        labelled: int | None = None,
    ) -> Row:
        return Row(self.target, self.seed, role, network.name, method, teacher, fold, labelled)

    def _at_sources(self, role: Role, network: Network) -> Cell:
        split = self._own_split(network) if role == "teacher" else self.without_test
        return self.make.train(self.row(role, network, "sources"), network, **split)

    @property
    def without_test(self) -> dict[str, Any]:
        """Return the sources, whose cases are for training and validation alone."""
        return {"sites": self.sources, "folds": None}

    def _own_split(self, teacher: Network) -> dict[str, Any]:
        """Return the sources as their teacher has them: with test cases if the experiment gives it folds."""
        return {**self.without_test, "folds": teacher.settings.get("folds")}

    def _own_sites(self, teacher: Network, trained: Cell) -> Cell:
        split = self._own_split(teacher)
        part = "validation" if split["folds"] is None else "test"
        row = self.row("teacher", teacher, "teacher_own_sites")
        return self.make.test(row, trained, teacher, **split, part=part)


@dataclass(frozen=True)
class _Fold:
    """The cells of one fold and number of labelled cases in a group."""

    group: _Group
    fold: int
    labelled: int | None
    teachers: Cells
    pretrained: Cells

    def cells(self) -> Iterator[Cell]:
        adapted: dict[str, Cell] = {}
        for teacher in self._matrix.teachers:
            yield from self._teacher(teacher)
            if self._matrix.has_adapted(self.labelled):
                adapted[teacher.name] = self._adapted(teacher)
                yield adapted[teacher.name]
                if "teacher_adapted" in self._matrix.controls:
                    yield self._test(adapted[teacher.name], teacher)
        for student in self._matrix.students:
            trained = [*self._controls(student), *self._baselines(student), *self._distilled(student, adapted)]
            for cell in trained:
                yield from (cell, self._test(cell, student))

    @property
    def _matrix(self) -> Matrix:
        return self.group.matrix

    @property
    def _learning(self) -> dict[str, Any]:
        """Return where and from what the students learn."""
        if self._matrix.protocol == "loso":
            return self.group.without_test
        place = {"sites": [self.group.target], "folds": self._matrix.folds, "fold": self.fold}
        return place if self.labelled is None else {**place, "labelled_cases": self.labelled}

    @property
    def _tested(self) -> dict[str, Any]:
        """Return where everything is tested."""
        if self._matrix.protocol == "loso":
            return {"sites": [self.group.target], "folds": None, "part": "all"}
        return {"sites": [self.group.target], "folds": self._matrix.folds, "fold": self.fold}

    def _row(self, role: Role, network: Network, method: str, teacher: str | None = None) -> Row:
        return self.group.row(role, network, method, self.fold, teacher, self.labelled)

    def _test(self, trained: Cell, network: Network) -> Cell:
        return self.group.make.test(trained.row, trained, network, **self._tested)

    def _teacher(self, teacher: Network) -> Iterator[Cell]:
        make = self.group.make
        is_first = self.labelled == self._matrix.labelled_cases[0]
        if "teacher_zero_shot" in self._matrix.controls and is_first:
            row = self.group.row("teacher", teacher, "teacher_zero_shot", self.fold)
            yield make.test(row, self.teachers[teacher.name], teacher, **self._tested)
        if "teacher_at_target" in self._matrix.controls:
            cell = make.train(self._row("teacher", teacher, "teacher_at_target"), teacher, **self._learning)
            yield from (cell, self._test(cell, teacher))

    def _adapted(self, teacher: Network) -> Cell:
        row = self._row("teacher", teacher, "teacher_adapted")
        return self.group.make.train(row, teacher, initial=self.teachers[teacher.name], **self._learning)

    def _controls(self, student: Network) -> Iterator[Cell]:
        make = self.group.make
        yield make.train(self._row("student", student, "without"), student, **self._learning)
        if "pretrained" in self._matrix.controls:
            row = self._row("student", student, "pretrained")
            yield make.train(row, student, initial=self.pretrained[student.name], **self._learning)
        if "joint" in self._matrix.controls:
            values = {**self._learning, **self._joint_data()}
            yield make.train(self._row("student", student, "joint"), student, **values)

    def _baselines(self, student: Network) -> Iterator[Cell]:
        for method in self._matrix.methods:
            if not method.is_distilled:
                row = self._row("student", student, method.name)
                yield self.group.make.train(row, student, method=method, **self._learning)

    def _distilled(self, student: Network, adapted: Cells) -> Iterator[Cell]:
        for teacher in self._matrix.teachers:
            for method in self._matrix.methods:
                if not method.is_distilled or not method.is_run(self.labelled):
                    continue
                row = self._row("student", student, method.name, teacher.name)
                initial = self.pretrained[student.name] if method.initial == "sources" else None
                teaching = self._teaching(method, teacher, adapted)
                yield self.group.make.distill(row, student, teaching, method, initial=initial, **self._learning)

    def _teaching(self, method: Method, teacher: Network, adapted: Cells) -> list[Cell]:
        if method.teacher == "several":
            return [self.group.alone[teacher.name, site, self.group.seed] for site in self.group.sources]
        return [(adapted if method.teacher == "adapted" else self.teachers)[teacher.name]]

    def _joint_data(self) -> dict[str, str]:
        """Return the cases of the sources, split as for a teacher, and those of the target, split in folds."""
        here = "sites=@sites, seed=@split_seed, fold=@fold, folds=@folds"
        there = f"sites={self.group.sources!r}, seed=@split_seed, folds=None"
        data = {}
        for name, part in _PARTS:
            # all cases have labels for validation
            few = ", labelled_cases=@labelled_cases" if part == "training" and self.labelled is not None else ""
            lists = (f"akd_monai.data.datalist(@dataset_dir, '{part}', {given})" for given in (there, here + few))
            data[name] = f"${' + '.join(lists)}"
        return data
