# SPDX-License-Identifier: Apache-2.0
"""Training of feature adapters beside the student."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.engines import SupervisedTrainer
from torch import distributed, nn


class AdapterOptimizer:
    """Step the adapters whenever the student's optimizer steps, with the same class, settings and learning rate.

    A second optimizer is used, rather than a further parameter group of the student's, because the student's scheduler
    already exists when the adapters are built and would not know the new group; and so the student's optimizer state
    stays that of a plain student.

    Args:
        trainer: the trainer whose ``optimizer`` is followed; its gradient scaler, accumulation and process group count.
        parameters: the adapters' parameters, at least one.
    """

    def __init__(self, trainer: SupervisedTrainer, parameters: Sequence[nn.Parameter]) -> None:
        self._trainer = trainer
        self._parameters = list(parameters)
        self.optimizer = type(trainer.optimizer)(self._parameters, **trainer.optimizer.defaults)
        trainer.add_event_handler(Events.ITERATION_STARTED, self._zero_grad)
        # Fires for real steps, not between accumulated batches.
        trainer.optimizer.register_step_post_hook(self._step)

    @classmethod
    def follow(cls, trainer: SupervisedTrainer, parameters: Sequence[nn.Parameter]) -> torch.optim.Optimizer | None:
        """Attach to ``trainer`` and return the adapters' optimizer, or None when there is nothing to train."""
        return cls(trainer, parameters).optimizer if parameters else None

    def _zero_grad(self, engine: Engine) -> None:
        length = engine.state.epoch_length or engine.state.iteration
        if (engine.state.iteration - 1) % length % self._trainer.accumulation_steps == 0:
            self.optimizer.zero_grad()

    def _step(self, student: torch.optim.Optimizer, *_: Any) -> None:
        # After an overflow the scaler does not call a plain optimizer; a fused one is called and told to do nothing.
        if bool(getattr(student, "found_inf", False)):
            return
        if distributed.is_available() and distributed.is_initialized():
            for parameter in self._parameters:
                if parameter.grad is not None:
                    distributed.all_reduce(parameter.grad)
                    parameter.grad /= distributed.get_world_size()
        for group in self.optimizer.param_groups:
            group["lr"] = student.param_groups[0]["lr"]
        if self._trainer.scaler is not None:
            self._trainer.scaler.step(self.optimizer)
        else:
            self.optimizer.step()
