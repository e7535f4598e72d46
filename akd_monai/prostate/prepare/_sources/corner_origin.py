# SPDX-License-Identifier: Apache-2.0
"""Pair a DICOM series with a label whose header gives the corner of the first voxel, not its centre (NCI-ISBI 2013)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from akd_monai.data.geometry import GRID_TOLERANCE_MM, Array, corner_distance_mm, shifted, spacing_of
from akd_monai.prostate.flip_evidence import flip_evidence
from akd_monai.prostate.prepare._sources.base import CaseError, Pair, Volume, gland_of
from akd_monai.prostate.prepare._sources.pairing import sizes_of

__all__ = ["pair_corner_origin"]

# Log-likelihood ratio along the slices below which a label may be upside down.
_DOUBT = -4.0
# Largest distance, in voxels of the label, of the image's corner voxels from voxels of the label.
_BLOCK_TOLERANCE = 0.1


def pair_corner_origin(image: Volume, label: Volume, label_file: str, *, both_orders: bool = False) -> Pair:
    """Pair an image with a label whose true grid is its header's, moved by half a voxel.

    Equal shapes pair by index, because the directions of many such headers are wrong; the header only decides when it
    clearly says that the slices run the other way. Other shapes pair by position: the image must be a block of the
    label's grid.

    Args:
        image: the DICOM series.
        label: the label as read.
        label_file: its name, for messages.
        both_orders: also ask the image whether the label would fit better upside down, and warn if so.

    Raises:
        CaseError: if shapes differ and the positions do not match.
    """
    label = gland_of(label)
    values = label.array
    corrected = shifted(label.affine, (0.5, 0.5, 0.5))
    if values.shape != image.array.shape:
        block = _block(image, label, corrected, label_file)
        note = f"the label covers {values.shape[2]} slices, the image {image.array.shape[2]}: paired by position"
        return Pair(image, label.with_array(values[block], image.affine), (note,))
    values, warnings, flips = _in_slice_order(image, values, corrected)
    if both_orders and flip_evidence(image.array, values, image.affine)["S"] < _DOUBT:
        warnings.append("the label may be upside down: check the case, and give its patient ID as flip_labels if so")
    return Pair(image, label.with_array(values, image.affine), tuple(warnings), tuple(flips))


def _in_slice_order(
    image: Volume, values: NDArray[np.uint8], label_affine: Array
) -> tuple[NDArray[np.uint8], list[str], list[str]]:
    """Return the label in the slice order of the image, with warnings and what was turned."""
    distance = corner_distance_mm(image.affine, label_affine, values.shape)
    if distance <= GRID_TOLERANCE_MM:
        return values, [], []
    opposite = shifted(label_affine, (0, 0, values.shape[2] - 1)) @ np.diag([1.0, 1.0, -1.0, 1.0])
    if corner_distance_mm(image.affine, opposite, values.shape) <= GRID_TOLERANCE_MM:
        warning = "the label's slices ran the other way and were reversed: check the case once"
        return np.ascontiguousarray(values[:, :, ::-1]), [warning], ["label: slices reversed, as its header says"]
    warning = f"paired by index: the label's header puts it {distance:.1f} mm beside the image"
    return values, [warning], []


def _block(image: Volume, label: Volume, label_affine: Array, label_file: str) -> tuple[slice, ...]:
    """Return the block of the label's grid that is the image's grid, to a tenth of a voxel."""
    shape = np.array(image.array.shape)
    to_label = np.linalg.inv(label_affine) @ image.affine
    start = to_label[:3, 3]
    end = (to_label @ [*(shape - 1), 1])[:3]
    first = np.round(start).astype(int)
    after = first + shape
    off_grid = max(np.abs(start - first).max(), np.abs(end - (after - 1)).max())
    if off_grid > _BLOCK_TOLERANCE or (first < 0).any() or (after > np.array(label.array.shape)).any():
        spacings = [_spacing(image.affine), _spacing(label_affine)]
        what = (
            f"shapes differ ({sizes_of(image, label)}) and the image is no block of the label's grid: its first and "
            f"last voxel lie at label voxels {_point(start)} and {_point(end)} "
            f"(mm a voxel: {spacings[0]} and {spacings[1]})"
        )
        remedy = "fetch the label that was drawn on this series"
        raise CaseError(what, remedy=remedy, where=label_file, code="shape-mismatch")
    return tuple(slice(int(begin), int(stop)) for begin, stop in zip(first, after, strict=True))


def _spacing(affine: Array) -> str:
    return " x ".join(f"{mm:.2f}" for mm in spacing_of(affine))


def _point(index: Sequence[float] | NDArray[Any]) -> str:
    return "(" + ", ".join(f"{value:.1f}" for value in index) + ")"
