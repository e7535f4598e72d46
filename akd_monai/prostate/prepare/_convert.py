# SPDX-License-Identifier: Apache-2.0
"""Check a pair of image and label, and bring it to the orientation and grid that are asked for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from akd_monai.data.gate import MOST_FOREGROUND, check_voxels, constant_value
from akd_monai.data.geometry import spacing_of, turned_to
from akd_monai.data.nifti import FileError
from akd_monai.prostate.prepare._grid import resized, squared
from akd_monai.prostate.prepare._sources import CaseError, Pair, Volume

__all__ = ["checked", "gridded", "reversed_label", "upright"]

_ORIENTATION = "LPS"
# A T2-weighted image has hundreds of grey values, a mask of several structures a handful.
_FEW = 16


def checked(pair: Pair) -> Pair:
    """Refuse voxels that are no numbers, store the others in 16 bits where they fit, and warn of what is odd.

    Raises:
        CaseError: for NaN, Inf and values beyond 1e30 in the image, and for a mask in its place.
    """
    values = pair.image.array
    try:
        check_voxels(values)
    except FileError as error:
        raise CaseError(f"the image {error.what}", remedy=error.remedy, code=error.code) from None
    _check_is_image(values)
    warnings = [*pair.warnings]
    constant = constant_value(values)
    if constant is not None:
        warnings.append(f"the image is constant ({constant:g})")
    warnings += _label_doubts(pair.label)
    return replace(pair, image=pair.image.with_array(_compact(values)), warnings=tuple(warnings))


def _label_doubts(label: Volume | None) -> list[str]:
    if label is None:
        return ["no label: image only"]
    share = float(label.array.mean())
    if share == 0:
        return ["the label is empty"]
    if share == 1:
        return ["the label covers every voxel"]
    if share > MOST_FOREGROUND:
        return [f"the label covers {share:.0%} of the voxels: foreground and background may be swapped"]
    return []


def _check_is_image(values: NDArray[Any]) -> None:
    """Refuse what holds a few values only, as masks do; a constant image gets a warning in place of an error."""
    found = _few_values(values)
    if len(found) > 1:
        shown = ", ".join(f"{value:g}" for value in found[:6])
        more = ", ..." if len(found) > 6 else ""
        what = f"the image holds {len(found)} different values only ({shown}{more}), as a mask does"
        remedy = "give the image; a mask is found beside it by its name, for instance case1_segmentation"
        raise CaseError(what, remedy=remedy, code="mask-as-image")


def _few_values(values: NDArray[Any]) -> NDArray[Any]:
    """Return the different values, sorted, if there are few; none of them for an image."""
    # Most images are known by a few thousand voxels, which spares sorting all of them.
    sample = values.ravel()[:: max(1, values.size // 4096)]
    for part in (sample, values):
        found = np.unique(part)
        if len(found) > _FEW:
            return found[:0]
    return found


def _compact(values: NDArray[Any]) -> NDArray[Any]:
    """Return integers that fit as int16, all else as float32."""
    limits = np.iinfo(np.int16)
    fits = values.min() >= limits.min and values.max() <= limits.max
    if fits and bool((values == np.round(values)).all()):
        return values.astype(np.int16)
    return values.astype(np.float32)


def reversed_label(pair: Pair) -> Pair:
    """Reverse the label along the slice axis; the image stays."""
    if pair.label is None:
        return pair
    label = pair.label.with_array(np.ascontiguousarray(pair.label.array[:, :, ::-1]))
    return replace(pair, label=label, flips=(*pair.flips, "label: slices reversed, as asked for"))


def upright(pair: Pair) -> Pair:
    """Turn image and label to LPS, slices last; axes are only permuted and flipped."""
    array, affine, steps = turned_to(pair.image.array, pair.image.affine, _ORIENTATION)
    label = pair.label
    if label is not None:
        turned, _, _ = turned_to(label.array, pair.image.affine, _ORIENTATION)
        label = label.with_array(turned, affine)
    warnings = [*pair.warnings]
    spacing = spacing_of(affine)
    if spacing[2] < 0.8 * max(spacing):
        shown = " x ".join(f"{mm:.2f}" for mm in spacing)
        warnings.append(f"not axial: the slice axis is not the coarsest one ({shown} mm)")
    flips = [*pair.flips, *(f"both: {step}" for step in steps)]
    image = pair.image.with_array(array, affine)
    return replace(pair, image=image, label=label, flips=tuple(flips), warnings=tuple(warnings))


def gridded(pair: Pair, *, size: int | None, crop_mm: float | None) -> Pair:
    """Crop or pad in plane to a square of ``crop_mm``, then resample in plane to ``size`` pixels a side.

    Raises:
        CaseError: if the crop cuts off part of the gland.
    """
    if size is None and crop_mm is None:
        return pair
    pair = _cropped(pair, crop_mm)
    return pair if size is None else _resampled(pair, size)


def _cropped(pair: Pair, crop_mm: float | None) -> Pair:
    array, affine = squared(pair.image.array, pair.image.affine, crop_mm)
    label = pair.label
    if label is not None:
        values, _ = squared(label.array, pair.image.affine, crop_mm)
        if crop_mm is not None and values.sum() < label.array.sum():
            what = f"a field of view of {crop_mm:g} mm cuts off part of the gland"
            raise CaseError(what, remedy="give a larger crop_mm", code="crop")
        label = label.with_array(values, affine)
    return replace(pair, image=pair.image.with_array(array, affine), label=label)


def _resampled(pair: Pair, size: int) -> Pair:
    array, affine = resized(pair.image.array, pair.image.affine, size)
    label = pair.label
    if label is not None:
        values, _ = resized(label.array, pair.image.affine, size, is_label=True)
        label = label.with_array(values, affine)
    return replace(pair, image=pair.image.with_array(array, affine), label=label)
