# SPDX-License-Identifier: Apache-2.0
"""A warning about terms that are larger than the task loss when a training starts."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from torch import Tensor

from akd_monai.engines._semi_supervised import TERM

__all__ = ["warn_of_large_terms"]

logger = logging.getLogger(__name__)


_TASK = "task"


def warn_of_large_terms(values: Mapping[str, Tensor]) -> None:
    """Log one line if weighted terms are above the task loss, which they would outweigh.

    Args:
        values: the weighted terms of the first step and the task loss, as ``"task"``. The loss of images without labels is
            one of the same kind, and not compared with it.
    """
    task = float(values[_TASK]) if _TASK in values else 0.0
    if not task > 0:
        return
    sizes = {name: float(value) for name, value in values.items() if name not in (_TASK, TERM)}
    large = [f"{name} {size:.3g}" for name, size in sizes.items() if size > task]
    if large:
        logger.warning(
            "At the first step %s, weighted, %s above the task loss of %.3g and may outweigh the labels: lower the weight "
            "(lambda_NAME), raise it slowly (distillation#terms#NAME#schedule), or make weights shares of the task loss "
            "(distillation#balance).",
            " and ".join(large),
            "is" if len(large) == 1 else "are",
            task,
        )
