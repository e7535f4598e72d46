# SPDX-License-Identifier: Apache-2.0
"""SYNTHETIC glands: size and shape drawn from statistics of real labels (``gland_statistics.json``)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Gland", "draw_gland"]

Array = NDArray[np.float32]

_VOLUME_RANGE_CM3 = (20.0, 105.0)
# A real gland fades out past its last labelled slice.
_CAP_MM = 2.5


@dataclass(frozen=True)
class Gland:
    """One gland, centred at the origin; x towards the left, y towards the back, z towards the head, all in mm.

    Args:
        width: extent of its bounding box along x.
        height: extent along y.
        length: extent along z.
        area: area of the cross-section relative to the largest one, from apex to base.
        central: share of the central gland in the cross-section, from apex to base.
        centre: front-to-back position of the cross-section's centre as a share of the height.
        concavity: depth of the dent at the back, as a share of the half height.
        taper: how much narrower the front is, as a share of the half width.
        waves: amplitude and phase of four angular waves of the outline.
    """

    width: float
    height: float
    length: float
    area: Array
    central: Array
    centre: Array
    concavity: float
    taper: float
    waves: Array

    def level(self, z: float) -> float:
        """Return the height of ``z`` above the apex as a share of the length: 0 at the apex, 1 at the base."""
        return z / self.length + 0.5

    def section(self, z: float) -> tuple[float, float, float]:
        """Return half width, half height and centre (y) of the cross-section at ``z`` in mm; 0 past the ends."""
        level = self.level(z)
        beyond = max(-level, level - 1, 0.0) * self.length
        scale = np.sqrt(self._at(self.area, level) * max(0.0, 1 - beyond / _CAP_MM))
        return self.width / 2 * scale, self.height / 2 * scale, self._at(self.centre, level) * self.height

    def central_share(self, z: float) -> float:
        """Return the share of the central gland in the cross-section at ``z`` mm."""
        return float(np.clip(self._at(self.central, self.level(z)), 0.08, 0.94))

    def radius(self, x: Array, y: Array, z: float) -> Array:
        """Return the distance of points ``(x, y)`` from the section's centre as a share of the outline's."""
        half_width, half_height, centre = self.section(z)
        if half_width < 0.5:
            return np.full(np.broadcast_shapes(x.shape, y.shape), 9.0, np.float32)
        u = x / half_width
        v = (y - centre) / half_height
        # the waves turn slowly from apex to base
        angle = np.arctan2(v, u) + np.float32(0.4 * self.level(z))
        for order, (amplitude, phase) in enumerate(self.waves, start=2):
            u = u * (1 - amplitude * np.cos(order * angle + phase))
        front = np.clip(-v, 0, 1)
        dent = self.concavity * np.exp(-((u / 0.4) ** 2)) * (v > 0)
        radius: Array = np.sqrt((u / (1 - self.taper * front)) ** 2 + (v / (1 - dent)) ** 2)
        return radius

    def _at(self, profile: Array, level: float) -> float:
        return float(np.interp(level, np.linspace(0, 1, len(profile)), profile))


def draw_gland(generator: np.random.Generator, endorectal: bool, longest_mm: float) -> Gland:
    """Draw a gland; with an endorectal coil it is flatter and dented at the back.

    Args:
        generator: source of all random numbers of the case.
        endorectal: which of the two groups of the statistics to draw from.
        longest_mm: longest gland that fits the scan.

    Returns:
        A gland whose volume lies within 20 and 105 cm3, about.
    """
    table = _statistics()["endorectal" if endorectal else "no_coil"]
    # Cholesky: the default, SVD, leaves signs to the linear algebra library, and with them the gland
    mean, covariance = table["log_extent_mean"], table["log_extent_covariance"]
    extent = np.exp(generator.multivariate_normal(mean, covariance, method="cholesky"))
    level = np.linspace(-1, 1, len(table["area_mean"]))
    profiles = {}
    for name in ("area", "central", "centre"):
        # three numbers a profile: common shift, tilt, bend; independent noise at each level would give steps
        change = generator.normal(size=3) @ _modes(level)
        profiles[name] = np.array(table[f"{name}_mean"]) + np.array(table[f"{name}_sd"]) * change
    area = np.clip(profiles["area"], 0.1, 1.0)
    area = area / max(area)
    volume = np.pi / 4 * np.prod(extent) * area.mean() / 1000
    extent *= np.cbrt(np.clip(volume, *_VOLUME_RANGE_CM3) / volume)
    if extent[2] > longest_mm:
        extent[:2] *= np.sqrt(extent[2] / longest_mm)
        extent[2] = longest_mm
    amplitudes = generator.normal(0, [0.022, 0.018, 0.012, 0.008])
    waves = np.stack([amplitudes, generator.uniform(0, 2 * np.pi, 4)], axis=1)
    dent = generator.uniform(0.15, 0.35) if endorectal else generator.uniform(0.0, 0.15)
    return Gland(
        width=float(extent[0]),
        height=float(extent[1]),
        length=float(extent[2]),
        area=area.astype(np.float32),
        central=profiles["central"].astype(np.float32),
        centre=profiles["centre"].astype(np.float32),
        concavity=float(dent),
        taper=float(generator.uniform(0.1, 0.3)),
        waves=waves.astype(np.float32),
    )


def _modes(level: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.stack([np.full_like(level, 0.5), 0.6 * level, 0.6 * (2 * level**2 - 1)])


@lru_cache(maxsize=1)
def _statistics() -> dict[str, Any]:
    file = resources.files("akd_monai.prostate.phantom").joinpath("gland_statistics.json")
    table: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return table
