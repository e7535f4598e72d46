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
from akd_monai.files import atomic_write, check_writable, read_json, remove_leftovers, save_atomic, sha256_of
from akd_monai.handlers._events import is_first_rank, run_late
from akd_monai.handlers.run_member import RunMember
from akd_monai.networks import unwrap

__all__ = ["SaveBestModel"]

_RECORD = "best.json"

logger = logging.getLogger(__name__)


class SaveBestModel(RunMember):
    """Save ``network`` as a plain state dict whenever the key metric of an evaluator is higher than ever in the run.

    Beside the weights, ``best.json`` holds metric, epoch and SHA-256 of the best, and those of the best before, so that
    at any moment one of them describes the file. When :class:`ResumableCheckpoint` resumes a run, the record carries
    over: a worse model never replaces a better one. When it starts a run, or without it, the first validation is the
    best so far. An undefined metric (NaN) never is.

    Args:
        network: what is saved; tensors only, on the CPU, out of ``DistributedDataParallel`` and ``torch.compile``.
        path: file of the weights, such as ``models/model.pt``.
        key_metric: name in ``engine.state.metrics``; by default the key metric of the evaluator.

    Raises:
        InputError: while it runs, if there is no such metric or the folder cannot be written to.
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

    def attach(self, engine: Evaluator) -> None:
        """Follow ``engine``, an evaluator; the position among its handlers does not matter."""
        self._evaluator = engine
        engine.add_event_handler(Events.STARTED, self._started)

    def run_state(self) -> dict[str, Any]:
        """Return the best so far."""
        return {"metric": self.metric, "epoch": self.epoch, "sha256": self.sha256}

    def start_run(self, state: Mapping[str, Any] | None) -> None:
        """Continue with the record beside the weights, which may be newer than ``state``; with None, without one."""
        self._forget()
        if state is None:
            return
        known = [entry for entry in (*self._recorded(), dict(state)) if entry.get("sha256")]
        found = sha256_of(self.path) if self.path.is_file() else ""
        fitting = [entry for entry in known if entry["sha256"] == found]
        if fitting:
            best = max(fitting, key=lambda entry: entry["metric"])
            self.metric = float(best["metric"])
            self.epoch = int(best["epoch"])
            self.sha256 = found
            self._publish()
        elif known:
            logger.warning("%s is not what this run saved as its best: the next validation replaces it", self.path)

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
            before = self.run_state() if self.sha256 else None

            def record(sha256: str) -> None:
                # Before the weights: if the process ends in between, the previous entry still describes the file.
                self._record({"metric": metric, "name": name, "epoch": epoch, "sha256": sha256, "previous": before})

            self.sha256 = save_atomic(_weights(self.network), self.path, before_write=record)
            logger.info("%s %.4f in epoch %d is the best so far: saved %s", name, metric, epoch, self.path)
        self.metric = metric
        self.epoch = epoch

    def _record(self, entry: dict[str, Any]) -> None:
        # Not write_json: a metric may be infinite.
        atomic_write(self.path.with_name(_RECORD), json.dumps(entry, indent=2) + "\n")

    def _recorded(self) -> list[dict[str, Any]]:
        file = self.path.with_name(_RECORD)
        if not file.is_file():
            return []
        try:
            content = read_json(file)
        except InputError as error:
            logger.warning("%s is not used: %s", file, error)
            return []
        return [entry for entry in (content, content.get("previous")) if entry]


def _weights(network: nn.Module) -> dict[str, Any]:
    weights = unwrap(network).state_dict()
    return {name: value.detach().cpu().clone().contiguous() for name, value in weights.items()}
