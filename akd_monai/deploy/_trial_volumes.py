# SPDX-License-Identifier: Apache-2.0
"""Small synthetic volumes of varied geometry, on which an exported network is compared with the one in PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from akd_monai.data.geometry import Array, turned_to
from akd_monai.data.nifti import write_nifti
from akd_monai.deploy._interpolation import resized
from akd_monai.deploy._recipe import Recipe
from akd_monai.deploy._spatial import Spacing

__all__ = ["write_synthetic_volume", "write_trial_volumes"]

# of each volume: its size in windows along each axis, the size of its voxels in those of the network, its orientation,
# and by how much it is tilted
_TRIALS = (
    ((0.83, 1.13, 1.2), 1.0, "RAS", 0.0),
    ((1.21, 0.77, 0.9), 0.8, "LPS", 0.2),
    ((0.61, 0.9, 1.1), 1.3, "SAR", -0.1),
)
_SLICES = (3, 2, 1)
_COARSE = 5
_USUAL = (320, 320, 24)


def write_trial_volumes(folder: Path, recipe: Recipe, seed: int = 0) -> list[Path]:
    """Write three volumes: anisotropic, oblique, flipped, with permuted axes, of odd sizes, one of a single slice.

    Args:
        folder: where they go.
        recipe: what the volumes are for; where it has slices, they have few.
        seed: of their values.
    """
    paths = []
    for number, (share, size, orientation, angle) in enumerate(_TRIALS):
        spacing = _voxels(recipe) * size
        shape = _shape(recipe, number, share, size)
        channels = [_image(shape, seed + 10 * number + channel) for channel in range(recipe.channels)]
        array, affine, _ = turned_to(np.stack(channels, -1), _tilted(spacing, angle), orientation)
        path = folder / f"synthetic-{orientation}.nii.gz"
        write_nifti(path, array if recipe.channels > 1 else array[..., 0], affine)
        paths.append(path)
    return paths


def _voxels(recipe: Recipe) -> NDArray[Any]:
    for step in recipe.preprocessing:
        if isinstance(step, Spacing):
            return np.asarray(step.pixdim, dtype=float)
    return np.array([0.6, 0.6, 3.0])


def _shape(recipe: Recipe, number: int, share: Sequence[float], size: float) -> list[int]:
    shape = []
    for side, part in zip(recipe.inferer.window, share, strict=True):
        shape.append(_SLICES[number] if side == 1 else max(2, round(side * part / size)))
    return shape


def _image(shape: Sequence[int], seed: int) -> NDArray[np.float32]:
    """Return soft blobs with noise."""
    generator = np.random.default_rng(seed)
    coarse = generator.normal(100, 60, (1, *[min(n, _COARSE) for n in shape])).astype(np.float32)
    image = resized(coarse, shape)[0]
    return np.asarray(image + generator.normal(0, 8, shape).astype(np.float32))


def _tilted(spacing: NDArray[Any], angle: float) -> Array:
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    tip = np.eye(4)
    tip[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    affine = turn @ tip @ np.diag([*spacing, 1.0])
    affine[:3, 3] = (-40, 25, -7)
    return np.asarray(affine)


def write_synthetic_volume(path: Path, shape: Sequence[int] = _USUAL, seed: int = 0) -> Path:
    """Write a synthetic T2-like volume, soft blobs with noise in int16, as large as one of a prostate.

    Args:
        path: a NIfTI file.
        shape: voxels along each axis.
        seed: of the values.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_synthetic_volume(Path(folder) / "t2.nii.gz", (8, 8, 4)).name
        't2.nii.gz'
    """
    generator = np.random.default_rng(seed)
    coarse = generator.normal(300, 150, (1, *(min(8, side) for side in shape))).astype(np.float32)
    values: Any = resized(coarse, shape)[0] + generator.normal(0, 20, shape)
    write_nifti(path, np.clip(values, 0, 2000).astype(np.int16), np.diag([-0.6, -0.6, 3.0, 1.0]))
    return path
