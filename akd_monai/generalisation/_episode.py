# SPDX-License-Identifier: Apache-2.0
"""The parts of an episode of meta-learning: regions whose features are compared, compactness, clipped gradients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from akd_monai.generalisation._shape import background_ring, compactness, contour
from akd_monai.losses._checks import full_precision, wide

__all__ = ["Region", "chosen_regions", "clipped", "foreground", "metric_network", "shape_compactness"]


@dataclass(frozen=True)
class Region:
    """An image, the mask of its contour (kind 1) or of the background around it (kind 0)."""

    image: Tensor
    mask: Tensor
    kind: int


def chosen_regions(episode: Sequence[tuple[Tensor, Tensor]]) -> list[Region]:
    """Return contour and background of the first and last site, and the contour of the second, where they exist."""
    regions = []
    for place, (images, labels) in enumerate(episode):
        masks = foreground(labels)
        filled = masks.flatten(1).any(1).nonzero().flatten().tolist()
        kinds = (1,) if place == 1 else (1, 0)
        for turn, kind in enumerate(kinds if filled else ()):
            number = filled[turn % len(filled)]
            mask = masks[number][None].float()
            region = contour(mask) if kind else background_ring(mask)
            if bool(region.any()):
                regions.append(Region(images[number], region[0], kind))
    return regions


def shape_compactness(logits: Tensor, label: Tensor) -> Tensor:
    """Return the compactness of the foreground, summed over the images that have some."""
    with full_precision(logits):
        probability = wide(logits).softmax(1)[:, 1]
        has_shape = foreground(label).flatten(1).any(1)
        return compactness(probability)[has_shape].sum()


def foreground(label: Tensor) -> Tensor:
    """Return where a label ``[B, 1, H, W]`` of class indices, or ``[B, 2, H, W]`` one-hot, is foreground, ``[B, H, W]``."""
    filled: Tensor = label[:, -1] > 0
    return filled


def clipped(gradient: Tensor, largest: float) -> Tensor:
    """Return a gradient whose norm is at most ``largest``."""
    shorter: Tensor = gradient * (largest / torch.linalg.vector_norm(gradient).clamp(min=largest))
    return shorter


def metric_network(channels: int) -> nn.Module:
    """Return the network that embeds the mean features of a region: C to 24 to 16, leaky at 0.2."""
    return nn.Sequential(nn.Linear(channels, 24), nn.LeakyReLU(0.2), nn.Linear(24, 16), nn.LeakyReLU(0.2))
