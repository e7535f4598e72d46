# SPDX-License-Identifier: Apache-2.0
"""Vectors of length 1, with a gradient that stays finite where there is no direction."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["centred_units", "unit_vectors"]

_TINY = 1e-12
# a standard deviation below this is rounding in float32
_CONSTANT = 1e-6


def unit_vectors(values: Tensor, dim: int, tiny: float = _TINY) -> Tensor:
    """Return ``values`` scaled to length 1 along ``dim``.

    A vector no longer than ``tiny``, such as a pixel at which every channel is 0, becomes 0 and receives no gradient.

    Example:
        >>> unit_vectors(torch.tensor([[3.0, 4.0], [0.0, 0.0]]), 1)
        tensor([[0.6000, 0.8000],
                [0.0000, 0.0000]])
    """
    length = values.norm(dim=dim, keepdim=True)
    has_direction = length > tiny
    scale = torch.where(has_direction, length, torch.ones_like(length)).reciprocal()
    return values * torch.where(has_direction, scale, torch.zeros_like(scale))


def centred_units(values: Tensor, dim: int) -> Tensor:
    """Return ``values`` less their mean along ``dim``, of length 1, so that an inner product is Pearson's correlation.

    A vector whose standard deviation is below 1e-6 is constant but for rounding, and becomes 0.

    Example:
        >>> centred_units(torch.tensor([[1.0, 3.0], [2.0, 2.0]]), 1)
        tensor([[-0.7071,  0.7071],
                [ 0.0000,  0.0000]])
    """
    centred = values - values.mean(dim, keepdim=True)
    return unit_vectors(centred, dim, _CONSTANT * values.shape[dim] ** 0.5)
