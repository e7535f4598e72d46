# SPDX-License-Identifier: Apache-2.0
"""Training of feature adapters beside the student."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, cast

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from monai.engines import SupervisedTrainer
from torch import nn

from akd_monai.errors import InputError, one_line

__all__ = ["AdapterOptimizer"]


class AdapterOptimizer:
    """Step the adapters whenever the student's optimizer steps, with the same class, settings and learning rate.

    A second optimizer is used, rather than a further parameter group of the student's, because the student's scheduler
    already exists when the adapters are built and would not know the new group; and so the student's optimizer state
    stays that of a plain student.

    Args:
        trainer: its ``optimizer`` is followed; its gradient scaler, accumulation steps and process group are honoured.
        parameters: the adapters' parameters, at least one.
    """

    def __init__(self, trainer: SupervisedTrainer, parameters: Sequence[nn.Parameter]) -> None:
        self._trainer = trainer
        self._parameters = list(parameters)
        self.optimizer = _like(trainer.optimizer, self._parameters)
        trainer.add_event_handler(Events.ITERATION_STARTED, self._zero_grad)
        # Fires for real steps, not between accumulated batches.
        trainer.optimizer.register_step_post_hook(self._step)

    @classmethod
    def follow(cls, trainer: SupervisedTrainer, parameters: Sequence[nn.Parameter]) -> torch.optim.Optimizer | None:
        """Attach to ``trainer`` and return the adapters' optimizer, or None when there is nothing to train."""
        if not parameters:
            return None
        return cls(trainer, parameters).optimizer

    def _zero_grad(self, engine: Engine) -> None:
        length = engine.state.epoch_length or engine.state.iteration
        if (engine.state.iteration - 1) % length % getattr(self._trainer, "accumulation_steps", 1) == 0:
            self.optimizer.zero_grad()

    def _step(self, student: torch.optim.Optimizer, *_: Any) -> None:
        # After an overflow the scaler does not call a plain optimizer; it calls a fused one, which then skips the step.
        if bool(getattr(student, "found_inf", False)):
            return
        self._average_gradients()
        for group in self.optimizer.param_groups:
            group["lr"] = student.param_groups[0]["lr"]
        if self._trainer.scaler is not None:
            self._trainer.scaler.step(self.optimizer)
        else:
            self.optimizer.step()

    def _average_gradients(self) -> None:
        """Give every process the mean gradient, as ``DistributedDataParallel`` does for the student."""
        processes = idist.get_world_size()
        if processes == 1:
            return
        for parameter in self._parameters:
            if parameter.grad is not None:
                # the sum is returned in place, or as a copy where the backend works on another device
                total = cast(torch.Tensor, idist.all_reduce(parameter.grad))
                parameter.grad = total / processes


def _like(optimizer: torch.optim.Optimizer, parameters: Sequence[nn.Parameter]) -> torch.optim.Optimizer:
    """Return an optimizer for ``parameters`` of the class and the settings of another one.

    Raises:
        InputError: if the class cannot train such parameters.
    """
    kind = type(optimizer)
    accepted = _accepted(kind)
    # some classes keep more than their constructor takes
    settings = {name: value for name, value in optimizer.defaults.items() if name in accepted}
    try:
        _check_kind(optimizer)
        return kind(parameters, **settings)
    except Exception as error:
        raise InputError(
            f"adapters on the student's features cannot be trained by {kind.__name__} ({one_line(error)})",
            remedy="choose another optimizer, or leave out the terms that have an adapter (the Gram term)",
        ) from error


def _accepted(kind: type) -> set[str]:
    """Return the arguments that a class takes, those of its bases where it passes on what it does not name."""
    names: set[str] = set()
    for base in kind.__mro__:
        if "__init__" not in vars(base):
            continue
        parameters = inspect.signature(vars(base)["__init__"]).parameters
        names |= set(parameters)
        if not any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values()):
            break
    return names


def _check_kind(optimizer: torch.optim.Optimizer) -> None:
    if isinstance(optimizer, torch.optim.SparseAdam):
        raise TypeError("it takes sparse gradients only")
    closure = inspect.signature(type(optimizer).step).parameters.get("closure")
    if closure is not None and closure.default is inspect.Parameter.empty:
        raise TypeError("its step needs a closure")
