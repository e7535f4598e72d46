# SPDX-License-Identifier: Apache-2.0
"""Sizes of what a mask marks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from akd_monai.data.gate import odd_share
from akd_monai.data.geometry import Array, orientation_of, spacing_of

__all__ = ["ClassFigures", "mask_figures", "mask_warnings", "slice_axis"]

ClassFigures = dict[str, Any]
_AXES = {"L": "left-right", "R": "left-right", "P": "posterior-anterior", "A": "posterior-anterior"}


def mask_figures(mask: NDArray[np.uint8], affine: Array, labels: Mapping[int, str]) -> dict[str, ClassFigures]:
    """Return for each class its ``volume_ml``, its ``slices`` and its ``largest_diameters_mm``.

    A diameter is the extent of the marked voxels along an axis of the grid, the voxels included, under the name of the
    patient's axis that is closest. Slices are counted along :func:`slice_axis`.

    Args:
        mask: class numbers ``[X, Y, Z]``.
        affine: in mm, RAS.
        labels: names of the classes by their numbers.

    Example:
        >>> mask = np.zeros((10, 10, 4), np.uint8)
        >>> mask[2:7, 3:5, 1:3] = 1
        >>> figures = mask_figures(mask, np.diag([0.5, 1.0, 4.0, 1.0]), {1: "gland"})["gland"]
        >>> figures["volume_ml"], figures["slices"], figures["largest_diameters_mm"]["left-right"]
        (0.04, 2, 2.5)
    """
    voxel_ml = float(np.prod(spacing_of(affine))) / 1000
    return {name: _figures(mask == number, affine, voxel_ml) for number, name in labels.items()}


def _figures(marked: NDArray[np.bool_], affine: Array, voxel_ml: float) -> ClassFigures:
    voxels = int(marked.sum())
    along = [marked.any(axis=tuple(other for other in range(3) if other != axis)) for axis in range(3)]
    diameters = {}
    for letter, size, occupied in zip(orientation_of(affine), spacing_of(affine), along, strict=True):
        places = np.flatnonzero(occupied)
        extent = float(places[-1] - places[0] + 1) * size if len(places) else 0.0
        diameters[_AXES.get(letter, "inferior-superior")] = round(extent, 2)
    return {
        "voxels": voxels,
        "volume_ml": round(voxels * voxel_ml, 4),
        "slices": int(along[slice_axis(affine)].sum()),
        "largest_diameters_mm": diameters,
    }


def slice_axis(affine: Array) -> int:
    """Return the array axis along which the slices lie: that of the longest voxel side, the last of equal ones.

    Example:
        >>> slice_axis(np.diag([0.5, 3.0, 0.5, 1.0])), slice_axis(np.eye(4))
        (1, 2)
    """
    sizes = np.round(spacing_of(affine), 3)
    return int(2 - np.argmax(sizes[::-1]))


def mask_warnings(mask: NDArray[np.uint8]) -> Iterator[str]:
    """Yield what is odd about a mask: it is empty, marks nearly everything, or reaches a face of the volume.

    Example:
        >>> list(mask_warnings(np.zeros((4, 4, 2), np.uint8)))
        ['the mask is empty, no voxel is marked']
    """
    share = odd_share(mask)
    if share:
        yield share
        return
    faces = [face for axis in range(3) for face in (mask.take(0, axis), mask.take(-1, axis))]
    if any(face.any() for face in faces):
        yield "the mask reaches the edge of the volume: part of the organ may lie outside"
