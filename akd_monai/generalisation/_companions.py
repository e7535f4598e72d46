# SPDX-License-Identifier: Apache-2.0
"""Networks and optimizers beside those of a trainer: stepped with it, saved with the run, never with the network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.engines import SupervisedTrainer
from torch import nn

from akd_monai.errors import InputError
from akd_monai.handlers import RunMember
from akd_monai.keys import random_key

__all__ = ["Companions", "keyed"]


class Companions(RunMember):
    """Step the optimizer of auxiliary networks whenever the trainer's steps, and keep all of it over an interruption.

    Args:
        trainer: its ``optimizer`` is followed, its gradient scaler honoured.
        network: the auxiliary networks as one module, already on the trainer's device.
        learning_rate: of their optimizer, Adam.
        others: further objects with ``state_dict`` and ``load_state_dict`` to be kept, by name.
    """

    def __init__(
        self,
        trainer: SupervisedTrainer,
        network: nn.Module,
        learning_rate: float,
        others: Mapping[str, Any] | None = None,
    ) -> None:
        self.network = network
        self.optimizer = torch.optim.Adam(network.parameters(), lr=learning_rate)
        self._trainer = trainer
        self._parts = {"network": network, "optimizer": self.optimizer, **(others or {})}
        trainer.add_event_handler(Events.ITERATION_STARTED, self._zero_grad)
        # fires for real steps, not after an overflow
        trainer.optimizer.register_step_post_hook(self._step)

    def run_state(self) -> dict[str, Any]:
        """Return the states of the networks and optimizers."""
        return {name: part.state_dict() for name, part in self._parts.items()}

    def start_run(self, state: Mapping[str, Any] | None) -> None:
        """Put the states back; a new run keeps those it was built with."""
        if state is None:
            return
        if state.keys() != self._parts.keys():
            raise InputError(
                "the checkpoint does not hold the auxiliary networks of this training",
                remedy="resume with the configuration the run was started with, or choose another output folder",
            )
        for name, part in self._parts.items():
            part.load_state_dict(state[name])

    def _zero_grad(self, _: Engine) -> None:
        self.optimizer.zero_grad()

    def _step(self, main: torch.optim.Optimizer, *_: Any) -> None:
        # after an overflow the scaler calls a fused optimizer, which then skips the step
        if bool(getattr(main, "found_inf", False)):
            return
        # an iteration may have nothing for them, which the scaler would take for a mistake
        if all(parameter.grad is None for parameter in self.network.parameters()):
            return
        scaler = self._trainer.scaler
        if scaler is None:
            self.optimizer.step()
        else:
            scaler.step(self.optimizer)


def keyed(build: Any, *key: object) -> Any:
    """Return what ``build`` makes with random numbers of ``key`` alone; the global random state stays as it is.

    Example:
        >>> one, other = (keyed(lambda: nn.Linear(2, 2).weight, 0, "metric") for _ in range(2))
        >>> torch.equal(one, other)
        True
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(random_key(*key))
        return build()
