# SPDX-License-Identifier: Apache-2.0
"""Grids of volumes: where the corners of two grids lie, which way the axes run, and moves that lose no voxel.

Arrays are indexed ``[i, j, k]``. Affines are 4x4, in millimetres, RAS+ (NIfTI's convention).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
GRID_TOLERANCE_MM = 0.1


def spacing_of(affine: Array) -> tuple[float, float, float]:
    """Return the voxel size in mm along each array axis.

    Example:
        >>> spacing_of(np.diag([-0.5, -0.5, 3.0, 1.0]))
        (0.5, 0.5, 3.0)
    """
    i, j, k = np.sqrt((np.asarray(affine, dtype=float)[:3, :3] ** 2).sum(axis=0))
    return float(i), float(j), float(k)


def orientation_of(affine: Array) -> str:
    """Return the direction each array axis runs towards, as three letters of L/R, P/A, S/I.

    Example:
        >>> orientation_of(np.diag([-0.5, -0.5, 3.0, 1.0]))
        'LPS'
    """
    import nibabel as nib

    return "".join(code or "?" for code in nib.aff2axcodes(affine))


def affine_from_lps(direction: Array, spacing: Sequence[float] | Array, origin: Sequence[float] | Array) -> Array:
    """Return the RAS affine of a grid given in LPS terms, as ITK, DICOM, NRRD and MetaImage state it.

    Args:
        direction: 3x3, one column per array axis, each of length 1.
        spacing: mm along each array axis.
        origin: centre of voxel ``[0, 0, 0]`` in mm.
    """
    affine = np.eye(4)
    affine[:3, :3] = np.asarray(direction, dtype=float) * np.asarray(spacing, dtype=float)
    affine[:3, 3] = origin
    return np.asarray(LPS_TO_RAS @ affine)


def shifted(affine: Array, index: Sequence[float] | Array) -> Array:
    """Return the affine of the same grid whose voxel ``[0, 0, 0]`` is the old voxel ``index`` (fractions allowed).

    Example:
        >>> shifted(np.diag([2.0, 2.0, 4.0, 1.0]), (0.5, 0.5, 0.5))[:3, 3].tolist()
        [1.0, 1.0, 2.0]
    """
    moved = np.array(affine, dtype=float)
    moved[:3, 3] = moved[:3, :3] @ np.asarray(index, dtype=float) + moved[:3, 3]
    return moved


def affine_problem(affine: Array) -> str | None:
    """Say in words why ``affine`` describes no grid (NaN, zero axis, axes in one plane), or return ``None``."""
    matrix = np.asarray(affine, dtype=float)
    if not np.isfinite(matrix).all():
        return "holds NaN or Inf"
    lengths = np.array(spacing_of(matrix))
    if (lengths < 1e-6).any():
        return "has an axis of length 0"
    if abs(np.linalg.det(matrix[:3, :3] / lengths)) < 1e-3:
        return "is singular: two of its axes are parallel"
    return None


def corner_distance_mm(first: Array, second: Array, shape: Sequence[int]) -> float:
    """Return the largest distance in mm between equal corner voxels of two grids of one ``shape``.

    Example:
        >>> corner_distance_mm(np.eye(4), np.diag([1.0, 1.0, 1.5, 1.0]), (4, 4, 5))
        2.0
    """
    corners = np.array([[*c, 1] for c in itertools.product(*((0, n - 1) for n in shape[:3]))], dtype=float)
    return float(np.linalg.norm((corners @ (np.asarray(first) - np.asarray(second)).T)[:, :3], axis=1).max())


def turned_to(array: NDArray, affine: Array, orientation: str) -> tuple[NDArray, Array, list[str]]:
    """Permute and flip axes so that they run closest to ``orientation``; no voxel is resampled.

    Returns:
        The turned array, its affine, and what was done in words (empty when nothing was).

    Example:
        >>> _, _, done = turned_to(np.zeros((4, 5, 6)), np.eye(4), "LPS")
        >>> done
        ['flipped axis 0 (R to L)', 'flipped axis 1 (A to P)']
    """
    import nibabel as nib

    wanted = nib.orientations.axcodes2ornt(tuple(orientation))
    before = orientation_of(affine)
    change = nib.orientations.ornt_transform(nib.io_orientation(affine), wanted)
    turned = nib.orientations.apply_orientation(array, change)
    new_affine = np.asarray(affine, dtype=float) @ nib.orientations.inv_ornt_aff(change, array.shape)
    done = []
    if not np.array_equal(change[:, 0], np.arange(3)):
        done.append(f"axes permuted ({before} to {orientation})")
    done += [
        f"flipped axis {axis} ({before[axis]} to {orientation[int(target)]})"
        for axis, (target, sign) in enumerate(change)
        if sign < 0
    ]
    return np.ascontiguousarray(turned), new_affine, done
