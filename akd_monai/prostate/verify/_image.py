# SPDX-License-Identifier: Apache-2.0
"""Checks of an image by itself: its values, voxel size and field of view."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from akd_monai.data.geometry import Array, orientation_of, spacing_of
from akd_monai.prostate._plausible import FIELD_OF_VIEW_MM, SLICE_DISTANCE_MM, within
from akd_monai.prostate.verify._check import CaseCheck
from akd_monai.prostate.verify._file import CheckedFile, turned_to_lps
from akd_monai.prostate.verify._thumbnails import thumbnail, voxel_hash

__all__ = ["check_image"]

_IN_PLANE_MM = (0.1, 2.0)
_EXTREME = 1e30


def check_image(check: CaseCheck, name: str, image: CheckedFile, synthetic: bool) -> None:
    """Add findings and facts of an image.

    Args:
        check: the case.
        name: name of the file, for the findings.
        image: the file's content.
        synthetic: whether the image is synthetic, and therefore as coarse as its user asked for.
    """
    check.facts["size"] = "x".join(map(str, image.array.shape))
    if image.affine is not None:
        check.facts["orientation"] = orientation_of(image.affine)
    image = turned_to_lps(image)
    check.facts["slices"] = image.array.shape[2]
    if not _check_finite(check, name, image.array):
        return
    _check_values(check, name, image)
    if image.affine is not None:
        _check_spacing(check, name, image.array.shape, image.affine, synthetic)


def _check_finite(check: CaseCheck, name: str, values: NDArray[Any]) -> bool:
    bad = int(values.size - np.isfinite(values).sum())
    if bad:
        check.error(name, "not-finite", f"holds {bad} voxels that are NaN or Inf", "export the image again")
    return not bad


def _check_values(check: CaseCheck, name: str, image: CheckedFile) -> None:
    low = float(image.array.min())
    high = float(image.array.max())
    with np.errstate(over="ignore"):
        mean = round(float(image.array.mean(dtype=np.float64)), 3)
    for fact, value in (("min", low), ("max", high), ("mean", mean)):
        # the sum of extreme values overflows, and JSON knows no infinity
        check.facts[fact] = value if math.isfinite(value) else None
    largest = max(abs(low), abs(high))
    if largest > _EXTREME:
        check.error(name, "extreme-values", f"holds values up to {largest:.0e}", "export the image again")
    elif low == high:
        check.warning(name, "constant", f"every voxel is {low:g}", "check whether the image is the right one")
    else:
        check.voxels = voxel_hash(image.array)
        check.thumbnail = thumbnail(image.array, image.affine)


def _check_spacing(check: CaseCheck, name: str, shape: tuple[int, ...], affine: Array, synthetic: bool) -> None:
    x, y, z = spacing_of(affine)
    words = f"{x:.3g} x {y:.3g} x {z:.3g}"
    check.facts["spacing_mm"] = words
    width = shape[0] * x
    height = shape[1] * y
    limits = [
        (x, _IN_PLANE_MM),
        (y, _IN_PLANE_MM),
        (z, SLICE_DISTANCE_MM),
        (width, FIELD_OF_VIEW_MM),
        (height, FIELD_OF_VIEW_MM),
    ]
    if synthetic or all(within(value, usual) for value, usual in limits):
        return
    message = f"voxels of {words} mm and a field of view of {width:.0f} x {height:.0f} mm are unlikely for prostate MRI"
    remedy = "compare with the scanner's protocol; distances in mm depend on it"
    check.warning(name, "spacing", message, remedy)
