# SPDX-License-Identifier: Apache-2.0
"""All numbers of an epoch in one dictionary."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine
from monai.engines import Evaluator

from akd_monai.handlers.events import validators_of


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


def _add(found: dict[str, float], metrics: dict[str, Any], prefix: str = "") -> None:
    for name, value in metrics.items():
        key = f"{prefix}{name}"
        if isinstance(value, dict):
            _add(found, value, f"{key}/")
        elif isinstance(value, (torch.Tensor, np.ndarray, np.generic, list, tuple, int, float)):
            value = value.detach().cpu() if isinstance(value, torch.Tensor) else value
            numbers = torch.as_tensor(value, dtype=torch.float64).flatten().tolist()
            whole = len(numbers) == 1
            found.update({key if whole else f"{key}/{i}": number for i, number in enumerate(numbers)})
