# SPDX-License-Identifier: Apache-2.0
"""What MONAI's handlers must remember over an interruption."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ignite.engine import Engine, Events
from monai.handlers import CheckpointSaver, EarlyStopHandler

from akd_monai.handlers._events import attached_handlers, validators_of
from akd_monai.handlers.run_member import RunMember

__all__ = ["SaverState"]

_CHECKPOINTS = ("_key_metric_checkpoint", "_interval_checkpoint", "_final_checkpoint")


class SaverState(RunMember):
    """Let MONAI's ``CheckpointSaver`` and ``EarlyStopHandler`` continue with a run that is resumed.

    Without it, the first validation after a resume counts as the best so far and replaces a better model. Kept are the
    files and metrics of every saver of the trainer and its evaluators, the counters of early stopping, and the
    evaluators' best metric.

    Example:
        >>> state = SaverState()
        >>> state.attach(Engine(lambda engine, batch: None))
        >>> state.run_state()
        {'handlers': [], 'best': []}
    """

    def __init__(self) -> None:
        self._engine: Engine | None = None

    def attach(self, engine: Engine) -> None:
        """Follow ``engine``, a trainer; the position among its handlers does not matter."""
        self._engine = engine
        # a handler without any event would not be found by a checkpoint
        engine.add_event_handler(Events.STARTED, self._started)

    def _started(self, _: Engine) -> None:
        """Nothing has to be done when the run starts."""

    def run_state(self) -> dict[str, Any]:
        """Return the handlers' states in the order in which they are attached."""
        best = []
        for engine in self._engines()[1:]:
            best.append([getattr(engine.state, name, -1) for name in ("best_metric", "best_metric_epoch")])
        return {"handlers": [dict(part.state_dict()) for part in self._parts()], "best": best}

    def start_run(self, state: Mapping[str, Any] | None) -> None:
        """Continue with the states, where they fit the handlers."""
        if not state:
            return
        parts = list(self._parts())
        if len(parts) == len(state["handlers"]):
            for part, known in zip(parts, state["handlers"], strict=True):
                part.load_state_dict(known)
        for engine, (metric, epoch) in zip(self._engines()[1:], state["best"], strict=False):
            engine.state.best_metric = metric
            engine.state.best_metric_epoch = epoch

    def _engines(self) -> list[Any]:
        return [] if self._engine is None else [self._engine, *validators_of(self._engine)]

    def _parts(self) -> Iterator[Any]:
        seen: set[int] = set()
        for engine in self._engines():
            for handler in attached_handlers(engine):
                if id(handler) in seen:
                    continue
                seen.add(id(handler))
                yield from _parts_of(handler)


def _parts_of(handler: Any) -> Iterator[Any]:
    if isinstance(handler, CheckpointSaver):
        for name in _CHECKPOINTS:
            if getattr(handler, name) is not None:
                yield getattr(handler, name)
    elif isinstance(handler, EarlyStopHandler) and handler._handler is not None:
        yield handler._handler
