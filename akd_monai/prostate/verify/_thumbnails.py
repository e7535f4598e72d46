# SPDX-License-Identifier: Apache-2.0
"""Recognise one scan in two files: by its voxels, or by a coarse picture of the volume, also when mirrored."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from akd_monai.data.geometry import Array, turned_to

__all__ = ["THUMBNAIL_SHAPE", "alike", "thumbnail", "voxel_hash"]

THUMBNAIL_SHAPE = (24, 24, 12)

_SAME_SCAN = 0.98
# All sets of axes along which a volume can be mirrored, none included.
_FLIPS = [axes for count in range(4) for axes in itertools.combinations((0, 1, 2), count)]


def voxel_hash(values: NDArray[Any]) -> str:
    """Return a hash of the voxels and the shape, whatever the file's type, compression or header."""
    digest = hashlib.sha256(repr(values.shape).encode())
    digest.update(np.ascontiguousarray(values, dtype="<f8").tobytes())
    return digest.hexdigest()


def thumbnail(values: NDArray[Any], affine: Array | None) -> Array:
    """Return a small picture of a volume, LPS, mean 0 and length 1, so that a dot product is a correlation.

    A linear change of the grey values and another voxel size do not matter; another field of view does.

    Args:
        values: grey values ``[i, j, k]``.
        affine: their grid, ``None`` if unknown.

    Returns:
        an array of :data:`THUMBNAIL_SHAPE`.
    """
    from scipy import ndimage

    volume = np.asarray(values, dtype=np.float32)
    if affine is not None:
        volume = turned_to(volume, affine, "LPS")[0]
    factors = [n / target for n, target in zip(volume.shape, THUMBNAIL_SHAPE, strict=True)]
    smooth = ndimage.gaussian_filter(volume, [max(0.0, 0.5 * (factor - 1)) for factor in factors])
    # Sampled at the centres of the small voxels, so that turning the volume turns the thumbnail.
    axes = [(np.arange(target) + 0.5) * factor - 0.5 for target, factor in zip(THUMBNAIL_SHAPE, factors, strict=True)]
    points = np.stack(np.meshgrid(*axes, indexing="ij"))
    picture: Array = ndimage.map_coordinates(smooth, points, order=1, mode="nearest").astype(np.float64)
    picture -= picture.mean()
    length = float(np.linalg.norm(picture))
    return picture / length if length > 0 else picture


def alike(thumbnails: Sequence[Array], threshold: float = _SAME_SCAN) -> list[tuple[int, int, float]]:
    """Return pairs of thumbnails that correlate by more than ``threshold``, as they are or mirrored along any axes.

    Returns:
        index of the first, index of the second, correlation.

    Example:
        >>> picture = np.random.default_rng(0).normal(size=THUMBNAIL_SHAPE)
        >>> picture = (picture - picture.mean()) / np.linalg.norm(picture - picture.mean())
        >>> [(first, second) for first, second, _ in alike([picture, -picture, picture[::-1]])]
        [(0, 2)]
    """
    if len(thumbnails) < 2:
        return []
    stacked = np.stack(thumbnails)
    count = len(stacked)
    plain = stacked.reshape(count, -1)
    best = np.full((count, count), -1.0)
    for axes in _FLIPS:
        mirrored = np.flip(stacked, axis=tuple(axis + 1 for axis in axes))
        best = np.maximum(best, plain @ mirrored.reshape(count, -1).T)
    firsts, seconds = np.nonzero(np.triu(best > threshold, k=1))
    return [(int(i), int(j), float(best[i, j])) for i, j in zip(firsts, seconds, strict=True)]
