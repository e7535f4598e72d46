# SPDX-License-Identifier: Apache-2.0
"""Weights by which every class counts alike."""

from __future__ import annotations

import torch
from torch import Tensor

from akd_monai.losses._affinity.options import AffinityOptions
from akd_monai.losses._affinity.windows import half_windows, same_and_different

__all__ = ["balanced_weights"]


def balanced_weights(labels: Tensor, valid: Tensor | None, options: AffinityOptions, dtype: torch.dtype) -> Tensor:
    """Return the weight of the equal-label pairs of each pixel that makes every class with such a pair count alike.

    Args:
        labels: ``[B, *spatial]``, integers.
        valid: mask of the pixels that count, or ``None`` for all.
        options: the window.
        dtype: of the weights.

    Returns:
        ``[B, *spatial]``: ``1 / (classes with pairs * ordered pairs of the pixel's class)``; over all ordered
        pairs the weights sum to 1, and to 0 where there is no pair.
    """
    pairs = torch.zeros_like(labels, dtype=torch.int64)
    for i, j in half_windows(tuple(labels.shape[1:]), options):
        same, _ = same_and_different(labels, valid, i, j)
        pairs[(slice(None), *i)] += same
        pairs[(slice(None), *j)] += same
    classes, index = labels.unique(return_inverse=True)
    counts = torch.zeros_like(classes, dtype=torch.int64).index_add_(0, index.flatten(), pairs.flatten())
    present = counts > 0
    weights = present.to(dtype) / (present.sum() * counts).clamp(min=1)
    return weights[index]
