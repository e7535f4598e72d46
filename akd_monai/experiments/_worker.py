# SPDX-License-Identifier: Apache-2.0
"""Run a cell on the worker of a pilot job: at the devices that the job was granted, and saved when the job ends.

Workers on other machines import this module, so it knows neither Parsl nor MONAI.
"""

from __future__ import annotations

import functools
import os
import signal
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from akd_monai.errors import InputError
from akd_monai.experiments._cell_process import CellError, Devices, StoppedError, run_cell
from akd_monai.experiments._plan.cell import Cell

__all__ = ["devices_of", "run_on_worker"]

_VISIBLE = "CUDA_VISIBLE_DEVICES"
# how a command ends that was asked to end: as a program that saves first, or at once
_ASKED_TO_END = (128 + signal.SIGTERM, -signal.SIGTERM)


def run_on_worker(cell: Cell, folder: str, inputs: Sequence[Any] = ()) -> float:
    """Run a cell unless it is done, and return the seconds that it took.

    Args:
        cell: what to run.
        folder: of the experiment.
        inputs: what must be done before; the engine waits for it.

    Raises:
        CellError: if the command fails.
        StoppedError: if the job ends before the cell is done.
        InputError: if the folder of the cell belongs to another command, or the job was granted fewer devices than the
            machine file says.
    """
    try:
        # a pilot job of an earlier, killed run may be at this cell, and ends it or is ended
        return run_cell(cell, _place(folder), patience=float("inf"))
    except CellError as error:
        if error.code in _ASKED_TO_END:
            raise StoppedError(f"{cell.name} was asked to end") from error
        raise


def devices_of(pinned: str, granted: str) -> str:
    """Return the devices of a worker.

    A scheduler that does not hide the other devices of a node says which ones a job may use. The engine numbers the
    workers of every job from 0, as if each job had a node of its own; two jobs on one node would share device 0.

    Args:
        pinned: numbers of the worker's devices among those of its job, such as ``"0"`` or ``"0,1"``.
        granted: the devices that the scheduler has given to the job; empty where it gives none by name.

    Raises:
        InputError: if the job has fewer devices.

    Example:
        >>> devices_of("0", "3"), devices_of("0,1", "2,3"), devices_of("1", "")
        ('3', '2,3', '1')
    """
    names = [name for name in granted.split(",") if name]
    if not names or pinned == granted:
        return pinned
    return ",".join(_named(one, names) for one in pinned.split(","))


def _named(one: str, names: Sequence[str]) -> str:
    if not one.isdecimal():
        return one
    if int(one) >= len(names):
        raise InputError(
            f"available_accelerators asks for device {one} of a job that has {len(names)} ({','.join(names)})",
            where="machine file",
            remedy="ask the scheduler for more devices a node, or lower available_accelerators; they count from 0",
        )
    return names[int(one)]


@functools.lru_cache(maxsize=1)
def _place(folder: str) -> Devices:
    """Return the place of this process, and let its cell save when the process is asked to end."""
    visible = devices_of(os.environ.get(_VISIBLE, ""), _granted())
    own = f"{os.environ.get('PARSL_WORKER_POOL_ID', 'pool')}-{os.environ.get('PARSL_WORKER_RANK', os.getpid())}"
    devices = Devices(Path(folder) / "parsl" / "workers" / own, [visible] if visible else [])
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=_leave, args=(devices,)).start())
    return devices


def _granted() -> str:
    """Return the devices of the job, which Parsl has replaced in this process's environment by the worker's."""
    try:
        first = Path("/proc/self/environ").read_bytes()
    except OSError:
        return ""
    entries = dict(entry.partition(b"=")[::2] for entry in first.split(b"\0"))
    return os.fsdecode(entries.get(_VISIBLE.encode(), b""))


def _leave(devices: Devices) -> None:
    devices.stop()
    # not by an exception: Parsl would give this process the next cell
    os._exit(128 + signal.SIGTERM)
