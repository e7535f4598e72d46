# SPDX-License-Identifier: Apache-2.0
"""Keep the weights of the best validation, over all interruptions of a run."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ignite.engine import Events
from monai.engines import Evaluator
from monai.utils import is_scalar
from torch import nn

from akd_monai.errors import InputError
from akd_monai.files import (
    FolderLock,
    atomic_write,
    check_writable,
    read_json,
    remove_leftovers,
    save_atomic,
    sha256_of,
)
from akd_monai.handlers._events import is_first_rank, run_late
from akd_monai.handlers.run_member import RunMember
from akd_monai.networks import unwrap

__all__ = ["SaveBestModel"]

_RECORD = "best.json"
_SHOWN = 12
_OTHER_FOLDER = "choose another folder for this run's best model (ckpt_dir of a bundle)"

logger = logging.getLogger(__name__)


class SaveBestModel(RunMember):
    """Save ``network`` as a plain state dict whenever the key metric of an evaluator is higher than ever in the run.

    Beside the weights, ``best.json`` holds metric, epoch and SHA-256 of the best, and those of the file before, so that
    at any moment one of them describes the file: whoever loads the weights can tell whether they are damaged. When
    :class:`ResumableCheckpoint` resumes a run, the record carries over: a worse model never replaces a better one. When
    it starts a run, or without it, the first validation is the best so far. An undefined metric (NaN) never is.

    With :class:`ResumableCheckpoint`, the file belongs to one run, which is named in ``best.json`` by the name that
    ``run_name.txt`` in its output folder gives. Before the first step, a run is refused while another one runs with the
    same file, or if the file is the best model of another run; a second training, such as a distilled one after a plain
    one, is given a folder of its own, or ``resume="never"``, which replaces the file.

    Args:
        network: what is saved; tensors only, on the CPU, out of ``DistributedDataParallel`` and ``torch.compile``.
        path: file of the weights, such as ``models/model.pt``.
        key_metric: name in ``engine.state.metrics``; by default the key metric of the evaluator.

    Raises:
        InputError: when the run starts, if the file is in use, belongs to another run, or is not what this run saved, or
            the folder cannot be written to. While it runs, if there is no such metric.
        OSError: while it runs, if no space is left; the weights written before are intact.

    Example:
        >>> import tempfile, torch
        >>> from ignite.engine import Engine
        >>> folder = tempfile.TemporaryDirectory()
        >>> scores = iter([0.9, 0.6])
        >>> evaluator = Engine(lambda engine, batch: None)
        >>> @evaluator.on(Events.EPOCH_COMPLETED)
        ... def score(engine):
        ...     engine.state.metrics["dice"] = next(scores)
        >>> best = SaveBestModel(nn.Linear(1, 1), Path(folder.name) / "model.pt", key_metric="dice")
        >>> best.attach(evaluator)
        >>> _ = evaluator.run([0], max_epochs=1), evaluator.run([0], max_epochs=1)
        >>> best.metric
        0.9
        >>> folder.cleanup()
    """

    def __init__(self, network: nn.Module, path: str | Path, *, key_metric: str | None = None) -> None:
        self.network = network
        self.path = Path(path)
        self.key_metric = key_metric
        self._forget()
        self._evaluator: Evaluator | None = None
        # as another file in the folder may be another handler's
        self._lock = FolderLock(self.path.parent, f".{self.path.name}.lock", remedy=_OTHER_FOLDER)
        self._run = ""
        self._replace = False

    def attach(self, engine: Evaluator) -> None:
        """Follow ``engine``, an evaluator; the position among its handlers does not matter."""
        self._evaluator = engine
        engine.add_event_handler(Events.STARTED, self._started)

    def enter_run(self, run: str, *, replace: bool) -> None:
        """Lock the file for this run."""
        for path in (self.path, self._record_path):
            if path.is_dir():
                raise InputError("is a folder, but a file is to be saved there", where=str(path), remedy="move it away")
        check_writable(self.path.parent)
        self._lock.acquire()
        remove_leftovers(self.path.parent)
        self._run = run
        self._replace = replace

    def leave_run(self) -> None:
        """Unlock the file."""
        self._run = ""
        self._lock.release()

    def run_state(self) -> dict[str, Any]:
        """Return the best so far."""
        return {"metric": self.metric, "epoch": self.epoch, "sha256": self.sha256}

    def start_run(self, state: Mapping[str, Any] | None) -> None:
        """Continue with the record beside the weights, which may be newer than ``state``; with None, without one."""
        self._forget()
        recorded = self._recorded()
        self._check_owner(recorded, resumed=state is not None)
        if state is None:
            return
        known = [entry for entry in (*recorded, dict(state)) if self._is_own(entry)]
        found = sha256_of(self.path) if self.path.is_file() else ""
        fitting = [entry for entry in known if entry["sha256"] == found]
        if fitting:
            best = max(fitting, key=lambda entry: entry["metric"])
            self.metric = float(best["metric"])
            self.epoch = int(best["epoch"])
            self.sha256 = found
            self._publish()
        elif known:
            self._miss(found, recorded)

    def _check_owner(self, recorded: list[dict[str, Any]], *, resumed: bool) -> None:
        if not self._run or not recorded or not self.path.is_file():
            return
        best = recorded[0]
        owner = best.get("run")
        # a record of an earlier version names no run; the hashes then tell whether it is this one's
        if owner == self._run or (owner is None and resumed):
            return
        whose = f"{self.path} is the best model of another run ({_in_words(best)})"
        if not self._replace:
            replace = "" if resumed else ", or set resume to 'never' to replace it"
            raise InputError(f"{whose}: {_OTHER_FOLDER}{replace}.")
        logger.warning("%s, which the first validation replaces", whose)

    def _is_own(self, entry: Mapping[str, Any]) -> bool:
        return bool(entry.get("sha256")) and "metric" in entry and entry.get("run", self._run) == self._run

    def _miss(self, found: str, recorded: list[dict[str, Any]]) -> None:
        """Say that the file is not the best model of the run that is resumed."""
        of_another = found in [entry.get("sha256") for entry in recorded]
        if not self._run or not found or of_another:
            logger.warning("%s is not what this run saved as its best: the next validation replaces it", self.path)
            return
        raise InputError(
            f"{self.path} is not what this run saved as its best (its SHA-256 is {found[:_SHOWN]}...): it is damaged or was "
            "replaced; restore it from a copy, or delete it to let the next validation save one."
        )

    def _forget(self) -> None:
        self.metric = -math.inf
        self.epoch = 0
        self.sha256 = ""

    def _started(self, engine: Evaluator) -> None:
        # After the evaluator's own comparison and after handlers that compute metrics.
        run_late(engine, Events.EPOCH_COMPLETED, self._compare)

    def _publish(self) -> None:
        # MONAI takes a first NaN for the best, and nothing is larger than NaN.
        if self.epoch and self._evaluator is not None and hasattr(self._evaluator.state, "best_metric"):
            self._evaluator.state.best_metric = self.metric
            self._evaluator.state.best_metric_epoch = self.epoch

    def _compare(self, engine: Evaluator) -> None:
        name = self.key_metric or getattr(engine.state, "key_metric_name", None)
        if name is None or name not in engine.state.metrics:
            known = ", ".join(sorted(engine.state.metrics)) or "none"
            raise InputError(f"the evaluator has no metric {name!r} to choose the best model by; it has: {known}.")
        value = engine.state.metrics[name]
        if not is_scalar(value):
            raise InputError(f"the best model is chosen by one number, but metric {name!r} has several: reduce it.")
        metric = float(value)
        if math.isnan(metric):
            logger.warning("%s is undefined in epoch %d, so it is not compared", name, engine.state.epoch)
        elif metric > self.metric:
            self._save(engine, name, metric)
        self._publish()

    def _save(self, engine: Evaluator, name: str, metric: float) -> None:
        epoch = engine.state.epoch
        if is_first_rank(engine):
            check_writable(self.path.parent)
            remove_leftovers(self.path.parent)
            before = self._present()

            def record(sha256: str) -> None:
                # Before the weights: if the process ends in between, the previous entry still describes the file.
                best = {"metric": metric, "name": name, "epoch": epoch, "sha256": sha256}
                self._record({**best, **self._whose(), "previous": before})

            self.sha256 = save_atomic(_weights(self.network), self.path, before_write=record)
            logger.info("%s %.4f in epoch %d is the best so far: saved %s", name, metric, epoch, self.path)
        self.metric = metric
        self.epoch = epoch

    def _record(self, entry: dict[str, Any]) -> None:
        # Not write_json: a metric may be infinite.
        atomic_write(self._record_path, json.dumps(entry, indent=2) + "\n")

    @property
    def _record_path(self) -> Path:
        return self.path.with_name(_RECORD)

    def _whose(self) -> dict[str, str]:
        whose = {"file": self.path.name}
        if self._run:
            whose["run"] = self._run
        return whose

    def _present(self) -> dict[str, Any] | None:
        """Return what is known of the file that is about to be replaced."""
        if self.sha256:
            return {**self.run_state(), **self._whose()}
        if not self.path.is_file():
            return None
        found = sha256_of(self.path)
        for entry in self._recorded():
            if entry.get("sha256") == found:
                return {name: value for name, value in entry.items() if name != "previous"}
        return {"sha256": found}

    def _recorded(self) -> list[dict[str, Any]]:
        file = self._record_path
        if not file.is_file():
            return []
        try:
            content = read_json(file)
        except InputError as error:
            logger.warning("%s is not used: %s", file, error)
            return []
        if content.get("file", self.path.name) != self.path.name:
            return []
        return [entry for entry in (content, content.get("previous")) if isinstance(entry, dict) and entry]


def _in_words(entry: Mapping[str, Any]) -> str:
    name = entry.get("name", "metric")
    return f"{name} {entry.get('metric')} in epoch {entry.get('epoch')}"


def _weights(network: nn.Module) -> dict[str, Any]:
    weights = unwrap(network).state_dict()
    return {name: value.detach().cpu().clone().contiguous() for name, value in weights.items()}
