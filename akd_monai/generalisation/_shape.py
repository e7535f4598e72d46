# SPDX-License-Identifier: Apache-2.0
"""Outlines of segmentations: how compact a predicted shape is, and how alike contours are in feature space."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["background_ring", "compactness", "contour", "masked_mean", "triplet_semihard"]

_LENGTH_SCALE = 0.01
_EPSILON = 1e-8


def compactness(probability: Tensor) -> Tensor:
    r"""Return how far each shape is from a disc: 0.0001 for a disc of smooth outline, more for any other shape.

    .. math::
        \frac{P^2}{4 \pi A}, \quad P = 0.01 \sum_{i, j \ge 1} \sqrt{(p_{ij} - p_{i-1, j})^2 + (p_{ij} - p_{i, j-1})^2
        + 10^{-8}}, \quad A = \max(1, \sum p)

    The factor 0.01 makes the isoperimetric ratio, 1 for a disc, 0.0001. The area is at least a pixel, so that an empty
    prediction has no pole.

    Args:
        probability: of the shape, ``[B, H, W]``, 0 to 1.

    Returns:
        One value an image, ``[B]``.

    Example:
        >>> square = torch.zeros(1, 8, 8, dtype=torch.float64)
        >>> square[0, 2:6, 2:6] = 1  # 14 pixels of step 1, one of step sqrt(2), and 34 of 0
        >>> round(compactness(square).item() * 4 * math.pi * 16 * 1e4, 2)
        237.7
    """
    rows = probability[:, 1:, 1:] - probability[:, :-1, 1:]
    columns = probability[:, 1:, 1:] - probability[:, 1:, :-1]
    length = _LENGTH_SCALE * (rows.square() + columns.square() + _EPSILON).sqrt().sum((1, 2))
    area = probability.sum((1, 2)).clamp(min=1)
    return length.square() / (4 * math.pi * area)


def contour(mask: Tensor) -> Tensor:
    """Return the pixels of a mask ``[B, H, W]`` of 0 and 1 with one of four neighbours outside it or the image."""
    return mask * (1 - _eroded(mask))


def background_ring(mask: Tensor, width: int = 5) -> Tensor:
    """Return the pixels outside a mask ``[B, H, W]`` from which it is reached in at most ``width`` steps of a pixel."""
    grown = mask
    for _ in range(width):
        grown = _dilated(grown)
    return grown * (1 - mask)


def masked_mean(features: Tensor, mask: Tensor) -> Tensor:
    """Return the mean of features ``[C, h, w]`` over a mask ``[H, W]`` that is not empty, brought to their size by area."""
    height, width = features.shape[1:]
    share = F.adaptive_avg_pool2d(mask[None].to(features.dtype), (height, width))
    return (features * share).sum((1, 2)) / share.sum()


def triplet_semihard(embeddings: Tensor, labels: Tensor, margin: float) -> Tensor:
    r"""Return the triplet loss over all pairs of one label, each with its semi-hard negative.

    .. math:: \mathrm{mean}_{(a, p)} \max(0, m + d_{ap} - d_{an})

    d is the squared distance. The negative n of a pair is the nearest one that is farther from a than p is; where there
    is none, the farthest. Without a pair of one label, or without a negative, the loss is 0.

    Args:
        embeddings: ``[N, D]``.
        labels: ``[N]``, integers.
        margin: m, above 0.

    Source: Schroff et al., 2015, arXiv:1503.03832, section 3.2, for semi-hard negatives.
    """
    distance = (embeddings[:, None] - embeddings[None]).square().sum(2)
    same = labels[:, None] == labels[None]
    pairs = (same & ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)).nonzero()
    if not len(pairs) or bool(same.all()):
        return embeddings.sum() * 0
    anchor, positive = pairs.unbind(1)
    of_pair = distance[anchor, positive]
    candidates = distance[anchor]
    is_negative = ~same[anchor]
    is_farther = is_negative & (candidates > of_pair[:, None])
    nearest = candidates.masked_fill(~is_farther, math.inf).amin(1)
    farthest = candidates.masked_fill(~is_negative, -math.inf).amax(1)
    negative = torch.where(is_farther.any(1), nearest, farthest)
    return (margin + of_pair - negative).clamp(min=0).mean()


def _dilated(mask: Tensor) -> Tensor:
    """Grow a mask by its four neighbours; nothing grows in from outside the image."""
    maps = mask[:, None]
    rows = F.max_pool2d(maps, (3, 1), stride=1, padding=(1, 0))
    columns = F.max_pool2d(maps, (1, 3), stride=1, padding=(0, 1))
    return torch.maximum(rows, columns)[:, 0]


def _eroded(mask: Tensor) -> Tensor:
    """Shrink a mask by its four neighbours; what is outside the image is outside the mask."""
    outside = _dilated(F.pad(1 - mask, (1, 1, 1, 1), value=1.0))
    return 1 - outside[:, 1:-1, 1:-1]
