# SPDX-License-Identifier: Apache-2.0
"""Run the matrix of an experiment: every cell once, in order, as many at a time as there are places."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from akd_monai.errors import InputError
from akd_monai.experiments._cell_process import Devices
from akd_monai.experiments._engine import run_cells
from akd_monai.experiments._plan.bundles import put_bundle
from akd_monai.experiments._plan.cell import Cell, check_environment, chosen, is_done
from akd_monai.experiments._plan.checked import check_matrix
from akd_monai.experiments._plan.commands import bundle_settings
from akd_monai.experiments._plan.data import check_data
from akd_monai.experiments._plan.expand import expand
from akd_monai.experiments._plan.machine import read_machine
from akd_monai.experiments._plan.matrix import Matrix, read_matrix
from akd_monai.experiments._plan.places import grouped, grouped_machine, machine_places
from akd_monai.experiments._plan.shipped import experiment_file
from akd_monai.experiments._progress import Progress, summary
from akd_monai.experiments._steps import say
from akd_monai.experiments._tracking import tracked
from akd_monai.experiments._warm import warm_process
from akd_monai.files import FolderLock, as_path, read_json, write_json

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
            ``students``, ``methods``, ``controls``, ``settings``, ``teacher_cache`` and ``name``.
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
    """
    matrix, folder = _opened(file, output_dir, dataset_dir)
    gpus, options = _where_to_run(matrix, gpus, jobs, machine)
    cautions = check_data(matrix)
    every = expand(matrix, folder)
    cells = chosen(every, only)
    check_environment(cells)
    with FolderLock(folder, remedy="wait until that experiment ends, or choose another output_dir"):
        waiting = [cell for cell in cells if not is_done(cell)]
        for caution in cautions:
            say(caution)
        say(f"{len(cells) - len(waiting)} of {len(cells)} cells were done before")
        _write_file(matrix, folder, file)
        if waiting:
            _write_bundles(matrix, folder)
            with tracked(waiting, folder, matrix.name, tracking_uri) as told:
                errors = _run(told, [cell for cell in every if is_done(cell)], folder, gpus, jobs, options)
                if errors:
                    say(f"{len(errors)} cells failed, or need one that did; the same command tries them again")
                    sys.exit(1)
        _report(every, folder)
    return folder


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


def _run(
    cells: Sequence[Cell],
    before: Sequence[Cell],
    folder: Path,
    gpus: Sequence[str],
    jobs: int,
    machine: Mapping[str, Any] | None,
) -> dict[str, BaseException]:
    """Run cells here or on a cluster, saying how far they are, and return the errors by name."""
    # one cell imports everything no sooner in a fork
    is_forked = machine is None and len(cells) > 1
    with warm_process(folder, dict(cells[0].environment)) if is_forked else contextlib.nullcontext() as warm:
        devices = Devices(folder, gpus, jobs, warm)
        progress = Progress(cells, devices.count if machine is None else machine_places(machine), before)
        return run_cells(
            cells,
            folder,
            lambda cell, outcome: say(progress.ended(cell, outcome)),
            devices=devices,
            machine=machine,
        )


def _report(cells: Sequence[Cell], folder: Path) -> None:
    """Write the report of an experiment that is complete; else say what is missing."""
    missing = [cell.name for cell in cells if not is_done(cell)]
    if missing:
        names = ", ".join(missing[:_MOST_NAMED]) + (", ..." if len(missing) > _MOST_NAMED else "")
        say(f"No report yet: {len(missing)} of {len(cells)} cells of the experiment are missing ({names})")
        return
    # loads what draws figures
    from akd_monai.experiments._pages import write_study_report

    try:
        say(f"Report: {write_study_report(folder)}")
    except Exception as error:  # whatever goes wrong here, the cells are done
        logger.warning("The report could not be written (%s); the cells are done, and a later call tries again.", error)


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
    matrix, folder = _opened(file, output_dir, dataset_dir)
    _write_bundles(matrix, folder)
    return [cell.line() for cell in chosen(expand(matrix, folder), only)]


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
    matrix, folder = _opened(file, output_dir, dataset_dir)
    cells: list[Cell] = chosen(expand(matrix, folder), only)
    return [(cell.name, is_done(cell)) for cell in cells]


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
    matrix, folder = _opened(file, output_dir, dataset_dir)
    gpus, options = _where_to_run(matrix, gpus, jobs, machine)
    places = (len(gpus) or jobs) if options is None else machine_places(options)
    every = expand(matrix, folder)
    cells = chosen(every, only)
    return summary(every, cells, [cell for cell in cells if not is_done(cell)], places)


def _opened(
    file: str | os.PathLike[str],
    output_dir: str | os.PathLike[str] | None,
    dataset_dir: str | os.PathLike[str] | None = None,
) -> tuple[Matrix, Path]:
    path, beside = experiment_file(file)
    folder = beside if output_dir is None else as_path(output_dir, "output_dir").resolve()
    matrix = read_matrix(path, dataset_dir)
    check_matrix(matrix)
    return matrix, folder


def _write_file(matrix: Matrix, folder: Path, file: str | os.PathLike[str]) -> None:
    """Write the experiment's file beside its results, so that they can be read without the original."""
    content = {**read_json(experiment_file(file)[0]), "name": matrix.name, "dataset_dir": str(matrix.dataset_dir)}
    # a bundle of one's own may be named relative to the file
    for role, networks in (("teachers", matrix.teachers), ("students", matrix.students)):
        content[role] = {one.name: {"bundle": one.bundle, "settings": one.settings} for one in networks}
    write_json(folder / "experiment.json", content)


def _write_bundles(matrix: Matrix, folder: Path) -> None:
    """Write the bundle of every network once, with the settings of the experiment in its configs."""
    for role, networks in (("teacher", matrix.teachers), ("student", matrix.students)):
        for network in networks:
            settings = bundle_settings(matrix, network)
            put_bundle(network.bundle, settings, folder / "bundles" / f"{role}-{network.name}")
