# SPDX-License-Identifier: Apache-2.0
"""The named terms of a loss, averaged over an epoch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.engines import IterationEvents

from akd_monai.handlers._events import run_first
from akd_monai.handlers._metrics import loss_terms, total_loss
from akd_monai.handlers.run_member import RunMember

__all__ = ["LossTerms"]


class LossTerms(RunMember):
    """Average every term of the loss over an epoch into ``engine.state.metrics["loss/<name>"]``.

    ``loss/total`` is the average of what is minimised. Averages are over the iterations in which a term was computed. A
    run resumed within an epoch by :class:`ResumableCheckpoint` averages over the complete epoch.

    Example:
        >>> from monai.engines import SupervisedTrainer
        >>> network = torch.nn.Conv2d(1, 1, 1)
        >>> batch = {"image": torch.ones(1, 1, 2, 2), "label": torch.ones(1, 1, 2, 2)}
        >>> trainer = SupervisedTrainer(
        ...     device="cpu", max_epochs=1, train_data_loader=[batch], network=network,
        ...     optimizer=torch.optim.SGD(network.parameters(), lr=0.1), loss_function=torch.nn.MSELoss(),
        ...     train_handlers=[LossTerms()])
        >>> trainer.run()
        >>> sorted(trainer.state.metrics)
        ['loss/task', 'loss/total']
    """

    def __init__(self) -> None:
        # Kept on the device until the epoch ends, so that no step waits for a number.
        self._values: dict[str, list[torch.Tensor]] = {}

    def attach(self, engine: Engine) -> None:
        """Follow ``engine``, a trainer; handlers that log metrics find the averages at any position."""
        engine.add_event_handler(IterationEvents.LOSS_COMPLETED, self._collect)
        run_first(engine, Events.EPOCH_COMPLETED, self._publish)

    def run_state(self) -> dict[str, Any]:
        """Return the values of the unfinished epoch."""
        state = {}
        for name, values in self._values.items():
            state[name] = torch.stack([value.cpu() for value in values])
        return state

    def start_run(self, state: Mapping[str, Any] | None) -> None:
        """Continue with the values of an unfinished epoch, or with none."""
        self._values = {name: list(values) for name, values in (state or {}).items()}

    def _collect(self, engine: Engine) -> None:
        values = loss_terms(engine)
        total = total_loss(engine)
        if total is not None:
            values["total"] = total
        for name, value in values.items():
            self._values.setdefault(name, []).append(value.detach().float())

    def _publish(self, engine: Engine) -> None:
        for name, values in self._values.items():
            # float64, and one by one: the same sum whether or not the epoch was interrupted
            numbers = torch.stack([value.cpu() for value in values]).tolist()
            engine.state.metrics[f"loss/{name}"] = sum(numbers) / len(numbers)
        self._values = {}
