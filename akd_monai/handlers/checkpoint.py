# SPDX-License-Identifier: Apache-2.0
"""Stop a training run anywhere and resume it as if nothing had happened."""

from __future__ import annotations

import logging
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import ignite.distributed as idist
from ignite.engine import Events
from monai.engines import SupervisedTrainer

from akd_monai.errors import InputError, check_choice, lost_process
from akd_monai.files import FolderLock, check_writable, remove_leftovers
from akd_monai.handlers._checkpoint_folder import CheckpointFolder
from akd_monai.handlers._events import is_first_rank, on_failure, run_first, run_late
from akd_monai.handlers._fingerprint import Identity
from akd_monai.handlers._reproduction import check_finite_weights
from akd_monai.handlers._run_name import new_run_name
from akd_monai.handlers._run_state import capture, members_of, restore, schedulers_of, start_members
from akd_monai.handlers._stop_signals import StopSignals
from akd_monai.handlers.run_member import RunMember
from akd_monai.handlers.run_name import unique_run_name

__all__ = ["ResumableCheckpoint", "Resume"]

Resume = Literal["auto", "never"]

logger = logging.getLogger(__name__)


class ResumableCheckpoint:
    """Save all that a training run needs to resume, and resume from it: run the same command again.

    Saved are network, optimizer, schedulers, adapters and their optimizer, gradient scaler, position in the run and the
    state of handlers that have one (:class:`RunMember`); a teacher is not. With :class:`KeyedRandomness` a run that is
    killed and resumed ends with the same weights, bit for bit, on one device type with deterministic algorithms.

    A resume as another run is refused, and the message names what differs: loss, terms and teacher, optimizer, schedules,
    network, transforms, data by the content of their files, sampler, batches, precision, accumulation, number of
    processes, validation, all read from the trainer itself, and ``fingerprint``. Free to change are the number of
    epochs, and the numbers of a schedule that follow from it; worker processes; the device, and mixed precision with it;
    caches; paths; the interval of validation and of files; logging and tracking; and versions of Python, PyTorch and
    MONAI, where a line says so. A checkpoint of version 0.1 is compared by ``fingerprint`` alone, with a warning.

    ``resume.pt`` is written atomically, with a checksum, and the file before it kept as ``resume-previous.pt``: whatever
    happens, one of them can be read, and a damaged one is never used. They are written after the schedulers have
    stepped, and at the end of an epoch after validation, at any position of this handler in the list. SIGTERM and Ctrl-C
    save at the end of the step (at the end of an epoch, after validation) and leave with exit code 128 + signal. A run
    that is finished and started again trains nothing; with a larger ``max_epochs`` it continues.

    Only one run may use a folder at a time. The run is named by :func:`unique_run_name` of the folder.

    Args:
        output_dir: folder of the files, one run each.
        fingerprint: whatever else must not change between start and resume, as JSON values. Name them well and nest them
            in mappings, not lists, since a refusal names them.
        interval: iterations between two files; by default one is written at the end of each epoch.
        resume: ``"auto"`` resumes from the newest readable file; ``"never"`` deletes the files and starts from the
            beginning.
        lr_scheduler: one or a list; by default those of every ``LrScheduleHandler`` of the trainer.
        extra: further objects with ``state_dict`` and ``load_state_dict``, by name.

    Raises:
        InputError: when the run starts, if the folder cannot be written to or is in use, if no file in it can be read,
            or if it holds another run; the message says what differs. Also if a member of the run refuses, see
            :meth:`RunMember.enter_run`.
        OSError: when no space is left; the files written before are intact.
        NonFiniteError: in place of saving weights that are NaN or infinite.

    Example:
        >>> ResumableCheckpoint("run", resume="perhaps")
        Traceback (most recent call last):
        ...
        akd_monai.errors.InputError: resume must be one of 'auto', 'never', got 'perhaps'.
    """

    def __init__(
        self,
        output_dir: str | Path,
        *,
        fingerprint: Mapping[str, Any] | None = None,
        interval: int | None = None,
        resume: Resume = "auto",
        lr_scheduler: Any = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        check_choice("resume", resume, get_args(Resume))
        if interval is not None and interval < 1:
            raise InputError(f"interval must be at least 1 iteration, or None for each epoch, got {interval}.")
        self.output_dir = Path(output_dir)
        self.fingerprint = dict(fingerprint or {})
        self.interval = interval
        self.resume = resume
        self.schedulers = _listed(lr_scheduler)
        self.extra = dict(extra or {})
        self._files = CheckpointFolder(self.output_dir)
        self._lock = FolderLock(self.output_dir)
        self._signals = StopSignals()
        self._entered: list[RunMember] = []
        self._identity: Identity | None = None
        self._found: tuple[Path, dict[str, Any]] | None = None
        self._due = False
        self._in_step = False
        # iteration and completeness of the newest file
        self._saved: tuple[int, bool] | None = None

    def attach(self, engine: SupervisedTrainer) -> None:
        """Follow ``engine``, a trainer of MONAI; the position among its handlers does not matter."""
        run_first(engine, Events.STARTED, self._start)
        run_first(engine, Events.ITERATION_STARTED, self._iteration_started)
        on_failure(engine, self._failed)

    def _start(self, engine: SupervisedTrainer) -> None:
        if engine.state.epoch_length is None:
            raise InputError("the trainer does not know how long an epoch is: give it epoch_length.")
        if not float(engine.state.max_epochs).is_integer():
            # Ignite would train the started epoch to its end
            raise InputError(f"max_epochs must be an integer, got {engine.state.max_epochs!r}.")
        if is_first_rank(engine):
            self._take_folder(engine)
        idist.barrier()
        if self._identity is None:
            self._identity = Identity(engine, self.fingerprint, schedulers_of(engine, self.schedulers))
        self._found = self._files.newest()
        self._saved = None
        self._due = False
        self._in_step = False
        if self._found is None:
            start_members(engine)
        else:
            self._resume(engine)
        self._signals.install()
        run_late(engine, Events.STARTED, self._started)

    def _take_folder(self, engine: SupervisedTrainer) -> None:
        check_writable(self.output_dir)
        self._lock.acquire()
        remove_leftovers(self.output_dir)
        is_new = self.resume == "never"
        run = new_run_name(self.output_dir) if is_new else unique_run_name(self.output_dir)
        self._entered = list(members_of(engine).values())
        # before the state is deleted: a member may refuse the run
        for member in self._entered:
            member.enter_run(run, replace=is_new)
        if is_new:
            self._files.clear()

    def _started(self, engine: SupervisedTrainer) -> None:
        run_late(engine, Events.ITERATION_COMPLETED, self._iteration_completed)
        run_late(engine, Events.EPOCH_COMPLETED, self._epoch_completed)
        run_late(engine, Events.COMPLETED, self._completed)
        if self._found is None:
            return
        # Once more: a handler in between may have loaded the weights that the run once began with.
        self._restore(engine)
        self._found = None

    def _resume(self, engine: SupervisedTrainer) -> None:
        self._check_same_run(engine)
        path, saved = self._restore(engine)
        state = engine.state
        if saved["finished"] and state.max_epochs <= saved["max_epochs"]:
            engine.terminate()  # a run that was stopped early has epochs left
            logger.info("the run in %s is finished (epoch %d): nothing left to train", self.output_dir, state.epoch)
        else:
            logger.info("resumed from %s after %d epochs, %d iterations", path, state.epoch, state.iteration)

    def _check_same_run(self, engine: SupervisedTrainer) -> None:
        if self._found is None or self._identity is None:
            return
        path, saved = self._found
        changes = self._identity.changes(saved, engine.state.max_epochs)
        if changes:
            raise InputError(
                f"{path} belongs to another run, which differs in {changes}: choose another output folder, or set resume "
                "to 'never' to start from the beginning."
            )

    def _restore(self, engine: SupervisedTrainer) -> tuple[Path, dict[str, Any]]:
        if self._found is None:
            raise RuntimeError("there is no checkpoint to restore")
        path, saved = self._found
        if saved["epoch"] > engine.state.max_epochs:
            raise InputError(
                f"{path} has already completed {saved['epoch']} epochs, more than max_epochs = "
                f"{engine.state.max_epochs}: raise max_epochs, or choose another output folder."
            )
        restore(engine, saved, self.schedulers, self.extra, str(path))
        self._saved = (saved["iteration"], saved["finished"])
        return path, saved

    def _iteration_started(self, _: SupervisedTrainer) -> None:
        self._in_step = True

    def _iteration_completed(self, engine: SupervisedTrainer) -> None:
        self._in_step = False
        if self.interval is not None and engine.state.iteration % self.interval == 0:
            self._due = True
        # The end of an epoch waits for validation and what follows.
        if _at_boundary(engine):
            self._save_if_due(engine)

    def _epoch_completed(self, engine: SupervisedTrainer) -> None:
        if self.interval is None:
            self._due = True
        self._save_if_due(engine)

    def _save_if_due(self, engine: SupervisedTrainer) -> None:
        stop = self._signals.agreed()
        if self._due or stop:
            self._save(engine)
        if stop:
            self._leave(stop)

    def _completed(self, engine: SupervisedTrainer) -> None:
        if engine.state.iteration and self._saved != (engine.state.iteration, True):
            self._save(engine, finished=True)
        stop = self._signals.received
        self._release()
        if stop:
            self._leave(stop)

    def _failed(self, engine: SupervisedTrainer, error: BaseException) -> None:
        stop = self._signals.received
        lost = lost_process(error)
        # without the others no process can save, since all wait for the first
        is_alone = lost is not None and idist.get_world_size() > 1
        try:
            # Ctrl-C also reaches the worker processes; the next batch may then fail before the step that would save.
            if stop and isinstance(error, Exception) and not (self._in_step or is_alone) and _at_boundary(engine):
                self._save(engine)
                self._leave(stop)
        finally:
            self._release()
        if lost is not None:
            raise lost from error

    def _release(self) -> None:
        self._signals.restore()
        for member in self._entered:
            member.leave_run()
        self._entered = []
        self._lock.release()

    def _leave(self, number: int) -> None:
        name = signal.Signals(number).name
        logger.warning("stopped by %s, saved in %s; the same command resumes the run", name, self._files.path)
        raise SystemExit(128 + number)

    def _save(self, engine: SupervisedTrainer, *, finished: bool = False) -> None:
        iteration = engine.state.iteration
        self._due = False
        done = finished or iteration >= engine.state.max_epochs * engine.state.epoch_length
        if self._saved != (iteration, done):
            if is_first_rank(engine):
                self._write(engine, done)
            self._saved = (iteration, done)
        idist.barrier()

    def _write(self, engine: SupervisedTrainer, finished: bool) -> None:
        check_finite_weights(engine, self.output_dir)
        self._files.write(
            {
                **(self._identity.state() if self._identity is not None else {}),
                "finished": finished,
                **capture(engine, self.schedulers, self.extra),
            }
        )


def _listed(scheduler: Any) -> list[Any] | None:
    if scheduler is None:
        return None
    return list(scheduler) if isinstance(scheduler, Sequence) else [scheduler]


def _at_boundary(engine: SupervisedTrainer) -> bool:
    """Return whether a step inside an epoch is complete; between accumulated batches a gradient is pending."""
    position = engine.state.iteration % engine.state.epoch_length
    return bool(position) and position % getattr(engine, "accumulation_steps", 1) == 0
