# SPDX-License-Identifier: Apache-2.0
"""What the voxels of an image and of a label must be, alone and together; every command that takes volumes asks here.

What a file must be is stated by :func:`~akd_monai.data.volume_file.read_volume_file`. Voxels of an image are finite and
below 1e30. A label holds classes: integers from 0 (after slope and intercept, to 0.001), the ones that are allowed;
fractions, negative values, NaN, and classes that are not allowed, such as 255, are refused. Nothing is converted here but
values that rounding has moved off an integer; ``prepare`` merges all classes above 0 to one. Image and label lie on one
grid: their shapes are equal and no corner is more than 0.1 mm from the other's, before anything is turned or resampled.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from akd_monai.data._streams import FileError
from akd_monai.data.geometry import GRID_TOLERANCE_MM, Array, corner_distance_mm

__all__ = [
    "MOST_FOREGROUND",
    "check_classes",
    "check_grids",
    "check_share",
    "check_voxels",
    "class_counts",
    "constant_value",
    "image_warnings",
    "odd_share",
    "poor_contrast",
    "rounded",
]

# Share of the voxels above which a label is full or inverted.
MOST_FOREGROUND = 0.9

_LARGEST = 1e30
# Scaling between the 0.5 and 99.5 percentiles leaves nothing of an image with fewer other voxels than these.
_ALIKE = 0.99
_SAMPLED = 20_000
_FRACTION = 1e-3
_SHOWN = 8
# Up to this value classes are counted in a table, which is faster than sorting the voxels.
_MOST_COUNTED = 65_535


def check_voxels(values: NDArray[Any]) -> None:
    """Raise ``FileError`` unless every voxel is finite and below 1e30.

    Example:
        >>> check_voxels(np.array([0.0, np.nan]))
        Traceback (most recent call last):
        ...
        akd_monai.data._streams.FileError: holds 1 voxels that are NaN or Inf; export the image again.
    """
    if values.dtype.kind in "iub":
        return
    # NaN passes through both
    low = float(values.min())
    high = float(values.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        bad = int(values.size - np.isfinite(values).sum())
        what = f"holds {bad} voxels that are NaN or Inf"
        raise FileError(what, remedy="export the image again", code="not-finite")
    largest = max(abs(low), abs(high))
    if largest > _LARGEST:
        what = f"holds values up to {largest:.0e}"
        raise FileError(what, remedy="export the image again", code="extreme-values")


def constant_value(values: NDArray[Any]) -> float | None:
    """Return the value of all voxels, ``None`` if they differ."""
    low = values.min()
    return float(low) if low == values.max() else None


def poor_contrast(values: NDArray[Any]) -> str:
    """Say in words that an image has as good as no contrast: one value nearly everywhere, or two values; else nothing.

    It need not be a fault, but a mask that was given as the image looks like this.

    Example:
        >>> poor_contrast(np.array([0, 0, 1, 1])), poor_contrast(np.array([0, 1, 2, 3]))
        ('holds two values only (0 and 1), as a mask does', '')
    """
    flat = values.ravel(order="K")
    sample = flat[:: max(1, flat.size // _SAMPLED)]
    usual = np.partition(sample, sample.size // 2)[sample.size // 2]
    # a sample tells most images from these, and is quicker than all voxels
    if np.mean(sample == usual) > _ALIKE - 0.02:
        share = float(np.mean(flat == usual))
        if share > _ALIKE:
            return f"has the value {usual:g} in {share:.2%} of its voxels"
    low = flat.min()
    high = flat.max()
    is_either = (sample == low) | (sample == high)
    if is_either.all() and ((flat == low) | (flat == high)).all():
        return f"holds two values only ({low:g} and {high:g}), as a mask does"
    return ""


def image_warnings(values: NDArray[Any]) -> list[str]:
    """Return what is odd about an image that is accepted, in words that follow the name of its file.

    Args:
        values: voxels ``[C, X, Y, Z]``; each channel is checked alone.

    Raises:
        FileError: for voxels that :func:`check_voxels` refuses.

    Example:
        >>> image_warnings(np.zeros((1, 4, 4, 2)))
        ['is constant: every voxel is 0']
    """
    check_voxels(values)
    found = []
    for channel in values:
        constant = constant_value(channel)
        contrast = "" if constant is not None else poor_contrast(channel)
        if constant is not None:
            found.append(f"is constant: every voxel is {constant:g}")
        elif contrast:
            found.append(f"{contrast}: is it the right image?")
    return found


def rounded(values: NDArray[Any]) -> NDArray[Any]:
    """Return the integers that values are by 0.001, or ``values`` themselves where one is none.

    Example:
        >>> rounded(np.array([0.0, 0.9999])).tolist(), rounded(np.array([0.0, 0.5])).tolist()
        ([0.0, 1.0], [0.0, 0.5])
    """
    if values.dtype.kind in "iub":
        return values
    integers = np.rint(values)
    # Inf minus Inf is NaN, which is no match either
    with np.errstate(invalid="ignore"):
        near = np.abs(values - integers) <= _FRACTION
    return integers if near.all() else values


def class_counts(values: NDArray[Any]) -> dict[float, int]:
    """Return how many voxels hold each value, after rounding; in ascending order.

    Raises:
        FileError: for NaN and Inf.

    Example:
        >>> class_counts(np.array([0.0, 1.0, 1.0001]))
        {0.0: 1, 1.0: 2}
    """
    integers = rounded(values)
    low = float(integers.min())
    high = float(integers.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise FileError("the mask holds NaN or Inf", remedy="export the mask again", code="not-finite")
    is_table = low >= 0 and high <= _MOST_COUNTED and (integers is not values or values.dtype.kind in "iub")
    if is_table:
        table = np.bincount(integers.astype(np.uint16).ravel(order="K"))
        found = np.flatnonzero(table)
        counts = table[found]
    else:
        found, counts = np.unique(integers, return_counts=True)
    return dict(zip(map(float, found.tolist()), counts.tolist(), strict=True))


def check_classes(counts: Mapping[float, int], allowed: Collection[int] | None = None) -> None:
    """Raise ``FileError`` unless a label holds classes, and only allowed ones.

    Args:
        counts: voxels by value, of :func:`class_counts`.
        allowed: the classes; ``None`` allows every integer from 0.

    Example:
        >>> check_classes({0: 90, 255: 10}, allowed=(0, 1))
        Traceback (most recent call last):
        ...
        akd_monai.data._streams.FileError: unexpected label values (value: voxels) 0: 90, 255: 10; map 255 to 1: run
        verify with --fix.
    """
    values = list(counts)
    if any(value != round(value) for value in values):
        what = f"holds fractions ({len(values)} values: {', '.join(_shown(values))} ...)"
        remedy = "resample the mask with nearest neighbour instead of interpolation"
        raise FileError(what, remedy=remedy, code="label-fractions")
    if min(values) < 0 or (allowed is not None and not set(values) <= set(allowed)):
        table = [f"{value:g}: {count}" for value, count in counts.items()]
        what = f"unexpected label values (value: voxels) {', '.join(table[:_SHOWN])}"
        raise FileError(what, remedy=_remedy_for(values), code="label-values")


def _shown(values: Iterable[float]) -> list[str]:
    return [f"{value:g}" for value in values][:_SHOWN]


def _remedy_for(values: Sequence[float]) -> str:
    if set(values) == {0, 255}:
        return "map 255 to 1: run verify with --fix"
    if min(values) < 0:
        return "find out what the negative values mean, and write background as 0"
    if set(values) <= {0, 1, 2}:
        return "if 1 and 2 are zones of the gland, map 1 and 2 to 1 (prepare does); else keep the gland only"
    foreground = _shown(value for value in values if value > 0)
    return f"map {', '.join(foreground)} to 1 if they are the gland, and to 0 if not"


def check_share(counts: Mapping[float, int]) -> None:
    """Raise ``FileError`` if more than 90 % of a label's voxels are above 0.

    Example:
        >>> check_share({0: 5, 1: 95})
        Traceback (most recent call last):
        ...
        akd_monai.data._streams.FileError: marks 95% of all voxels; swap foreground and background, or draw the mask again.
    """
    share = 1 - counts.get(0, 0) / sum(counts.values())
    if share > MOST_FOREGROUND:
        what = f"marks {share:.0%} of all voxels"
        remedy = "swap foreground and background, or draw the mask again"
        raise FileError(what, remedy=remedy, code="label-full")


def odd_share(mask: NDArray[Any]) -> str:
    """Return what is odd about how much a predicted mask marks, in words, empty if nothing is.

    Example:
        >>> odd_share(np.zeros((4, 4, 2))), odd_share(np.eye(4))
        ('the mask is empty, no voxel is marked', '')
        >>> odd_share(np.ones((4, 4, 2)))
        'the mask marks 100% of the volume, as of an untrained network, or one for other images'
    """
    share = np.count_nonzero(mask) / mask.size
    if share == 0:
        return "the mask is empty, no voxel is marked"
    if share > MOST_FOREGROUND:
        return f"the mask marks {share:.0%} of the volume, as of an untrained network, or one for other images"
    return ""


def check_grids(image: tuple[Sequence[int], Array], label: tuple[Sequence[int], Array]) -> None:
    """Raise ``FileError`` unless image and label lie on one grid.

    Args:
        image: its shape and its affine in mm.
        label: the same of the label.

    Example:
        >>> check_grids(((4, 4, 2), np.eye(4)), ((4, 4, 3), np.eye(4)))
        Traceback (most recent call last):
        ...
        akd_monai.data._streams.FileError: the mask has shape [4, 4, 3], the image [4, 4, 2]; export the mask on the grid
        of the image.
    """
    shape, affine = image
    label_shape, label_affine = label
    if list(shape) != list(label_shape):
        what = f"the mask has shape {list(map(int, label_shape))}, the image {list(map(int, shape))}"
        raise FileError(what, remedy="export the mask on the grid of the image", code="shape-mismatch")
    distance = corner_distance_mm(affine, label_affine, shape)
    if not distance <= GRID_TOLERANCE_MM:
        what = f"the grid of the mask lies up to {distance:.1f} mm beside the image's"
        remedy = "export the mask with the geometry of the image"
        raise FileError(what, remedy=remedy, code="affine-mismatch")
