# SPDX-License-Identifier: Apache-2.0
"""SYNTHETIC acquisition: how each of the six sites' scanners would image the same anatomy.

The numbers imitate the table of sites (field strength, coil, sampling); they are chosen by eye, not measured.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from akd_monai.data.sites import Site

__all__ = ["ACQUISITIONS", "Acquisition", "acquire", "is_endorectal"]

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Acquisition:
    """How a site samples and images: all lengths in mm, all signals relative to the bladder's.

    Args:
        field_of_view: side of the square slice.
        slab: extent along the slice axis.
        slices: number of slices of a scan of this site.
        thickness: thickness of a slice; neighbours may lie further apart.
        resolution: blur in the plane, full width at half maximum.
        noise: standard deviation of the noise in each of the two channels.
        surface: how much brighter the body's surface is than its middle (surface coil).
        near_field: how much brighter the rectum's wall is than far tissue (endorectal coil).
        reach: distance over which the endorectal coil's signal falls to 1/e.
        ghost: strength of motion ghosts along the front-to-back axis.
        gain: what the bladder's signal becomes in the file.
        contrast: factors on the tissues' signals.
        gamma: exponent on the signal, for another weighting.
    """

    field_of_view: float
    slab: float
    slices: int
    thickness: float
    resolution: float
    noise: float
    surface: float
    gain: float
    near_field: float = 0.0
    reach: float = 20.0
    ghost: float = 0.01
    gamma: float = 1.0
    contrast: Mapping[str, float] = field(default_factory=dict)


# One row a site is easier to compare than one line a value.
ACQUISITIONS: dict[str, Acquisition] = {
    "RUNMC": Acquisition(200, 72, 20, 3.6, 0.6, 0.016, 0.5, 900),
    "BMC": Acquisition(
        160, 72, 24, 3.0, 0.6, 0.050, 0.1, 420, near_field=5.0, reach=19, ghost=0.03,
        contrast={"fat": 0.9, "muscle": 1.35, "peripheral": 1.05},
    ),
    "I2CVB": Acquisition(
        243, 70, 56, 1.25, 1.0, 0.030, 0.9, 480, gamma=0.8,
        contrast={"fat": 1.25, "central": 1.45, "peripheral": 1.1, "marrow": 0.7, "muscle": 0.8},
    ),
    "UCL": Acquisition(
        180, 70, 20, 3.3, 0.9, 0.025, 0.25, 260, gamma=1.25, ghost=0.02,
        contrast={"fat": 1.1, "central": 0.9, "marrow": 1.1},
    ),
    "BIDMC": Acquisition(
        140, 66, 24, 2.6, 0.5, 0.070, 0.0, 2600, near_field=9.0, reach=15, ghost=0.02,
        contrast={"fat": 0.75, "central": 1.15, "muscle": 1.5},
    ),
    "HK": Acquisition(
        200, 72, 20, 3.6, 1.2, 0.055, 0.3, 180, near_field=3.0, reach=26, ghost=0.06, gamma=1.1,
        contrast={"fat": 1.0, "muscle": 1.6, "peripheral": 0.85, "central": 1.1},
    ),
}  # fmt: skip


def is_endorectal(site: Site) -> bool:
    """Return whether the site scans with an endorectal coil."""
    return ACQUISITIONS[site.name].near_field > 0


def acquire(
    clean: Array,
    name: str,
    axis: Array,
    heights: Array,
    coil: Callable[[float], tuple[float, float, float]],
    generator: np.random.Generator,
) -> NDArray[np.int16]:
    """Return a clean volume ``[X, Y, D]`` as the site's scanner would store it.

    Applied are, in this order: weighting, blur in the plane, coil sensitivity, ghosts, Rician noise, gain.

    Args:
        clean: signal in tissue units.
        name: name of the site.
        axis: positions along x and y in mm.
        heights: position of each slice in mm.
        coil: returns x, y and half height of the rectum at a height, all in mm.
        generator: source of all random numbers of the case.
    """
    model = ACQUISITIONS[name]
    pixel = float(axis[1] - axis[0])
    noise = np.float32(model.noise * generator.uniform(0.8, 1.3))
    gain = model.gain * generator.uniform(0.75, 1.3)
    strength = generator.uniform(0.75, 1.15)
    tilt = generator.normal(0, 0.12, 2) / model.field_of_view
    shift = int(len(axis) * generator.uniform(0.25, 0.4))
    ghost = np.float32(model.ghost * generator.uniform(0.3, 1.6))
    stored = np.empty(clean.shape, np.int16)
    for index, z in enumerate(heights):
        image = clean[..., index] ** np.float32(model.gamma)
        image = ndimage.gaussian_filter(image, model.resolution / 2.355 / pixel, truncate=3)
        image = image * _sensitivity(model, axis, coil(float(z)), strength, tilt)
        image = image + ghost * (np.roll(image, shift, axis=1) + np.roll(image, -shift, axis=1))
        real, imaginary = generator.standard_normal((2, *image.shape), dtype=np.float32) * noise
        image = np.sqrt((image + real) ** 2 + imaginary**2) * np.float32(gain)
        stored[..., index] = np.clip(np.rint(image), 0, 32767).astype(np.int16)
    return stored


def _sensitivity(
    model: Acquisition, axis: Array, coil: tuple[float, float, float], strength: float, tilt: NDArray[np.float64]
) -> Array:
    half = model.field_of_view / 2
    front = np.exp(-(axis + half) / 45)
    back = np.exp(-(half - axis) / 45)
    surface = 1 + model.surface * strength * (front + back)
    bias = 1 + tilt[0] * axis[:, None] + tilt[1] * axis[None, :]
    total = bias * surface[None, :]
    if model.near_field:
        cx, cy, radius = coil
        distance = np.hypot(axis[:, None] - cx, axis[None, :] - cy) - radius
        total = total * (1 + model.near_field * strength * np.exp(-np.maximum(distance, 0) / model.reach))
    sensitivity: Array = total.astype(np.float32)
    return sensitivity
