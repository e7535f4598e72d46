# SPDX-License-Identifier: Apache-2.0
"""Run the matrix of an experiment: every cell once, in order, as many at a time as there are places."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from akd_monai.errors import InputError
from akd_monai.experiments._plan.cell import Cell, check_environment, is_done
from akd_monai.experiments._plan.data import check_data
from akd_monai.experiments._plan.expand import expand
from akd_monai.experiments._plan.machine import read_machine
from akd_monai.experiments._plan.matrix import Matrix
from akd_monai.experiments._plan.parts import Opened, Part, cells_of, open_experiment
from akd_monai.experiments._plan.places import check_present, grouped, grouped_machine, machine_places
from akd_monai.experiments._plan.written import write_bundles, write_experiment, write_parts
from akd_monai.experiments._progress import summary
from akd_monai.experiments._run import run_waiting
from akd_monai.experiments._shared import take_over
from akd_monai.experiments._steps import say
from akd_monai.experiments._tracking import tracked
from akd_monai.files import FolderLock

__all__ = ["experiment_cells", "experiment_estimate", "experiment_table", "run_experiment"]

logger = logging.getLogger(__name__)

_MOST_NAMED = 3


def run_experiment(
    file: str | os.PathLike[str],
    output_dir: str | os.PathLike[str] | None = None,
    *,
    dataset_dir: str | os.PathLike[str] | None = None,
    only: Sequence[str] = (),
    gpus: Sequence[str] = (),
    jobs: int = 1,
    machine: str | os.PathLike[str] | None = None,
    tracking_uri: str | None = None,
) -> Path:
    """Run the cells of an experiment that are not done, and return its folder.

    A cell is a command with a folder of its own. A teacher, and a control that others start from, is one cell that all
    of them share. The same call again after Ctrl-C, a kill or an error runs what is not done; trainings resume from
    their checkpoints.

    Args:
        file: name of an experiment of the package, or the path of one's own: JSON with the keys ``protocol``,
            ``dataset_dir``, ``sites``, ``sources``, ``targets``, ``folds``, ``run_folds``, ``seeds``, ``teachers``,
            ``students``, ``methods``, ``controls``, ``settings``, ``labelled_cases``, ``teacher_cache``,
            ``gpus_per_cell`` and ``name``; or with ``parts``, a list of such files, each of which has a folder of its own.
        output_dir: where everything is written; by default a folder called as the file, beside it, or in the current
            folder for an experiment of the package.
        dataset_dir: prepared data, in place of those that the file names.
        only: patterns of cell names, such as ``"*/HK/*"``; what these cells need is run as well.
        gpus: names for ``CUDA_VISIBLE_DEVICES``, each of which takes one cell at a time; ``"0,1"`` in one name gives a
            cell both.
        jobs: how many cells run at the same time where no GPUs are given.
        machine: JSON with a provider of Parsl and its options, for a cluster.
        tracking_uri: SQLite or server URI of MLflow, where each cell has a run, nested in one of the experiment; by
            default nothing is tracked.

    Raises:
        InputError: for a mistake in the file, the data or the arguments, or if the folder is in use or holds cells of
            another experiment.
        UnknownNameError: for a name in the file, or a pattern, that does not exist.
        KeyboardInterrupt: after Ctrl-C, when every running cell has saved.
        SystemExit: with code 1, when a cell has failed.
        Exception: whatever kept the report from being written, when every cell is done.
    """
    opened = open_experiment(file, output_dir, dataset_dir)
    # a mistake is said before anything is written, whichever part has it
    chosen_cells = cells_of(opened.parts, only)
    cautions = []
    for part, cells in zip(opened.parts, chosen_cells, strict=True):
        _where_to_run(part.matrix, gpus, jobs, machine)
        cautions += check_data(part.matrix)
        check_environment(cells)
    check_present(gpus)
    failed = 0
    unwritten: list[Exception | None] = []
    before: list[Cell] = []
    for caution in dict.fromkeys(cautions):
        say(caution)
    for part, cells in zip(opened.parts, chosen_cells, strict=True):
        every = expand(part.matrix, part.folder)
        with FolderLock(part.folder, remedy="wait until that experiment ends, or choose another output_dir"):
            errors = _run_part(part, cells, before, gpus, jobs, machine, tracking_uri)
            if not errors:
                unwritten.append(_report(every, part.folder))
        failed += errors
        before += every
    if failed:
        say(f"{failed} cells failed, or need one that did; the same command tries them again")
        sys.exit(1)
    if opened.has_parts:
        unwritten.append(_report_parts(opened))
    _check_reports(unwritten)
    return opened.folder


def _run_part(
    part: Part,
    cells: Sequence[Cell],
    before: Sequence[Cell],
    gpus: Sequence[str],
    jobs: int,
    machine: str | os.PathLike[str] | None,
    tracking_uri: str | None,
) -> int:
    """Run the cells of an experiment, or of one of its parts, that are not done, and return how many failed."""
    places, options = _where_to_run(part.matrix, gpus, jobs, machine)
    if before and any(not is_done(cell) for cell in cells):
        write_bundles(part.matrix, part.folder)
        take_over(cells, before)
    waiting = [cell for cell in cells if not is_done(cell)]
    named = f" of {part.file.stem}" if part.prefix else ""
    say(f"{len(cells) - len(waiting)} of {len(cells)} cells{named} were done before")
    write_experiment(part)
    if not waiting:
        return 0
    write_bundles(part.matrix, part.folder)
    done = [cell for cell in expand(part.matrix, part.folder) if is_done(cell)]
    with tracked(waiting, part.folder, part.matrix.name, tracking_uri, part.matrix.protocol) as told:
        return len(run_waiting(told, done, part.folder, places, jobs, options))


def _where_to_run(
    matrix: Matrix, gpus: Sequence[str], jobs: int, machine: str | os.PathLike[str] | None
) -> tuple[list[str], dict[str, Any] | None]:
    """Return the GPUs of each place of this machine, and the content of the machine file."""
    if isinstance(jobs, bool) or not isinstance(jobs, int) or jobs < 1:
        raise InputError(f"jobs must be an integer of at least 1, got {jobs!r}.")
    if machine is not None and gpus:
        raise InputError("gpus are of this machine and cannot be given with a machine file; name them in that file.")
    options = None if machine is None else grouped_machine(read_machine(machine), matrix.gpus_per_cell)
    return grouped(gpus, matrix.gpus_per_cell), options


def _report(cells: Sequence[Cell], folder: Path) -> Exception | None:
    """Write the report of an experiment that is complete, else say what is missing; return why it was not written."""
    missing = [cell.name for cell in cells if not is_done(cell)]
    if missing:
        names = ", ".join(missing[:_MOST_NAMED]) + (", ..." if len(missing) > _MOST_NAMED else "")
        say(f"No report yet: {len(missing)} of {len(cells)} cells of the experiment are missing ({names})")
        return None
    # loads what draws figures
    from akd_monai.experiments._pages import write_study_report

    return _say_report(write_study_report, folder)


def _say_report(write: Callable[[Path], Path], folder: Path) -> Exception | None:
    """Write a report and say where it is; return why there is none, since the cells are done all the same."""
    try:
        page = write(folder)
    except Exception as error:  # whatever goes wrong here is said when all parts have been run
        logger.warning("The report could not be written (%s); the cells are done, and a later call tries again.", error)
        return error
    say(f"Report: {page}")
    return None


def _check_reports(unwritten: Sequence[Exception | None]) -> None:
    """End with the reason why a report was not written: tables that would be wrong, or an error of the program."""
    errors = [error for error in unwritten if error is not None]
    if errors:
        refused = [error for error in errors if isinstance(error, InputError)]
        raise (refused or errors)[0]


def _report_parts(opened: Opened) -> Exception | None:
    """Write the report of an experiment of parts once each of them has its own."""
    write_parts(opened)
    if all((part.folder / "report" / "index.html").is_file() for part in opened.parts):
        from akd_monai.experiments._pages import write_parts_report

        return _say_report(write_parts_report, opened.folder)
    return None


def experiment_cells(
    file: str | os.PathLike[str],
    output_dir: str | os.PathLike[str] | None = None,
    *,
    dataset_dir: str | os.PathLike[str] | None = None,
    only: Sequence[str] = (),
) -> list[str]:
    """Return the commands of an experiment, one a line, each after all that it needs, for another engine or a job array.

    Args:
        file: as for :func:`run_experiment`.
        output_dir: likewise.
        dataset_dir: likewise.
        only: likewise.

    Raises:
        InputError: for a mistake in the file.
        UnknownNameError: for a name in it, or a pattern, that does not exist.
    """
    parts = open_experiment(file, output_dir, dataset_dir).parts
    chosen_cells = cells_of(parts, only)
    for part in parts:
        # other settings would change the bundles in which cells of this folder run
        for cell in expand(part.matrix, part.folder):
            is_done(cell)
        write_bundles(part.matrix, part.folder)
    return [cell.line() for cells in chosen_cells for cell in cells]


def experiment_table(
    file: str | os.PathLike[str],
    output_dir: str | os.PathLike[str] | None = None,
    *,
    dataset_dir: str | os.PathLike[str] | None = None,
    only: Sequence[str] = (),
) -> list[tuple[str, bool]]:
    """Return the name of every cell of an experiment and whether it is done; nothing is written.

    Args:
        file: as for :func:`run_experiment`.
        output_dir: likewise.
        dataset_dir: likewise.
        only: likewise.

    Raises:
        InputError: for a mistake in the file, or a cell of another experiment in the folder.
        UnknownNameError: for a name in the file, or a pattern, that does not exist.
    """
    parts = open_experiment(file, output_dir, dataset_dir).parts
    table = []
    for part, cells in zip(parts, cells_of(parts, only), strict=True):
        table += [(f"{part.prefix}{cell.name}", is_done(cell)) for cell in cells]
    return table


def experiment_estimate(
    file: str | os.PathLike[str],
    output_dir: str | os.PathLike[str] | None = None,
    *,
    dataset_dir: str | os.PathLike[str] | None = None,
    only: Sequence[str] = (),
    gpus: Sequence[str] = (),
    jobs: int = 1,
    machine: str | os.PathLike[str] | None = None,
) -> str:
    """Say how many cells of an experiment are done, and what the others take by their measure: time, memory and disk.

    A cell is expected to take the mean of the cells of its kind and network that are done, or of its kind; the memory is
    that of the largest cells at the same time.

    Args:
        file: as for :func:`run_experiment`.
        output_dir: likewise.
        dataset_dir: likewise.
        only: likewise.
        gpus: likewise.
        jobs: likewise.
        machine: likewise; all jobs that it allows are expected to run.

    Raises:
        InputError: for a mistake in the file or the arguments, or a cell of another experiment in the folder.
        UnknownNameError: for a name in the file, or a pattern, that does not exist.
    """
    parts = open_experiment(file, output_dir, dataset_dir).parts
    lines = []
    for part, cells in zip(parts, cells_of(parts, only), strict=True):
        groups, options = _where_to_run(part.matrix, gpus, jobs, machine)
        places = (len(groups) or jobs) if options is None else machine_places(options)
        left = [cell for cell in cells if not is_done(cell)]
        named = f"{part.file.stem}: " if part.prefix else ""
        lines.append(named + summary(expand(part.matrix, part.folder), cells, left, places))
    return "\n".join(lines)
