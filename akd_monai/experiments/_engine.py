# SPDX-License-Identifier: Apache-2.0
"""Run cells in the order of what they need: only this module and ``_pilots`` know Parsl.

On one machine Parsl's threads start the cells. With a machine file its pilot jobs do, on Slurm, PBS, Kubernetes and the
like; names and options of that file are Parsl's own.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, wait
from pathlib import Path
from typing import Any

from akd_monai.errors import InputError
from akd_monai.experiments._cell_process import CellError, Devices, run_cell
from akd_monai.experiments._pilots import check_passing, pilots
from akd_monai.experiments._plan.cell import Cell
from akd_monai.experiments._worker import run_on_worker

__all__ = ["run_cells"]

_RETRIES = 20
# seconds: no cell runs any more
_PATIENCE = 60.0

Report = Callable[[Cell, float | BaseException], None]


def run_cells(
    cells: Sequence[Cell], folder: Path, report: Report, *, devices: Devices, machine: Mapping[str, Any] | None = None
) -> dict[str, BaseException]:
    """Run cells that are not done, each after all that it needs, and return the errors by name.

    Args:
        cells: in an order in which each comes after all that it needs; what is needed and not among them is done.
        folder: of the experiment, for Parsl's own files.
        report: called with each cell that has ended, and its seconds or its error, one call at a time.
        devices: places of this machine; with ``machine`` they are not used.
        machine: content of a machine file, see :func:`~akd_monai.experiments._plan.machine.read_machine`.

    Raises:
        KeyboardInterrupt: after Ctrl-C, when every running cell has saved and ended.
        InputError: if the options do not fit Parsl's classes, or what passes cells to pilot jobs is lost.
        UnknownNameError: for a provider that Parsl does not have.
    """
    from parsl import python_app
    from parsl.dataflow.dflow import DataFlowKernel

    # with a machine file its log is in a file below `folder`; a log of every state of every cell is not for the user
    logging.getLogger("parsl").propagate = False
    futures: dict[str, Future[float]] = {}
    pilot = None if machine is None else pilots(machine)
    with DataFlowKernel(_config(folder, devices.count, pilot)) as kernel:
        app = python_app(run_cell if machine is None else run_on_worker, data_flow_kernel=kernel)
        try:
            for cell in cells:
                # Parsl waits for futures in `inputs`, and for those in no other list
                needed = [futures[name] for name in cell.needs if name in futures]
                futures[cell.name] = app(cell, devices if machine is None else str(folder), inputs=needed)
            _follow(cells, futures, report, lambda: check_passing(pilot, kernel))
        except BaseException:
            devices.stop()
            if pilot is None:
                # cells that have not begun end at once; Parsl logs those that end after it, each with its traceback
                wait(list(futures.values()), timeout=_PATIENCE)
            raise
    errors = {name: _error(future) for name, future in futures.items()}
    return {name: error for name, error in errors.items() if error is not None}


def _follow(
    cells: Sequence[Cell], futures: Mapping[str, Future[float]], report: Report, check: Callable[[], None]
) -> None:
    """Report every cell as it ends, and check every second that the others can still end."""
    waiting = {futures[cell.name]: cell for cell in cells}
    while waiting:
        # not for ever at once, so that Ctrl-C is heard
        ended, _ = wait(waiting, timeout=1.0, return_when="FIRST_COMPLETED")
        check()
        for future in ended:
            error = _error(future)
            report(waiting.pop(future), future.result() if error is None else error)


def _error(future: Future[float]) -> BaseException | None:
    """Return why a cell has no result; for one that was never started, that of the cell that it needs."""
    from parsl.dataflow.errors import DependencyError

    error = future.exception()
    if not isinstance(error, DependencyError):
        return error
    return RuntimeError(f"not run, for want of what it needs: {error.__cause__}")


def _config(folder: Path, places: int, pilot: Any) -> Any:
    from parsl.config import Config
    from parsl.executors import ThreadPoolExecutor

    run_dir = str(folder / "parsl")
    if pilot is None:
        threads = ThreadPoolExecutor(max_threads=places)
        return Config(executors=[threads], run_dir=run_dir, strategy="none", initialize_logging=False)
    return Config(
        executors=[pilot],
        run_dir=run_dir,
        retries=_RETRIES,
        retry_handler=_cost,
        # also ends pilot jobs that have had no cell for a while
        strategy="htex_auto_scale",
    )


def _cost(error: Exception, _: Any) -> float:
    """Charge a lost worker one of many retries, and never repeat a command that failed by itself."""
    return _RETRIES + 1.0 if isinstance(error, (CellError, InputError)) else 1.0
