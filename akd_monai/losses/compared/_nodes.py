# SPDX-License-Identifier: Apache-2.0
"""Nodes of an image, pooled from its patches, and how similar they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from torch import Tensor
from torch.nn import functional as F

from akd_monai.errors import InputError
from akd_monai.losses._unit_vectors import unit_vectors

__all__ = ["node_similarities"]

_POOLS: dict[tuple[str, int], Callable[..., Tensor]] = {
    ("max", 4): F.adaptive_max_pool2d,
    ("max", 5): F.adaptive_max_pool3d,
    ("mean", 4): F.adaptive_avg_pool2d,
    ("mean", 5): F.adaptive_avg_pool3d,
}


def node_similarities(features: Tensor, nodes: int, pool: Literal["max", "mean"]) -> Tensor:
    """Return the cosines ``[B, R, R]`` of all pairs of nodes of maps ``[B, C, *spatial]``.

    Args:
        features: of one network.
        nodes: along each axis; a node is pooled from its patch.
        pool: ``"max"`` or ``"mean"``.

    Raises:
        InputError: if a side of the map has fewer pixels than nodes.
    """
    if min(features.shape[2:]) < nodes:
        raise InputError(
            f"a map of size {list(features.shape[2:])} is smaller than {nodes} nodes along each axis",
            remedy="choose a layer of higher resolution, or fewer nodes",
        )
    pooled = _POOLS[pool, features.dim()](features, nodes)
    vectors = unit_vectors(pooled.flatten(2), 1)
    return vectors.transpose(1, 2) @ vectors
