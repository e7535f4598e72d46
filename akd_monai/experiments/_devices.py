# SPDX-License-Identifier: Apache-2.0
"""The places of this machine at which cells run, one at a time in each."""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

from akd_monai.errors import InputError
from akd_monai.experiments._child import Child, Ended, LostError, start_plain
from akd_monai.experiments._warm import WarmProcess
from akd_monai.files import FolderLock

__all__ = ["GRACE", "Devices", "StoppedError", "patient"]

logger = logging.getLogger(__name__)

# Ctrl-C: as long as a training may take to save at the end of its step
GRACE = 60.0
_BEHIND = "wait until its processes have ended"


class StoppedError(RuntimeError):
    """The experiment was stopped before the cell was done."""


class Devices:
    """The places of this machine at which a cell can run, and the cells that run there.

    Args:
        folder: of the experiment; a place is locked by a file below it, which a cell and its worker processes hold open,
            so that a place is free only when the last of them has ended, also after the experiment itself was killed.
        gpus: names of GPUs for ``CUDA_VISIBLE_DEVICES``, one or several (``"0,1"``) a place.
        jobs: number of places where no GPUs are given.
        warm: from which cells are forked; ``None`` starts an interpreter for each.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        gpus: Sequence[str] = (),
        jobs: int = 1,
        warm: WarmProcess | None = None,
    ) -> None:
        self._folder = Path(folder) / "devices"
        self._gpus = dict(enumerate(gpus))
        self._free: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._running: set[Child] = set()
        self._lock = threading.Lock()
        self._stopped = False
        self._warm = warm
        self.count = len(gpus) or jobs
        for place in range(self.count):
            self._free.put(place)

    def run(self, command: Sequence[str], start_in: str, log: IO[bytes], variables: Mapping[str, str]) -> Ended:
        """Run a command at the next free place and return how it ended.

        Args:
            command: arguments after ``python``.
            start_in: folder in which it starts.
            log: takes what it writes.
            variables: of its environment, beside those of this process.

        Raises:
            StoppedError: after :meth:`stop`.
        """
        place = self._free.get()
        visible = {"CUDA_VISIBLE_DEVICES": self._gpus[place]} if place in self._gpus else {}
        try:
            try:
                return self._run_at(place, command, start_in, log, {**variables, **visible})
            except LostError:
                logger.warning("The process that starts cells was lost; each cell now imports everything by itself.")
                self._warm = None
                return self._run_at(place, command, start_in, log, {**variables, **visible})
        finally:
            self._free.put(place)

    def stop(self) -> None:
        """Ask every cell to save and leave, wait for them, and start no other."""
        with self._lock:
            self._stopped = True
            running = list(self._running)
        if self._warm is not None:
            self._warm.stop_imports()
        for child in running:
            child.send(signal.SIGTERM)
        give_up = time.monotonic() + GRACE
        for child in running:
            child.has_ended.wait(max(0.0, give_up - time.monotonic()))
            child.send(signal.SIGKILL)

    @property
    def stopped(self) -> bool:
        """Whether the experiment was stopped."""
        return self._stopped

    def _run_at(
        self, place: int, command: Sequence[str], start_in: str, log: IO[bytes], variables: Mapping[str, str]
    ) -> Ended:
        warm = self._warm if self._warm is not None and self._warm.takes(command, variables) else None
        with self._taken(place) as held:
            child = self._start(warm, command, start_in, log, variables, held)
        try:
            return child.wait()
        finally:
            with self._lock:
                self._running.discard(child)

    def _start(
        self,
        warm: WarmProcess | None,
        command: Sequence[str],
        start_in: str,
        log: IO[bytes],
        variables: Mapping[str, str],
        held: list[int],
    ) -> Child:
        start = start_plain if warm is None else warm.start
        with self._lock:
            if self._stopped:
                raise StoppedError
            child = start(command, start_in, log, variables, held)
            self._running.add(child)
        return child

    @contextlib.contextmanager
    def _taken(self, place: int) -> Iterator[list[int]]:
        """Lock a place; the child inherits the lock, and this process gives its own hold back."""
        name = f"gpu-{self._gpus[place]}" if place in self._gpus else f"job-{place}"
        with patient(FolderLock(self._folder, f"{name}.lock", remedy=_BEHIND), GRACE) as lock:
            yield lock.descriptors()


@contextlib.contextmanager
def patient(lock: FolderLock, seconds: float) -> Iterator[FolderLock]:
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
