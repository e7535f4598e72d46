# SPDX-License-Identifier: Apache-2.0
"""Grids of volumes: voxel sizes, directions, distances between two grids, and moves that lose no voxel.

Arrays are indexed ``[i, j, k]``. Affines are 4x4, in millimetres, RAS+ (NIfTI's convention).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.affines import apply_affine, voxel_sizes
from numpy.typing import NDArray

__all__ = [
    "GRID_TOLERANCE_MM",
    "Array",
    "affine_from_lps",
    "affine_problem",
    "corner_distance_mm",
    "orientation_of",
    "shifted",
    "spacing_of",
    "turned_to",
]

Array = NDArray[np.float64]

# Two grids count as one if no corner of one lies further from that of the other.
GRID_TOLERANCE_MM = 0.1

# The largest cosine between two axes of a grid. ITK refuses grids that are more oblique, nibabel does not.
_MOST_SHEAR = 1e-3
# No voxel and no distance from the scanner's centre is longer than this, in mm.
_LONGEST_VOXEL_MM = 1e3
_FARTHEST_MM = 1e5

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def spacing_of(affine: Array) -> tuple[float, float, float]:
    """Return the voxel size in mm along each array axis.

    Example:
        >>> spacing_of(np.diag([-0.5, -0.5, 3.0, 1.0]))
        (0.5, 0.5, 3.0)
    """
    i, j, k = voxel_sizes(np.asarray(affine, dtype=float))
    return float(i), float(j), float(k)


def orientation_of(affine: Array) -> str:
    """Return the direction each array axis runs towards, as three letters of L/R, P/A, S/I.

    Example:
        >>> orientation_of(np.diag([-0.5, -0.5, 3.0, 1.0]))
        'LPS'
    """
    return "".join(code or "?" for code in nib.aff2axcodes(affine))


def affine_from_lps(direction: Array, spacing: Sequence[float] | Array, origin: Sequence[float] | Array) -> Array:
    """Return the RAS affine of a grid given in LPS terms, as ITK, DICOM, NRRD and MetaImage state it.

    Args:
        direction: 3x3, one column per array axis, each of length 1.
        spacing: mm along each array axis.
        origin: centre of voxel ``[0, 0, 0]`` in mm.

    Example:
        >>> affine_from_lps(np.eye(3), (0.5, 0.5, 3.0), (10.0, 20.0, 30.0))[:3, 3].tolist()
        [-10.0, -20.0, 30.0]
    """
    affine = np.eye(4)
    affine[:3, :3] = np.asarray(direction, dtype=float) * np.asarray(spacing, dtype=float)
    affine[:3, 3] = origin
    return np.asarray(_LPS_TO_RAS @ affine)


def shifted(affine: Array, index: Sequence[float] | Array) -> Array:
    """Return the affine of the same grid whose voxel ``[0, 0, 0]`` is the old voxel ``index`` (fractions allowed).

    Example:
        >>> shifted(np.diag([2.0, 2.0, 4.0, 1.0]), (0.5, 0.5, 0.5))[:3, 3].tolist()
        [1.0, 1.0, 2.0]
    """
    moved = np.array(affine, dtype=float)
    moved[:3, 3] = apply_affine(moved, index)
    return moved


def affine_problem(affine: Array) -> str | None:
    """Say why ``affine`` describes no grid of a scanner, or return ``None``.

    It must be finite, its axes neither of length 0 nor parallel nor oblique to each other, and its lengths must be
    possible: voxels of at most 1 m, within 100 m of the scanner's centre.

    Example:
        >>> affine_problem(np.diag([1.0, 1.0, 0.0, 1.0])), affine_problem(np.eye(4))
        ('has an axis of length 0', None)
    """
    matrix = np.asarray(affine, dtype=float)
    if not np.isfinite(matrix).all():
        return "holds NaN or Inf"
    lengths = voxel_sizes(matrix)
    if (lengths < 1e-6).any():
        return "has an axis of length 0"
    if lengths.max() > _LONGEST_VOXEL_MM:
        return f"has voxels of {lengths.max():.3g} mm"
    if np.abs(matrix[:3, 3]).max() > _FARTHEST_MM:
        return f"puts the volume {np.abs(matrix[:3, 3]).max():.3g} mm away"
    return _direction_problem(matrix[:3, :3] / lengths)


def _direction_problem(directions: Array) -> str | None:
    if abs(np.linalg.det(directions)) < 1e-3:
        return "is singular: two of its axes are parallel"
    cosines = np.abs(directions.T @ directions - np.eye(3))
    if cosines.max() > _MOST_SHEAR:
        degrees = np.degrees(np.arcsin(min(1.0, float(cosines.max()))))
        return f"is sheared: two of its axes are {degrees:.1f} degrees off a right angle"
    return None


def corner_distance_mm(first: Array, second: Array, shape: Sequence[int]) -> float:
    """Return the largest distance in mm between equal corner voxels of two grids of one ``shape``.

    Example:
        >>> corner_distance_mm(np.eye(4), np.diag([1.0, 1.0, 1.5, 1.0]), (4, 4, 5))
        2.0
    """
    ends = [(0, length - 1) for length in shape[:3]]
    corners = np.array([[*corner, 1] for corner in itertools.product(*ends)], dtype=float)
    # The difference of the affines, not of the places: large offsets that both share cost no digit.
    moved = corners @ (np.asarray(first) - np.asarray(second)).T
    return float(np.linalg.norm(moved[:, :3], axis=1).max())


def turned_to(array: NDArray[Any], affine: Array, orientation: str) -> tuple[NDArray[Any], Array, list[str]]:
    """Permute and flip axes so that they run closest to ``orientation``; no voxel is resampled.

    Returns:
        The turned array, its affine, and what was done in words (empty when nothing was).

    Example:
        >>> _, _, done = turned_to(np.zeros((4, 5, 6)), np.eye(4), "LPS")
        >>> done
        ['flipped axis 0 (R to L)', 'flipped axis 1 (A to P)']
    """
    wanted = nib.orientations.axcodes2ornt(tuple(orientation))
    change = nib.orientations.ornt_transform(nib.io_orientation(affine), wanted)
    turned = nib.orientations.apply_orientation(array, change)
    new_affine = np.asarray(affine, dtype=float) @ nib.orientations.inv_ornt_aff(change, array.shape)
    return np.ascontiguousarray(turned), new_affine, _in_words(change, orientation_of(affine), orientation)


def _in_words(change: Array, before: str, after: str) -> list[str]:
    done = []
    if not np.array_equal(change[:, 0], np.arange(3)):
        done.append(f"axes permuted ({before} to {after})")
    for axis, (target, sign) in enumerate(change):
        if sign < 0:
            done.append(f"flipped axis {axis} ({before[axis]} to {after[int(target)]})")
    return done
