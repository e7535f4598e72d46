# SPDX-License-Identifier: Apache-2.0
"""Linear and nearest interpolation along axes, as ``torch.nn.functional.interpolate`` and MONAI's ``Spacing`` do it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["resampled", "resized"]

_Values = NDArray[Any]


def resized(array: _Values, shape: Sequence[int], *, nearest: bool = False) -> _Values:
    """Return ``[C, X, Y, Z]`` with other spatial sizes, as ``interpolate(mode="trilinear", align_corners=False)``.

    Places are computed in single precision and the last axis comes first, as PyTorch does both: values are equal but for
    the rounding of single operations.

    Args:
        array: float32, channels first.
        shape: the spatial sizes.
        nearest: take the value of the nearest voxel, as ``mode="nearest"``.

    Example:
        >>> resized(np.array([[[[0.0, 4.0]]]], np.float32), (1, 1, 4)).ravel().tolist()
        [0.0, 1.0, 3.0, 4.0]
    """
    for axis in reversed(range(1, array.ndim)):
        n_in = array.shape[axis]
        n_out = shape[axis - 1]
        if n_in == n_out:
            continue
        scale = np.float32(n_in / n_out)
        if nearest:
            places = np.floor(np.arange(n_out, dtype=np.float32) * scale)
        else:
            places = scale * (np.arange(n_out, dtype=np.float32) + np.float32(0.5)) - np.float32(0.5)
        array = _at(array, axis, places, nearest)
    return array


def resampled(
    array: _Values,
    steps: Sequence[float],
    shape: Sequence[int],
    *,
    starts: Sequence[float] = (0, 0, 0),
    nearest: bool = False,
) -> _Values:
    """Return ``[C, X, Y, Z]`` at every ``steps`` voxels, from ``starts`` on; the edge is held beyond the ends.

    Args:
        array: channels first.
        steps: distance of two new voxels along each axis, in old ones.
        shape: the new spatial sizes.
        starts: place of the first new voxel along each axis, in old ones.
        nearest: take the value of the nearest voxel.

    Example:
        >>> resampled(np.array([[[[0.0, 4.0, 8.0]]]]), (1, 1, 0.5), (1, 1, 6)).ravel().tolist()
        [0.0, 2.0, 4.0, 6.0, 8.0, 8.0]
    """
    for axis in range(1, array.ndim):
        places = np.arange(shape[axis - 1]) * steps[axis - 1] + starts[axis - 1]
        if array.shape[axis] == len(places) and np.abs(places - np.arange(len(places))).max() < 1e-9:
            continue
        if nearest:
            # halves go to the even neighbour, as in PyTorch
            places = np.rint(places)
        array = _at(array, axis, places, nearest)
    return array


def _at(array: _Values, axis: int, places: _Values, nearest: bool) -> _Values:
    """Return the values at ``places`` along an axis; beyond the ends the edge is held."""
    # take would copy an array that lies in another order in memory
    order = sorted(range(array.ndim), key=lambda number: -abs(array.strides[number]))
    found = _at_in_order(array.transpose(order), order.index(axis), places, nearest)
    return found.transpose(np.argsort(order))


def _at_in_order(array: _Values, axis: int, places: _Values, nearest: bool) -> _Values:
    last = array.shape[axis] - 1
    places = np.clip(places, 0, last)
    low = places.astype(np.intp)
    if nearest:
        return array.take(low, axis)
    weight = (places - low).astype(places.dtype).reshape([-1] + [1] * (array.ndim - 1 - axis))
    result = array.take(low, axis)
    result *= 1 - weight
    upper = array.take(np.minimum(low + 1, last), axis)
    upper *= weight
    result += upper
    return result
