# SPDX-License-Identifier: Apache-2.0
"""Run the command of a cell as a child that never outlives the process that started it.

Workers on other machines import this module, so it knows neither Parsl nor MONAI.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from akd_monai.errors import InputError
from akd_monai.experiments._plan.cell import Cell, is_done
from akd_monai.files import FolderLock, write_json

__all__ = ["CellError", "Devices", "StoppedError", "run_cell"]

# from linux/prctl.h
_PR_SET_PDEATHSIG = 1
_BEHIND = "wait until its processes have ended"
# Ctrl-C: as long as a training may take to save at the end of its step
_GRACE = 60.0


class CellError(RuntimeError):
    """The command of a cell ended with an error; its log says why."""

    def __init__(self, name: str, code: int, log: str) -> None:
        super().__init__(name, code, log)
        self.name = name
        self.code = code
        self.log = log

    def __str__(self) -> str:
        return f"{self.name} ended with exit code {self.code}; see {self.log}"


class StoppedError(RuntimeError):
    """The experiment was stopped before the cell was done."""


class Devices:
    """The places of this machine at which a cell can run, and the cells that run there.

    Args:
        folder: of the experiment; a place is locked by a file below it, which a cell and its worker processes hold open,
            so that a place is free only when the last of them has ended, also after the experiment itself was killed.
        gpus: names of GPUs for ``CUDA_VISIBLE_DEVICES``, one or several (``"0,1"``) a place.
        jobs: number of places where no GPUs are given.
    """

    def __init__(self, folder: str | os.PathLike[str], gpus: Sequence[str] = (), jobs: int = 1) -> None:
        self._folder = Path(folder) / "devices"
        self._gpus = dict(enumerate(gpus))
        self._free: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._stopped = False
        self.count = len(gpus) or jobs
        for place in range(self.count):
            self._free.put(place)

    def run(self, command: Sequence[str], start_in: str, log: IO[bytes]) -> int:
        """Run a command at the next free place and return its exit code.

        Raises:
            StoppedError: after :meth:`stop`.
        """
        place = self._free.get()
        try:
            with self._taken(place) as held:
                process = self._start(command, start_in, log, place, held)
            try:
                return process.wait()
            finally:
                with self._lock:
                    self._running.discard(process)
        finally:
            self._free.put(place)

    def stop(self) -> None:
        """Ask every cell to save and leave, wait for them, and start no other."""
        with self._lock:
            self._stopped = True
            running = list(self._running)
        for process in running:
            process.terminate()
        give_up = time.monotonic() + _GRACE
        for process in running:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, give_up - time.monotonic()))
            process.kill()

    @property
    def stopped(self) -> bool:
        """Whether the experiment was stopped."""
        return self._stopped

    def _start(
        self, command: Sequence[str], start_in: str, log: IO[bytes], place: int, held: list[int]
    ) -> subprocess.Popen[bytes]:
        visible = {"CUDA_VISIBLE_DEVICES": self._gpus[place]} if place in self._gpus else {}
        with self._lock:
            if self._stopped:
                raise StoppedError
            process = _child(command, start_in, log, visible, held)
            self._running.add(process)
        return process

    @contextlib.contextmanager
    def _taken(self, place: int) -> Iterator[list[int]]:
        """Lock a place; the child inherits the lock, and this process gives its own hold back."""
        name = f"gpu-{self._gpus[place]}" if place in self._gpus else f"job-{place}"
        with _patient(FolderLock(self._folder, f"{name}.lock", remedy=_BEHIND), _GRACE) as lock:
            yield lock.descriptors()


def run_cell(cell: Cell, devices: Devices | None = None, inputs: Sequence[Any] = ()) -> float:
    """Run a cell unless it is done, and return the seconds that it took.

    Args:
        cell: what to run.
        devices: places of this machine; ``None`` on a worker that has a device of its own.
        inputs: what must be done before; the engine waits for it.

    Raises:
        CellError: if the command fails.
        StoppedError: if the experiment is stopped.
        InputError: if the folder of the cell belongs to another command or another process.
    """
    if devices is not None and devices.stopped:
        raise StoppedError
    Path(cell.folder).mkdir(parents=True, exist_ok=True)
    # on a cluster, a pilot job of an earlier run may be at this cell, and ends it
    patience = _GRACE if devices is not None else float("inf")
    with _patient(FolderLock(cell.folder, "cell.lock", remedy=_BEHIND), patience):
        # a cell that an earlier, lost worker started may have ended meanwhile
        if is_done(cell):
            return 0.0
        write_json(cell.record, cell.identity())
        start = time.monotonic()
        log = Path(cell.folder) / "log.txt"
        with open(log, "ab") as stream:
            code = _run(cell, devices, stream)
        if devices is not None and devices.stopped and code:
            raise StoppedError
        if code:
            raise CellError(cell.name, code, str(log))
        seconds = time.monotonic() - start
        if not is_done(cell):
            write_json(cell.result, {"cell": cell.name, "seconds": round(seconds, 1)})
        return seconds


@contextlib.contextmanager
def _patient(lock: FolderLock, seconds: float) -> Iterator[FolderLock]:
    """Hold a lock, for which worker processes that are about to end are waited for."""
    give_up = time.monotonic() + seconds
    while True:
        try:
            lock.acquire()
            break
        except InputError:
            if time.monotonic() > give_up:
                raise
            time.sleep(0.2)
    try:
        yield lock
    finally:
        lock.release()


def _run(cell: Cell, devices: Devices | None, log: IO[bytes]) -> int:
    command = [sys.executable, *cell.command]
    if devices is None:
        return _child(command, cell.start_in, log, {}, []).wait()
    return devices.run(command, cell.start_in, log)


def _child(
    command: Sequence[str], start_in: str, log: IO[bytes], extra: dict[str, str], held: Sequence[int]
) -> subprocess.Popen[bytes]:
    # MLflow's variables would go before the commands' own settings
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")} | extra
    environment.setdefault("PYTHONWARNINGS", "ignore")
    environment.setdefault("GOMP_SPINCOUNT", "3000")
    return subprocess.Popen(
        command,
        cwd=start_in,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        pass_fds=list(held),
        preexec_fn=_bound_to(os.getpid()) if os.name == "posix" else None,
    )


def _bound_to(parent: int) -> Callable[[], None]:
    """Return what a child does before its command: leave the terminal's group, and end when the parent ends."""
    # loaded here: a child of a process with several threads must not load anything
    prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None

    def bind() -> None:
        os.setpgid(0, 0)
        if prctl is not None:
            prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:
                os._exit(1)

    return bind
