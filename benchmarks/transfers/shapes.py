# SPDX-License-Identifier: Apache-2.0
"""Synthetic volumes of simple shapes, at two sites: nothing in them is anatomy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

__all__ = ["SHAPE", "write_site"]

SHAPE = (40, 40, 32)

Volume = NDArray[np.float64]
Labels = NDArray[np.uint8]


def write_site(folder: Path, task: str, cases: int, *, site: int, seed: int) -> None:
    """Write ``imagesTr`` and ``labelsTr`` with ``cases`` volumes of one task at one site.

    Args:
        folder: where the two folders go.
        task: ``"organs"``, two classes that exclude each other, or ``"tumour"``, three nested regions in two sequences,
            with the label values 1, 2 and 4 of BraTS.
        cases: number of volumes.
        site: 0 or 1; the second has another contrast, a stronger bias field and more noise.
        seed: of all randomness, together with task, site and number of the case.
    """
    make = _MAKERS[task]
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for case in range(cases):
        rng = np.random.default_rng([seed, site, case, len(task)])
        channels, labels = make(rng)
        image = np.stack([_acquired(channel, site, rng) for channel in channels], axis=-1)
        affine = np.diag([1.0, 1.0, 1.0, 1.0])
        nib.save(
            nib.Nifti1Image(np.squeeze(image).astype(np.float32), affine), folder / f"imagesTr/case{case:02d}.nii.gz"
        )
        nib.save(nib.Nifti1Image(labels, affine), folder / f"labelsTr/case{case:02d}.nii.gz")


def _organs(rng: np.random.Generator) -> tuple[list[Volume], Labels]:
    """An ellipsoid and a smaller one beneath it; ellipsoids of the same brightness elsewhere belong to no class."""
    centre = np.array(SHAPE) / 2 + rng.uniform(-4, 4, 3)
    axes = rng.uniform([7, 7, 5], [10, 10, 7])
    first = _ellipsoid(centre, axes)
    below = centre - [0, axes[1] + 1, 0]
    second = _ellipsoid(below, rng.uniform(3, 5, 3)) & ~first
    distractors = _ellipsoid(rng.uniform(2, 6, 3), rng.uniform(3, 5, 3)) & ~first & ~second
    labels = first.astype(np.uint8) + 2 * second.astype(np.uint8)
    image = 1.0 * first + 0.6 * second + rng.uniform(0.6, 1.0) * distractors
    return [image.astype(np.float64)], labels


def _tumour(rng: np.random.Generator) -> tuple[list[Volume], Labels]:
    """Nested ellipsoids: the outermost is bright in the first sequence, the inner ones in the second."""
    centre = np.array(SHAPE) / 2 + rng.uniform(-6, 6, 3)
    axes = rng.uniform([8, 8, 7], [11, 11, 9])
    region = _ellipsoid(centre, axes)
    core = _ellipsoid(centre + rng.uniform(-1, 1, 3), axes * 0.65) & region
    enhancing = core & ~_ellipsoid(centre, axes * 0.35)
    labels = np.zeros(SHAPE, np.uint8)
    labels[region] = 2
    labels[core] = 1
    labels[enhancing] = 4
    first = 1.0 * region - 0.2 * core
    second = 0.3 * region + 0.3 * core + 0.5 * enhancing
    return [first.astype(np.float64), second.astype(np.float64)], labels


_MAKERS: dict[str, Callable[[np.random.Generator], tuple[list[Volume], Labels]]] = {
    "organs": _organs,
    "tumour": _tumour,
}


def _ellipsoid(centre: NDArray[np.float64], axes: NDArray[np.float64]) -> NDArray[np.bool_]:
    grid = np.stack(np.meshgrid(*(np.arange(side) for side in SHAPE), indexing="ij"), axis=-1)
    inside: NDArray[np.bool_] = (((grid - centre) / axes) ** 2).sum(-1) < 1
    return inside


def _acquired(image: Volume, site: int, rng: np.random.Generator) -> Volume:
    """Add texture, a bias field and noise; the second site has a weaker contrast and more of all three."""
    contrast = (1.0, 0.8)[site]
    texture = (0.5, 0.55)[site] * gaussian_filter(rng.normal(size=SHAPE), 2.0) * 5
    bias = 1 + (0.1, 0.2)[site] * gaussian_filter(rng.normal(size=SHAPE), 12.0) * 40
    noise = (0.35, 0.4)[site] * rng.normal(size=SHAPE)
    acquired: Volume = (1 + contrast * image + texture) * bias + noise
    return acquired
