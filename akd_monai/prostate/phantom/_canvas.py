# SPDX-License-Identifier: Apache-2.0
"""What the SYNTHETIC anatomy is painted with: a slice as canvas, a smooth warp, and texture."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Array = NDArray[np.float32]

_PLANE_MM = 2.0  # distance between the planes of the texture


class Canvas:
    """One thin slice while it is painted: the image, warped coordinates, two textures."""

    def __init__(self, axis: Array, x: Array, y: Array, fine: Array, coarse: Array, tissues: Mapping[str, float]):
        self.x, self.y, self.fine, self.coarse, self.tissues = x, y, fine, coarse, tissues
        self.pixel = float(axis[1] - axis[0])
        self._first, self._count = float(axis[0]), len(axis)
        self.image: Array = (tissues["fat"] * (1 + 0.13 * coarse)).astype(np.float32)

    def box(self, cx: float, cy: float, rx: float, ry: float) -> tuple[slice, slice]:
        """Return the pixels that a structure can reach, the warp included."""
        return self._span(cx, rx + 8), self._span(cy, ry + 8)

    def _span(self, centre: float, reach: float) -> slice:
        low = int(np.floor((centre - reach - self._first) / self.pixel))
        high = int(np.ceil((centre + reach - self._first) / self.pixel)) + 1
        return slice(min(max(low, 0), self._count), min(max(high, 0), self._count))

    def ellipse(self, tissue: str, cx: float, cy: float, rx: float, ry: float, angle: float, *, power: float = 2.0,
                texture: float = 0.08, streaks: float = 0.0) -> None:  # fmt: skip
        """Paint an ellipse (``power`` 2) or a rounder box (above), turned by ``angle``; semi-axes in mm."""
        if rx <= 0.3 or ry <= 0.3:
            return
        reach = max(rx, ry) if angle else 0.0
        box = self.box(cx, cy, max(rx, reach), max(ry, reach))
        x, y = self.x[box] - np.float32(cx), self.y[box] - np.float32(cy)
        if not x.size:
            return
        if angle:
            cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
            x, y = cos * x + sin * y, cos * y - sin * x
        u, v = np.abs(x) / np.float32(rx), np.abs(y) / np.float32(ry)
        radius = np.sqrt(u * u + v * v) if power == 2 else (u**power + v**power) ** np.float32(1 / power)
        lines = None
        if streaks:  # fat between the bundles of a muscle
            phase = y * np.float32(1.3) + 3 * self.coarse[box] + np.float32(0.7) * self.fine[box]
            lines = np.clip(np.sin(phase) - np.float32(0.5), 0, None) * np.float32(streaks)
        self.cover(tissue, box, (radius - 1) * min(rx, ry), texture=texture, added=lines)

    def cover(self, tissue: str, box: tuple[slice, slice], distance: Array, *, texture: float = 0.08,
              gain: float = 1.0, strength: float = 1.0, added: Array | None = None) -> None:  # fmt: skip
        """Paint a tissue where ``distance`` (mm, negative inside) says so, with an edge one pixel wide."""
        share = np.clip(0.5 - distance / max(self.pixel, 0.6), 0, 1) * np.float32(strength)
        signal = np.float32(self.tissues[tissue] * gain) * (1 + np.float32(texture) * self.fine[box])
        if added is not None:
            signal = signal + added * np.float32(self.tissues["fat"])
        self.image[box] += share * (np.maximum(signal, 0) - self.image[box])


class Warp:
    """A smooth displacement of a few mm: three slow waves along each axis."""

    def __init__(self, generator: np.random.Generator) -> None:
        self._waves = [
            [
                (generator.normal(0, 1.3), *(2 * np.pi / generator.uniform(45, 140, 3)), generator.uniform(0, 6.28))
                for _ in range(4)
            ]
            for _ in range(2)
        ]

    def __call__(self, axis: Array, z: float) -> tuple[Array, Array]:
        """Return the warped x and y of every pixel ``[X, Y]``."""
        moved = []
        for waves in self._waves:
            total = np.zeros((len(axis), len(axis)), np.float32)
            for amplitude, fx, fy, fz, phase in waves:
                a, b = fx * axis + fz * z + phase, fy * axis
                total += amplitude * (np.outer(np.cos(a), np.cos(b)) - np.outer(np.sin(a), np.sin(b)))
            moved.append(total)
        return axis[:, None] + moved[0], axis[None, :] + moved[1]


class Texture:
    """Two noise volumes, of about 1 mm and 8 mm, with planes ``_PLANE_MM`` apart so that thin slices are alike."""

    def __init__(self, seed: int, axis: Array, slab_mm: float) -> None:
        generator = np.random.default_rng(seed)
        size = len(axis)
        pixel = float(axis[1] - axis[0])
        self._planes = int(np.ceil(slab_mm / _PLANE_MM)) + 4
        shape = (self._planes, size, size)
        fine = generator.standard_normal(shape, dtype=np.float32)
        self._fine = _unit(ndimage.gaussian_filter(fine, (0.7, 0.9 / pixel, 0.9 / pixel), truncate=3, mode="wrap"))
        blocks = max(4, round(size * pixel / 8))
        coarse = generator.standard_normal((self._planes, blocks, blocks), dtype=np.float32)
        coarse = ndimage.gaussian_filter(coarse, (1.5, 0.7, 0.7), mode="wrap")
        self._coarse = _unit(ndimage.zoom(coarse, (1, size / blocks, size / blocks), order=1))

    def at(self, z: float) -> tuple[Array, Array]:
        """Return both textures in the plane at ``z`` mm."""
        place = float(np.clip(z / _PLANE_MM + (self._planes - 1) / 2, 0, self._planes - 1.001))
        low, share = int(place), np.float32(place % 1)
        fine, coarse = ((1 - share) * t[low] + share * t[low + 1] for t in (self._fine, self._coarse))
        return fine, coarse


def _unit(noise: Array) -> Array:
    return noise / noise.std()
