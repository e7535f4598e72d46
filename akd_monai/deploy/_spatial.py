# SPDX-License-Identifier: Apache-2.0
"""Transforms that move voxels, forwards for the image and backwards for what the network returned."""

from __future__ import annotations

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
    """Resample to voxels of a size in mm by linear interpolation."""

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
        after = _resampled_grid(volume.grid, wanted)
        return Volume(_in_double(volume.array, volume.grid, after, False), after.affine)

    def undo(self, array: _Values, before: Grid, after: Grid, nearest: bool) -> _Values:
        """Return the voxels before."""
        return _in_double(array, after, before, nearest)


def _resampled_grid(grid: Grid, sizes: _Values) -> Grid:
    """Return the grid of other voxel sizes as MONAI's ``compute_shape_offset`` places it.

    First voxels coincide where the axes are at right angles to 1e-8. An affine of single precision, as files have it, is
    not if it is oblique: then the centres of the two volumes coincide, by MONAI's own formula.
    """
    matrix = grid.affine[:3, :3]
    zooms = np.linalg.cholesky(matrix.T @ matrix).T
    affine = np.eye(4)
    affine[:3, :3] = matrix @ np.linalg.inv(zooms) @ np.diag(sizes)
    ends = [(0.0, n - 1.0) for n in grid.shape]
    corners = np.concatenate([np.asarray(np.meshgrid(*ends, indexing="ij")).reshape(3, -1), np.ones((1, 8))])
    moved = (np.linalg.solve(affine, grid.affine) @ corners)[:3]
    shape = np.round(np.ptp(moved, axis=1) + 1)
    affine[:3, 3] = grid.affine[:3, 3] + matrix @ (np.asarray(grid.shape) / 2) - affine[:3, :3] @ (shape / 2)
    for number in range(8):
        if np.allclose(np.min(moved - moved[:, number : number + 1], axis=1), 0):
            affine[:3, 3] = (grid.affine @ corners)[:3, number]
            break
    return Grid(tuple(shape.astype(int).tolist()), affine)


def _in_double(array: _Values, before: Grid, after: Grid, nearest: bool) -> _Values:
    """Return ``array`` of the grid ``before`` on the grid ``after``, whose axes are parallel."""
    change = np.linalg.solve(before.affine, after.affine)
    if after.shape == array.shape[1:] and np.allclose(change, np.eye(4), atol=_SAME):
        return array
    steps = np.diag(change)[:3].tolist()
    starts = change[:3, 3].tolist()
    if nearest:
        return resampled(array, steps, after.shape, starts=starts, nearest=True)
    return resampled(array.astype(np.float64), steps, after.shape, starts=starts).astype(np.float32)


def _check_three(name: str, values: object) -> None:
    if not isinstance(values, tuple) or len(values) != 3:
        raise ValueError(f"{name} must have three entries, got {values!r}")
    if not all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values):
        raise ValueError(f"{name} must hold numbers, got {values!r}")


SPATIAL: dict[str, type[SpatialStep]] = {kind.__name__: kind for kind in (Orientation, Resize, Spacing)}
