# SPDX-License-Identifier: Apache-2.0
"""Transforms that move voxels, forwards for the image and backwards for what the network returned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import nibabel as nib
import numpy as np
from nibabel import orientations
from numpy.typing import NDArray

from akd_monai.data.geometry import spacing_of
from akd_monai.deploy._interpolation import resampled, resized
from akd_monai.deploy._steps import ANYTHING, Grid, Step, Volume

__all__ = ["SPATIAL", "Orientation", "Resize", "Spacing", "SpatialStep"]

_Values = NDArray[Any]
_LETTERS = (("L", "R"), ("P", "A"), ("I", "S"))
# affines closer than this are one, as in MONAI
_SAME = 1e-3


class SpatialStep(Step):
    """A step that can be undone."""

    def apply(self, volume: Volume) -> Volume:
        """Return the moved volume."""
        raise NotImplementedError

    def undo(self, array: _Values, before: Grid, after: Grid, nearest: bool) -> _Values:
        """Return ``array``, which lies on the grid ``after``, on the grid ``before``."""
        raise NotImplementedError


@dataclass(frozen=True)
class Orientation(SpatialStep):
    """Permute and flip axes so that they run closest to three directions, such as ``"RAS"``."""

    axcodes: str
    accepted: ClassVar = {"labels": (None, _LETTERS), "as_closest_canonical": (False,)}

    def __post_init__(self) -> None:
        if not isinstance(self.axcodes, str):
            object.__setattr__(self, "axcodes", "".join(self.axcodes))
        orientations.axcodes2ornt(self.axcodes)

    def apply(self, volume: Volume) -> Volume:
        """Return the turned volume; no voxel is resampled."""
        wanted = orientations.axcodes2ornt(self.axcodes)
        change = orientations.ornt_transform(nib.io_orientation(volume.affine), wanted)
        affine = volume.affine @ orientations.inv_ornt_aff(change, volume.grid.shape)
        return Volume(_turned(volume.array, change), affine)

    def undo(self, array: _Values, before: Grid, after: Grid, nearest: bool) -> _Values:
        """Turn back."""
        change = orientations.ornt_transform(orientations.axcodes2ornt(self.axcodes), nib.io_orientation(before.affine))
        return _turned(array, change)


def _turned(array: _Values, change: _Values) -> _Values:
    turned = orientations.apply_orientation(np.moveaxis(array, 0, -1), change)
    return np.moveaxis(turned, -1, 0)


@dataclass(frozen=True)
class Resize(SpatialStep):
    """Bring each axis to a number of voxels by linear interpolation; -1 leaves an axis as it is."""

    spatial_size: tuple[int, ...]
    accepted: ClassVar = {
        "mode": ("trilinear",),
        "align_corners": (None, False),
        "anti_aliasing": (False,),
        "anti_aliasing_sigma": (None,),
        "size_mode": ("all",),
        "dtype": (None, "float32"),
    }

    def __post_init__(self) -> None:
        _check_three("spatial_size", self.spatial_size)

    def apply(self, volume: Volume) -> Volume:
        """Return the resized volume."""
        given = volume.grid.shape
        shape = [wanted if wanted > 0 else n for wanted, n in zip(self.spatial_size, given, strict=True)]
        factors = np.asarray(given) / shape
        change = np.diag([*factors, 1.0])
        # voxels are boxes: their outer faces stay where they are
        change[:3, 3] = (factors - 1) / 2
        return Volume(resized(volume.array, shape), volume.affine @ change)

    def undo(self, array: _Values, before: Grid, after: Grid, nearest: bool) -> _Values:
        """Return the sizes before."""
        return resized(array, before.shape, nearest=nearest)


@dataclass(frozen=True)
class Spacing(SpatialStep):
    """Resample to voxels of a size in mm by linear interpolation, from the first voxel on."""

    pixdim: tuple[float, ...]
    accepted: ClassVar = {
        "diagonal": (False,),
        "mode": ("bilinear",),
        "padding_mode": ("border",),
        # places are stated in voxels, so it changes nothing
        "align_corners": ANYTHING,
        "dtype": ("float64",),
        "scale_extent": (False,),
        "recompute_affine": ANYTHING,
        "min_pixdim": (None,),
        "max_pixdim": (None,),
    }

    def __post_init__(self) -> None:
        _check_three("pixdim", self.pixdim)
        if min(self.pixdim) <= 0:
            raise ValueError("pixdim must be above 0")

    def apply(self, volume: Volume) -> Volume:
        """Return the resampled volume."""
        given = np.asarray(spacing_of(volume.affine))
        wanted = np.where(np.abs(given - self.pixdim) <= _SAME, given, self.pixdim)
        shape = np.round((np.asarray(volume.grid.shape) - 1) * given / wanted + 1).astype(int)
        steps = wanted / given
        affine = volume.affine @ np.diag([*steps, 1.0])
        return Volume(_in_double(volume.array, steps, shape.tolist(), False), affine)

    def undo(self, array: _Values, before: Grid, after: Grid, nearest: bool) -> _Values:
        """Return the voxels before."""
        steps = np.asarray(spacing_of(before.affine)) / spacing_of(after.affine)
        return _in_double(array, steps, before.shape, nearest)


def _in_double(array: _Values, steps: _Values, shape: Sequence[int], nearest: bool) -> _Values:
    if np.abs(steps - 1).max() <= _SAME and tuple(shape) == array.shape[1:]:
        return array
    if nearest:
        return resampled(array, steps.tolist(), shape, nearest=True)
    return resampled(array.astype(np.float64), steps.tolist(), shape).astype(np.float32)


def _check_three(name: str, values: object) -> None:
    if not isinstance(values, tuple) or len(values) != 3:
        raise ValueError(f"{name} must have three entries, got {values!r}")
    if not all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values):
        raise ValueError(f"{name} must hold numbers, got {values!r}")


SPATIAL: dict[str, type[SpatialStep]] = {kind.__name__: kind for kind in (Orientation, Resize, Spacing)}
