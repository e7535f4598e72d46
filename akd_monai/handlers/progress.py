# SPDX-License-Identifier: Apache-2.0
"""Training progress on terminals and in log files."""

from __future__ import annotations

import logging
import sys
import time
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.engines import Evaluator
from tqdm import tqdm

from akd_monai.handlers._events import is_first_rank, on_failure, run_late, validators_of
from akd_monai.handlers._metrics import epoch_metrics, loss_terms

__all__ = ["Progress"]

# Reading a loss waits for the device, so it is done as often as a person can read, not at every step.
_REFRESH_SECONDS = 0.5
_LOSS = "loss/"

logger = logging.getLogger(__name__)


class Progress:
    """Show one bar over all iterations of all epochs, with the loss terms, the last key metric and the time left.

    Where the error stream is no terminal, one line an epoch is logged instead, with the same content. A resumed run
    starts at its present iteration. Mixed precision that is asked for on a device where MONAI has none is said.

    Args:
        name: what is trained, at the start of each line.
        evaluator: whose key metric is shown; by default those that a ``ValidationHandler`` of the trainer runs.
        terminal: whether to draw a bar; by default if the error stream is a terminal.

    Example:
        >>> engine = Engine(lambda engine, batch: None)
        >>> Progress("student", terminal=False).attach(engine)
        >>> engine.run([0, 1], max_epochs=2).iteration  # logs "student: epoch 1/2, 00:00 elapsed, 00:00 left", ...
        4
    """

    def __init__(
        self, name: str = "training", evaluator: Evaluator | None = None, *, terminal: bool | None = None
    ) -> None:
        self.name = name
        self.evaluators = None if evaluator is None else [evaluator]
        self.terminal = terminal
        self._bar: tqdm[Any] | None = None
        self._began = 0.0
        self._refreshed = 0.0
        self._first = 0

    def attach(self, engine: Engine) -> None:
        """Follow ``engine``, a trainer; the position among its handlers does not matter."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._step)
        engine.add_event_handler(Events.COMPLETED, self._close)
        on_failure(engine, self._close)

    def _start(self, engine: Engine) -> None:
        run_late(engine, Events.EPOCH_COMPLETED, self._epoch)
        self._check_amp(engine)
        self._began = time.monotonic()
        self._first = engine.state.iteration
        terminal = sys.stderr.isatty() if self.terminal is None else self.terminal
        if terminal and is_first_rank(engine):
            self._bar = tqdm(
                desc=self.name,
                total=_total(engine),
                initial=self._first,
                unit="it",
                file=sys.stderr,
                dynamic_ncols=True,
            )

    def _check_amp(self, engine: Engine) -> None:
        device = torch.device(getattr(engine.state, "device", None) or "cpu").type
        # MONAI's trainers open torch.autocast for CUDA, whatever the device
        if getattr(engine, "amp", False) and device != "cuda" and is_first_rank(engine):
            logger.warning("%s: amp has no effect on the device %s, training is in full precision", self.name, device)

    def _step(self, engine: Engine) -> None:
        if self._bar is None:
            return
        now = time.monotonic()
        if now - self._refreshed > _REFRESH_SECONDS:
            self._refreshed = now
            self._show({f"{_LOSS}{name}": float(value) for name, value in loss_terms(engine).items()}, engine)
        self._bar.update(engine.state.iteration - self._bar.n)

    def _epoch(self, engine: Engine) -> None:
        averages = epoch_metrics(engine, [])
        if self._bar is not None:
            self._show(averages, engine)
        elif is_first_rank(engine):
            self._log(averages, engine)

    def _show(self, losses: dict[str, float], engine: Engine) -> None:
        if self._bar is not None:
            self._bar.set_postfix(self._shown(losses, engine), refresh=False)

    def _log(self, losses: dict[str, float], engine: Engine) -> None:
        elapsed = time.monotonic() - self._began
        words = [f"epoch {engine.state.epoch}/{engine.state.max_epochs}"]
        words += [f"{name} {value}" for name, value in self._shown(losses, engine).items()]
        words.append(f"{tqdm.format_interval(elapsed)} elapsed, {self._left(elapsed, engine)} left")
        logger.info("%s: %s", self.name, ", ".join(words))

    def _shown(self, losses: dict[str, float], engine: Engine) -> dict[str, str]:
        shown = {}
        for name, value in losses.items():
            if name.startswith(_LOSS):
                shown[name.removeprefix(_LOSS)] = f"{value:.4g}"
        for evaluator in validators_of(engine) if self.evaluators is None else self.evaluators:
            name = evaluator.state.key_metric_name
            metric = evaluator.state.metrics.get(name)
            if metric is not None:
                shown[name] = f"{float(metric):.4f}"
        return shown

    def _left(self, elapsed: float, engine: Engine) -> str:
        total = _total(engine)
        if total is None:
            return "?"
        done = max(engine.state.iteration - self._first, 1)
        left: str = tqdm.format_interval(elapsed * (total - engine.state.iteration) / done)
        return left

    def _close(self, _: Engine, error: BaseException | None = None) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def _total(engine: Engine) -> int | None:
    length = engine.state.epoch_length
    epochs = engine.state.max_epochs
    return length * epochs if length and epochs else None
