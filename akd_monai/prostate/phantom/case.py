# SPDX-License-Identifier: Apache-2.0
"""One SYNTHETIC case: image, gland mask and affine."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from akd_monai.data.sites import Site, site
from akd_monai.keys import random_key
from akd_monai.prostate.phantom._acquisition import ACQUISITIONS, Acquisition, acquire, is_endorectal
from akd_monai.prostate.phantom._anatomy import TISSUES, Anatomy
from akd_monai.prostate.phantom._arguments import check_numbers
from akd_monai.prostate.phantom._gland import draw_gland

__all__ = ["PHANTOM_VERSION", "make_case"]

PHANTOM_VERSION = 1
"""Another number means other voxels for the same seed."""

# Slices that are thicker are averaged over more than one thin slice.
_THIN_MM = 2


def make_case(
    name: str, number: int, *, size: int = 128, slices: int | None = 10, seed: int = 0
) -> tuple[NDArray[np.int16], NDArray[np.uint8], NDArray[np.float64]]:
    """Draw a SYNTHETIC case of a site; it depends on the arguments alone.

    Args:
        name: name or code of the site.
        number: number of the case, from 0 up.
        size: pixels along each side of a slice, at least 32. The field of view stays that of the site.
        slices: slices, at least 4, which share the slab of the site; ``None`` takes the site's own number.
        seed: seed of every random number.

    Returns:
        image and gland mask, both ``[X, Y, D]`` (x to the left, y to the back, z to the head), and the affine in mm.

    Raises:
        InputError: for numbers out of range.
        UnknownNameError: for an unknown site.

    Example:
        >>> image, label, affine = make_case("RUNMC", 0, size=48, slices=6)
        >>> image.shape, label.shape, [round(float(v), 2) for v in np.diag(affine)[:3]]
        ((48, 48, 6), (48, 48, 6), [-4.17, -4.17, 12.0])
    """
    check_numbers(size, slices, seed)
    place = site(name)
    model = ACQUISITIONS[place.name]
    depth = slices or model.slices
    # The order in which the generator is used belongs to the version of the phantom.
    generator = np.random.default_rng(random_key(seed, "phantom", PHANTOM_VERSION, place.name, number))
    gland = draw_gland(generator, is_endorectal(place), longest_mm=0.85 * model.slab)
    tissues = _tissues(model, generator)
    off_centre = generator.uniform(-0.06, 0.06) * model.slab if gland.length < 0.7 * model.slab else 0.0

    pixel = model.field_of_view / size
    step = model.slab / depth
    axis = (_centred(size) * pixel).astype(np.float32)
    heights = (_centred(depth) * step + off_centre).astype(np.float32)
    anatomy = Anatomy(gland, is_endorectal(place), generator, tissues, axis, model.slab + model.thickness)
    image, label = _drawn(place, anatomy, axis, heights, generator)

    # Axes to the left and to the back run against those of RAS.
    affine = np.diag([-pixel, -pixel, step, 1.0])
    affine[:3, 3] = -float(axis[0]), -float(axis[0]), float(heights[0])
    return image, label, affine


def _tissues(model: Acquisition, generator: np.random.Generator) -> dict[str, float]:
    return {
        tissue: signal * model.contrast.get(tissue, 1.0) * generator.normal(1, 0.05)
        for tissue, signal in TISSUES.items()
    }


def _centred(count: int) -> NDArray[np.float64]:
    return np.arange(count, dtype=np.float64) - (count - 1) / 2


def _drawn(
    place: Site,
    anatomy: Anatomy,
    axis: NDArray[np.float32],
    heights: NDArray[np.float32],
    generator: np.random.Generator,
) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    thickness = ACQUISITIONS[place.name].thickness
    samples = 1 if thickness < _THIN_MM else 2
    clean = np.stack([anatomy.paint(float(z), thickness, samples) for z in heights], axis=-1)
    label = np.stack([anatomy.label(float(z)) for z in heights], axis=-1)
    return acquire(clean, place.name, axis, heights, anatomy.coil_centre, generator), label
