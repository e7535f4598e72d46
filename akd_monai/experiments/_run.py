# SPDX-License-Identifier: Apache-2.0
"""Run cells on this machine or on a cluster, saying how far they are."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from akd_monai.experiments._cell_process import Devices
from akd_monai.experiments._engine import run_cells
from akd_monai.experiments._plan.cell import Cell
from akd_monai.experiments._plan.places import machine_places
from akd_monai.experiments._progress import Progress
from akd_monai.experiments._steps import say
from akd_monai.experiments._warm import warm_process

__all__ = ["run_waiting"]


def run_waiting(
    cells: Sequence[Cell],
    before: Sequence[Cell],
    folder: Path,
    gpus: Sequence[str],
    jobs: int,
    machine: Mapping[str, Any] | None = None,
) -> dict[str, BaseException]:
    """Run cells that are not done, and return the errors by name.

    Args:
        cells: each after all that it needs.
        before: cells that are done, from which the time of the others is estimated.
        folder: of all of them.
        gpus: the GPUs of each place of this machine.
        jobs: how many run at the same time where no GPUs are given.
        machine: content of a machine file, for a cluster.
    """
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
