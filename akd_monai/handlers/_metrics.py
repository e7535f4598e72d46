# SPDX-License-Identifier: Apache-2.0
"""The numbers of an iteration and of an epoch, each in one dictionary."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine
from monai.engines import Evaluator
from monai.utils.enums import CommonKeys as Keys

from akd_monai.handlers._events import validators_of

__all__ = ["BEST_EPOCH", "best_validation", "epoch_metrics", "loss_terms", "total_loss"]

BEST_EPOCH = "best_epoch"

_NUMERIC = (torch.Tensor, np.ndarray, np.generic, list, tuple, int, float)


def loss_terms(engine: Engine) -> dict[str, torch.Tensor]:
    """Return the terms of the current iteration: ``engine.state.loss_terms``, or the complete loss as ``"task"``."""
    terms = getattr(engine.state, "loss_terms", None)
    if terms:
        return dict(terms)
    loss = total_loss(engine)
    return {} if loss is None else {"task": loss.detach()}


def total_loss(engine: Engine) -> torch.Tensor | None:
    """Return what the current iteration minimises, or None where the engine does not say."""
    output = engine.state.output
    return output.get(Keys.LOSS) if isinstance(output, Mapping) else None


def epoch_metrics(engine: Engine, evaluators: Sequence[Evaluator] | None = None) -> dict[str, float]:
    """Return the metrics of ``engine`` and of the validation of this very epoch, and the learning rate.

    A metric of several numbers, such as one a class, becomes ``name/0``, ``name/1`` and so on. Undefined values stay
    NaN.

    Args:
        engine: trainer, or an evaluator on its own.
        evaluators: those whose metrics are added; by default those that a ``ValidationHandler`` of ``engine`` runs.

    Example:
        >>> engine = Engine(lambda engine, batch: None)
        >>> engine.state.metrics = {"loss/task": torch.tensor(0.5), "dice": [0.75, 1.0]}
        >>> epoch_metrics(engine)
        {'loss/task': 0.5, 'dice/0': 0.75, 'dice/1': 1.0}
    """
    found: dict[str, float] = {}
    _add(found, engine.state.metrics)
    for evaluator in validators_of(engine) if evaluators is None else evaluators:
        # An evaluator that did not run in this epoch still holds the metrics of an earlier one.
        if evaluator.state.epoch == engine.state.epoch:
            _add(found, evaluator.state.metrics)
    optimizer = getattr(engine, "optimizer", None)
    if optimizer is not None:
        found["lr"] = float(optimizer.param_groups[0]["lr"])
    return found


def best_validation(trainer: Engine, evaluators: Sequence[Evaluator] | None = None) -> dict[str, float]:
    """Return the best value of the key metric so far, as ``best_val_dice`` for ``val_mean_dice``, and its ``best_epoch``.

    Args:
        trainer: who is validated.
        evaluators: as for :func:`epoch_metrics`; the first with a validation counts.
    """
    for evaluator in validators_of(trainer) if evaluators is None else evaluators:
        name = getattr(evaluator.state, "key_metric_name", None)
        epoch = int(getattr(evaluator.state, "best_metric_epoch", 0) or 0)
        # MONAI counts epochs from 1, and takes a first NaN for the best
        if name is not None and epoch > 0 and math.isfinite(evaluator.state.best_metric):
            return {f"best_{name.replace('mean_', '')}": float(evaluator.state.best_metric), BEST_EPOCH: float(epoch)}
    return {}


def _add(found: dict[str, float], metrics: dict[str, Any], prefix: str = "") -> None:
    for name, value in metrics.items():
        path = f"{prefix}{name}"
        if isinstance(value, dict):
            _add(found, value, f"{path}/")
        elif isinstance(value, _NUMERIC):
            numbers = _numbers(value)
            if len(numbers) == 1:
                found[path] = numbers[0]
            else:
                found.update({f"{path}/{i}": number for i, number in enumerate(numbers)})


def _numbers(value: Any) -> list[float]:
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu()
    numbers: list[float] = torch.as_tensor(value, dtype=torch.float64).flatten().tolist()
    return numbers
