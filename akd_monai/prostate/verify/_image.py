# SPDX-License-Identifier: Apache-2.0
"""Checks of an image by itself: its values, voxel size and field of view."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from akd_monai.data.gate import check_voxels, constant_value, poor_contrast
from akd_monai.data.geometry import Array, orientation_of, spacing_of
from akd_monai.data.nifti import FileError
from akd_monai.prostate._plausible import FIELD_OF_VIEW_MM, SLICE_DISTANCE_MM, within
from akd_monai.prostate.verify._check import CaseCheck
from akd_monai.prostate.verify._file import CheckedFile, turned_to_lps
from akd_monai.prostate.verify._thumbnails import thumbnail, voxel_hash

__all__ = ["check_image"]

_IN_PLANE_MM = (0.1, 2.0)


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
    _check_values(check, name, image)
    if image.affine is not None:
        _check_spacing(check, name, image.array.shape, image.affine, synthetic)


def _check_values(check: CaseCheck, name: str, image: CheckedFile) -> None:
    _add_facts(check, image.array)
    try:
        check_voxels(image.array)
    except FileError as problem:
        check.error(name, problem.code, problem.what, problem.remedy)
        return
    constant = constant_value(image.array)
    if constant is not None:
        check.warning(name, "constant", f"every voxel is {constant:g}", "check whether the image is the right one")
        return
    contrast = poor_contrast(image.array)
    if contrast:
        check.warning(name, "contrast", contrast, "check whether the image is the right one")
    check.voxels = voxel_hash(image.array)
    check.thumbnail = thumbnail(image.array, image.affine)


def _add_facts(check: CaseCheck, values: NDArray[Any]) -> None:
    with np.errstate(over="ignore", invalid="ignore"):
        mean = round(float(values.mean(dtype=np.float64)), 3)
    for fact, value in (("min", float(values.min())), ("max", float(values.max())), ("mean", mean)):
        # the sum of extreme values overflows, and JSON knows neither infinity nor NaN
        check.facts[fact] = value if math.isfinite(value) else None


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
