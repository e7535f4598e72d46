# SPDX-License-Identifier: Apache-2.0
"""How far a training run is, for eyes and for log files."""

from __future__ import annotations

import logging
import sys
import time

from ignite.engine import Engine, Events
from monai.engines import Evaluator
from tqdm import tqdm

from akd_monai.handlers.events import on_failure, run_late, validators_of
from akd_monai.handlers.loss_terms import loss_terms
from akd_monai.handlers.metrics import epoch_metrics

# Reading a loss waits for the device, so it is done for eyes only, not for every step.
_REFRESH_SECONDS = 0.5

logger = logging.getLogger(__name__)


class Progress:
    """Show one bar over all iterations of all epochs, with the loss terms, the last key metric and the time left.

    Where the error stream is no terminal, it logs one line an epoch instead, with the same content. A resumed run
    starts where it stands.

    Args:
        name: what is trained, in front of each line.
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
        self.name, self.evaluators, self.terminal = name, None if evaluator is None else [evaluator], terminal
        self._bar: tqdm | None = None
        self._began = self._refreshed = 0.0
        self._first = 0

    def attach(self, engine: Engine) -> None:
        """Follow ``engine``, a trainer; the place among its handlers does not matter."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._step)
        engine.add_event_handler(Events.COMPLETED, self._close)
        on_failure(engine, self._close)

    def _start(self, engine: Engine) -> None:
        run_late(engine, Events.EPOCH_COMPLETED, self._epoch)
        self._began, self._first = time.monotonic(), engine.state.iteration
        terminal = sys.stderr.isatty() if self.terminal is None else self.terminal
        if terminal and getattr(engine.state, "rank", 0) == 0:
            total, begin = _total(engine), self._first
            self._bar = tqdm(desc=self.name, total=total, initial=begin, unit="it", file=sys.stderr, dynamic_ncols=True)

    def _step(self, engine: Engine) -> None:
        if self._bar is None:
            return
        now = time.monotonic()
        if now - self._refreshed > _REFRESH_SECONDS:
            self._refreshed = now
            self._show({f"loss/{name}": float(value) for name, value in loss_terms(engine).items()}, engine)
        self._bar.update(engine.state.iteration - self._bar.n)

    def _epoch(self, engine: Engine) -> None:
        averages = epoch_metrics(engine, [])
        if self._bar is not None:
            self._show(averages, engine)
        elif getattr(engine.state, "rank", 0) == 0:
            self._log(averages, engine)

    def _show(self, losses: dict[str, float], engine: Engine) -> None:
        if self._bar is not None:
            self._bar.set_postfix({**_terms(losses), **self._key_metrics(engine)}, refresh=False)

    def _log(self, losses: dict[str, float], engine: Engine) -> None:
        state, elapsed = engine.state, time.monotonic() - self._began
        terms = [f"{name} {value}" for name, value in {**_terms(losses), **self._key_metrics(engine)}.items()]
        total = _total(engine)
        left = "?" if total is None else tqdm.format_interval(elapsed * (total - state.iteration) / self._done(engine))
        times = f"{tqdm.format_interval(elapsed)} elapsed, {left} left"
        logger.info("%s: %s", self.name, ", ".join([f"epoch {state.epoch}/{state.max_epochs}", *terms, times]))

    def _key_metrics(self, engine: Engine) -> dict[str, str]:
        evaluators = validators_of(engine) if self.evaluators is None else self.evaluators
        names = [(e.state.key_metric_name, e.state.metrics.get(e.state.key_metric_name)) for e in evaluators]
        return {name: f"{float(value):.4f}" for name, value in names if value is not None}

    def _done(self, engine: Engine) -> int:
        return max(engine.state.iteration - self._first, 1)

    def _close(self, _: Engine, error: BaseException | None = None) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def _terms(losses: dict[str, float]) -> dict[str, str]:
    prefix = "loss/"
    return {k.removeprefix(prefix): f"{v:.4g}" for k, v in losses.items() if k.startswith(prefix)}


def _total(engine: Engine) -> int | None:
    length, epochs = engine.state.epoch_length, engine.state.max_epochs
    return length * epochs if length and epochs else None
