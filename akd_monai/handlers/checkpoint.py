# SPDX-License-Identifier: Apache-2.0
"""Stop a training run anywhere and go on as if nothing had happened."""

from __future__ import annotations

import logging
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from ignite.engine import Events
from monai.engines import SupervisedTrainer

from akd_monai.errors import InputError, NonFiniteError
from akd_monai.files import FolderLock, check_writable, remove_leftovers
from akd_monai.handlers.checkpoint_folder import CheckpointFolder
from akd_monai.handlers.events import on_failure, run_first, run_late
from akd_monai.handlers.run_state import capture, differences, identity, restore, start_anew
from akd_monai.handlers.stop_signals import StopSignals
from akd_monai.networks.taps import unwrap

logger = logging.getLogger(__name__)


class ResumableCheckpoint:
    """Save all that a training run needs to go on, and go on from it: the same command, started again, is enough.

    Saved are network, optimizer, schedulers, adapters and their optimizer, gradient scaler, position in the run and the
    state of handlers that have one (:class:`RunMember`); a teacher is not. With :class:`KeyedRandomness` a run that is
    killed and resumed ends with the same weights, bit for bit, on one device type with deterministic algorithms.

    ``resume.pt`` is written atomically and the file before it kept as ``resume-previous.pt``: whatever happens, one of
    them can be read. They are written after the schedulers have stepped, and at the end of an epoch after validation,
    wherever this handler stands in the list. SIGTERM and Ctrl-C save at the end of the step (at the end of an epoch,
    after validation) and leave with exit code 128 + signal. A run that is finished and started again trains nothing;
    with a larger ``max_epochs`` it goes on.

    Only one run may use a folder at a time.

    Args:
        output_dir: folder of the files, one run each.
        fingerprint: whatever must not change between start and resume, as JSON values: seed, data, teacher, settings.
        interval: iterations between two files; by default one is written at the end of each epoch.
        resume: ``"auto"`` goes on where the newest readable file ends; ``"never"`` deletes the files and starts anew.
        lr_scheduler: one or a list; by default those of every ``LrScheduleHandler`` of the trainer.
        extra: further objects with ``state_dict`` and ``load_state_dict``, by name.

    Raises:
        InputError: when the run starts, if the folder cannot be written to or is in use, if no file in it can be read,
            or if it holds another run; the text says what differs.
        OSError: when no space is left; the files of before are intact.
        NonFiniteError: in place of saving weights that are NaN or infinite.

    Example:
        >>> ResumableCheckpoint("run", resume="perhaps")
        Traceback (most recent call last):
        ...
        akd_monai.errors.InputError: resume must be 'auto' or 'never', got 'perhaps'.
    """

    def __init__(
        self,
        output_dir: str | Path,
        *,
        fingerprint: Mapping[str, Any] | None = None,
        interval: int | None = None,
        resume: str = "auto",
        lr_scheduler: Any = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        if resume not in ("auto", "never"):
            raise InputError(f"resume must be 'auto' or 'never', got {resume!r}.")
        if interval is not None and interval < 1:
            raise InputError(f"interval must be at least 1 iteration, or None for each epoch, got {interval}.")
        self.output_dir, self.interval, self.resume = Path(output_dir), interval, resume
        self._files = CheckpointFolder(self.output_dir)
        self.fingerprint, self.extra = dict(fingerprint or {}), dict(extra or {})
        listed = isinstance(lr_scheduler, Sequence)
        self.schedulers = None if lr_scheduler is None else list(lr_scheduler) if listed else [lr_scheduler]
        self._lock, self._signals = FolderLock(self.output_dir), StopSignals()
        self._found: tuple[Path, dict[str, Any]] | None = None
        self._due = self._in_step = False
        # iteration and completeness of the newest file
        self._saved: tuple[int, bool] | None = None

    def attach(self, engine: SupervisedTrainer) -> None:
        """Follow ``engine``, a trainer of MONAI; the place among its handlers does not matter."""
        run_first(engine, Events.STARTED, self._start)
        run_first(engine, Events.ITERATION_STARTED, self._iteration_started)
        on_failure(engine, self._failed)

    def _start(self, engine: SupervisedTrainer) -> None:
        if engine.state.epoch_length is None:
            raise InputError("the trainer does not know how long an epoch is: give it epoch_length.")
        if engine.state.rank == 0:
            check_writable(self.output_dir)
            self._lock.acquire()
            remove_leftovers(self.output_dir)
            if self.resume == "never":
                self._files.clear()
        _wait_for_all()
        self._found, self._saved, self._due, self._in_step = self._files.newest(), None, False, False
        if self._found is None:
            start_anew(engine)
        else:
            self._go_on(engine)
        self._signals.install()
        run_late(engine, Events.STARTED, self._started)

    def _started(self, engine: SupervisedTrainer) -> None:
        run_late(engine, Events.ITERATION_COMPLETED, self._iteration_completed)
        run_late(engine, Events.EPOCH_COMPLETED, self._epoch_completed)
        run_late(engine, Events.COMPLETED, self._completed)
        if self._found is None:
            return
        # Once more: a handler in between may have loaded the weights that the run once began with.
        self._restore(engine)
        self._found = None

    def _go_on(self, engine: SupervisedTrainer) -> None:
        path, saved = self._restore(engine)
        state = engine.state
        if saved["finished"] and state.max_epochs <= saved["max_epochs"]:
            engine.terminate()  # a run that was stopped early has epochs left
            logger.info("the run in %s is finished (epoch %d): nothing left to train", self.output_dir, state.epoch)
        else:
            logger.info("resumed from %s: %d epochs, %d iterations are done", path, state.epoch, state.iteration)

    def _restore(self, engine: SupervisedTrainer) -> tuple[Path, dict[str, Any]]:
        if self._found is None:
            raise RuntimeError("there is no checkpoint to restore")
        path, saved = self._found
        different = differences(saved["fingerprint"], identity(engine, self.fingerprint))
        if different:
            raise InputError(
                f"{path} belongs to another run, which differs in {'; '.join(different)}: choose another output "
                "folder, or set resume to 'never' to start anew."
            )
        if saved["epoch"] > engine.state.max_epochs:
            raise InputError(
                f"{path} has {saved['epoch']} epochs behind it, more than max_epochs = {engine.state.max_epochs}: give "
                "more epochs, or choose another output folder."
            )
        restore(engine, saved, self.schedulers, self.extra, str(path))
        self._saved = (saved["iteration"], saved["finished"])
        return path, saved

    def _iteration_started(self, _: SupervisedTrainer) -> None:
        self._in_step = True

    def _iteration_completed(self, engine: SupervisedTrainer) -> None:
        self._in_step = False
        iteration, length = engine.state.iteration, engine.state.epoch_length
        self._due |= self.interval is not None and iteration % self.interval == 0
        # The end of an epoch waits for validation and what follows; between accumulated batches a gradient is pending.
        if iteration % length == 0 or iteration % length % getattr(engine, "accumulation_steps", 1):
            return
        stop = self._signals.agreed(engine.state.device)
        if self._due or stop:
            self._save(engine)
        if stop:
            self._leave(stop)

    def _epoch_completed(self, engine: SupervisedTrainer) -> None:
        stop = self._signals.agreed(engine.state.device)
        if self._due or stop or self.interval is None:
            self._save(engine)
        if stop:
            self._leave(stop)

    def _completed(self, engine: SupervisedTrainer) -> None:
        trained = self._saved is None or self._saved[0] != engine.state.iteration
        if engine.state.iteration and (trained or not (self._saved and self._saved[1])):
            self._save(engine, finished=True)
        stop = self._signals.received
        self._release()
        if stop:
            self._leave(stop)

    def _failed(self, engine: SupervisedTrainer, error: BaseException) -> None:
        stop = self._signals.received
        try:
            # Ctrl-C also reaches the worker processes; the next batch may then fail before the step that would save.
            if stop and isinstance(error, Exception) and not self._in_step and self._at_boundary(engine):
                self._save(engine)
                self._leave(stop)
        finally:
            self._release()

    def _at_boundary(self, engine: SupervisedTrainer) -> bool:
        position = engine.state.iteration % engine.state.epoch_length
        return bool(position) and position % getattr(engine, "accumulation_steps", 1) == 0

    def _release(self) -> None:
        self._signals.restore()
        self._lock.release()

    def _leave(self, number: int) -> None:
        logger.warning(
            "stopped by %s, saved in %s; the same command started again goes on from there",
            signal.Signals(number).name,
            self._files.path,
        )
        raise SystemExit(128 + number)

    def _save(self, engine: SupervisedTrainer, *, finished: bool = False) -> None:
        iteration = engine.state.iteration
        self._due = False
        done = finished or iteration >= engine.state.max_epochs * engine.state.epoch_length
        if self._saved != (iteration, done):
            if engine.state.rank == 0:
                self._write(engine, done)
            self._saved = (iteration, done)
        _wait_for_all()

    def _write(self, engine: SupervisedTrainer, finished: bool) -> None:
        broken = [name for name, value in unwrap(engine.network).named_parameters() if not torch.isfinite(value).all()]
        if broken:
            raise NonFiniteError(
                f"weights are NaN or infinite after iteration {engine.state.iteration} ({', '.join(broken[:3])}): "
                "nothing was saved, the checkpoint of before is intact; lower the learning rate or look at the data."
            )
        self._files.write(
            {
                "fingerprint": identity(engine, self.fingerprint),
                "finished": finished,
                **capture(engine, self.schedulers, self.extra),
            }
        )


def _wait_for_all() -> None:
    if dist.is_available() and dist.is_initialized():
        dist.barrier()
