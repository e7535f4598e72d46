# SPDX-License-Identifier: Apache-2.0
"""From a large bundle to the light tool: students trained, tested, exported and measured, with a report."""

from __future__ import annotations

import os
import shlex
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from akd_monai.bundle import load_network, weights_path
from akd_monai.deploy._from_bundle import recipe_of_bundle
from akd_monai.errors import InputError
from akd_monai.experiments._compress.cells import Planned, bundle_of, plan_cells, rows_of
from akd_monai.experiments._compress.found import read_found
from akd_monai.experiments._compress.page import write_page
from akd_monai.experiments._compress.request import DEFAULT_RECIPE, Request, check_request
from akd_monai.experiments._compress.students import TEACHER, Student, named_students, put_students, put_teacher
from akd_monai.experiments._compress.teaching import Teaching, read_teaching
from akd_monai.experiments._compress.words import chosen_row, exchange_sentence
from akd_monai.experiments._plan.cell import Cell, check_environment, is_done
from akd_monai.experiments._plan.places import check_present
from akd_monai.experiments._run import run_waiting
from akd_monai.experiments._steps import say
from akd_monai.files import FolderLock, as_path
from akd_monai.networks.nets._width import LEAST_WIDTH, MOST_WIDTH

__all__ = ["Compressed", "CompressionPlan", "compress_bundle"]


@dataclass(frozen=True)
class Compressed:
    """What :func:`compress_bundle` has made; ``str`` of it is ready to be shown.

    Attributes:
        report: the page.
        model: the exported network of the recommended student.
        sentence: what is lost and gained.
    """

    report: Path
    model: Path
    sentence: str

    def __str__(self) -> str:
        return f"{self.sentence}\nLight tool: {self.model}\nReport: {self.report}"


@dataclass(frozen=True)
class CompressionPlan:
    """What :func:`compress_bundle` would do; ``str`` of it is ready to be shown.

    Attributes:
        cells: name of each cell, in order, and whether it is done.
    """

    cells: tuple[tuple[str, bool], ...]

    def __str__(self) -> str:
        return "\n".join(f"{'done' if done else 'to do':6}{name}" for name, done in self.cells)


def compress_bundle(
    teacher: str | os.PathLike[str],
    dataset_dir: str | os.PathLike[str],
    *,
    students: Sequence[str] = (),
    recipe: str | None = None,
    widths: float | Sequence[float] = 1.0,
    output_dir: str | os.PathLike[str] = "compressed",
    teacher_weights: str | os.PathLike[str] | None = None,
    sites: Sequence[str] = (),
    folds: int | None = None,
    fold: int | None = None,
    seed: int = 0,
    jobs: int = 1,
    gpus: Sequence[str] = (),
    allow: Sequence[str] = (),
    trust_bundle: bool = False,
    dry_run: bool = False,
    **settings: Any,
) -> Compressed | CompressionPlan:
    """Make light students of a large bundle: trained, tested on held-out cases, exported, measured, with a report.

    Each student is trained alone, pre-trained where the data hold the teacher's sites as well, and distilled by a recipe;
    a distilled student starts as the pre-trained one does, which is its control. All of them and the teacher are evaluated
    on the same held-out cases, exported with the proof of :func:`~akd_monai.deploy.export_bundle`, and timed in one process
    after everything else has ended. The same call again after a kill runs what is not done.

    Students learn at the sites of which the teacher has seen nothing, by its ``eval/training.json``; where there are none,
    at its own, with its split. Bundles of others, in 2D or 3D, keep their own data handling: students are written by
    :func:`~akd_monai.bundle.new_bundle` with ``like``, and learn alone and by distillation; ``sites``, ``folds``, ``fold``
    and ``seed`` would have no effect and are refused there.

    Args:
        teacher: folder of the large bundle, with weights.
        dataset_dir: the data, in the form that the teacher's configs expect.
        students: enet, espnet, erfnet; for volumes UNet, BasicUNet, SegResNet, AttentionUnet; or folders of bundles. By
            default the first three of what fits.
        recipe: how students are distilled, ``careful`` by default; the verb recipes lists them.
        widths: width multipliers, each of which makes a student of every network.
        output_dir: where everything is written.
        teacher_weights: another file than the teacher's ``models/model.pt``.
        sites: where students learn and are tested.
        folds: into how many parts the cases of a site are split, one of which is held out; the teacher's at its own
            sites, else 4.
        fold: the part that is held out; the teacher's at its own sites, else 0.
        seed: of the trainings.
        jobs: how many cells run at the same time.
        gpus: names for ``CUDA_VISIBLE_DEVICES``, each of which takes one cell at a time.
        allow: ``seen``, to test on cases that the teacher has learned from.
        trust_bundle: run Python code of the teacher's bundle; only for bundles whose author you trust.
        dry_run: only name the cells and say which are done; nothing is written.
        settings: config ids that are changed in every student, such as ``epochs``.

    Raises:
        InputError: for a mistake in bundle, data or arguments; for a teacher without weights, one that cannot be exported,
            and for test cases that it has learned from.
        UnknownNameError: for a student, recipe, site or id that does not exist.
        KeyboardInterrupt: after Ctrl-C, when every running cell has saved.
        SystemExit: with code 1, when a cell has failed.

    Example:
        >>> compress_bundle("no/such/bundle", "data")
        Traceback (most recent call last):
        ...
        akd_monai.errors.InputError: bundle folder 'no/such/bundle' does not exist; give the folder ...
    """
    root = as_path(teacher, "teacher")
    request = Request(
        teacher=root,
        weights=weights_path(root) if teacher_weights is None else as_path(teacher_weights, "teacher_weights"),
        dataset_dir=as_path(dataset_dir, "dataset_dir").resolve(),
        students=tuple(students),
        widths=tuple(widths) if isinstance(widths, (list, tuple)) else (widths,),  # type: ignore[arg-type]
        recipe=DEFAULT_RECIPE if recipe is None else recipe,
        sites=tuple(sites) or None,
        folds=folds,
        fold=fold,
        seed=seed,
        trusted=trust_bundle,
        allow=tuple(allow),
        settings=settings,
    )
    _check(request, jobs)
    check_present(gpus)
    folder = as_path(output_dir, "output_dir").resolve()
    _check_place(folder, request)
    teaching = read_teaching(request)
    check_request(request, has_sources=bool(teaching.sources))
    for caution in teaching.cautions:
        say(caution)
    if dry_run:
        with tempfile.TemporaryDirectory() as place:
            named = _written_students(request, teaching, Path(place))
        _, cells = plan_cells(request, teaching, named, folder)
        return CompressionPlan(tuple((cell.name, is_done(cell)) for cell in cells))
    with FolderLock(folder, remedy="wait until that compression ends, or choose another output_dir"):
        rows, cells = _planned(request, teaching, folder)
        _run(cells, folder, gpus, jobs)
        found = read_found(rows, cells[-1], trusted=trust_bundle)
        page = write_page(found, request, teaching, folder, _command(request, folder))
    return Compressed(page, chosen_row(found).onnx, exchange_sentence(found))


def _command(request: Request, folder: Path) -> str:
    if sys.argv[1:2] == ["compress"]:
        return f"python -m akd_monai {shlex.join(sys.argv[1:])}"
    # the arguments of this process are those of a notebook or a script
    return f"compress_bundle({str(request.teacher)!r}, {str(request.dataset_dir)!r}, output_dir={str(folder)!r}, ...)"


def _check(request: Request, jobs: int) -> None:
    """Refuse what would end a cell later: a teacher that cannot be loaded or exported, and wrong numbers."""
    if isinstance(jobs, bool) or not isinstance(jobs, int) or jobs < 1:
        raise InputError(f"jobs must be an integer of at least 1, got {jobs!r}.")
    for width in request.widths:
        is_number = isinstance(width, (int, float)) and not isinstance(width, bool)
        if not is_number or not LEAST_WIDTH <= width <= MOST_WIDTH:
            raise InputError(f"widths must be numbers from {LEAST_WIDTH} to {MOST_WIDTH:.0f}, got {width!r}.")
    if not request.widths:
        raise InputError("widths is empty; leave it out, or give at least one.")
    recipe_of_bundle(request.teacher)
    load_network(request.teacher, weights=request.weights, trust_bundle=request.trusted)


def _check_place(folder: Path, request: Request) -> None:
    """Refuse to write into the teacher's bundle, or all over the data."""
    taken = "teacher" if folder.is_relative_to(request.teacher.resolve()) else ""
    if folder == request.dataset_dir:
        taken = "dataset_dir"
    if taken:
        what = f"output_dir {str(folder)!r} lies in the folder of {taken}, to which nothing is written"
        raise InputError(what, remedy="choose a folder of its own")


def _planned(request: Request, teaching: Teaching, folder: Path) -> tuple[list[Planned], list[Cell]]:
    """Write the bundles, and return rows and cells."""
    put_teacher(request, teaching, folder / "bundles" / TEACHER)
    students = _written_students(request, teaching, folder)
    rows, cells = plan_cells(request, teaching, students, folder)
    check_environment(cells)
    return rows, cells


def _written_students(request: Request, teaching: Teaching, folder: Path) -> list[Student]:
    """Write the bundles of all students, which checks their settings."""
    students = named_students(request, teaching)
    for student in students:
        for bundle in dict.fromkeys(bundle_of(folder, teaching, student, how) for how in rows_of(teaching)):
            put_students(request, teaching, student, bundle)
    return students


def _run(cells: Sequence[Cell], folder: Path, gpus: Sequence[str], jobs: int) -> None:
    done = [cell for cell in cells if is_done(cell)]
    waiting = [cell for cell in cells if not is_done(cell)]
    say(f"{len(done)} of {len(cells)} cells were done before")
    if not waiting:
        return
    failed = run_waiting(waiting, done, folder, list(gpus), jobs)
    if failed:
        say(f"{len(failed)} cells failed, or need one that did; the same command tries them again")
        sys.exit(1)
