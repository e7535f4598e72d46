# SPDX-License-Identifier: Apache-2.0
"""What the SYNTHETIC anatomy is painted with: a slice as canvas, a smooth warp, and texture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

__all__ = ["Canvas", "Texture", "Warp"]

Array = NDArray[np.float32]

# The pixels along x and along y that a structure can reach.
Box = tuple[slice, slice]

# Distance between the planes of the texture.
_PLANE_MM = 2.0
# Room around a structure, which the warp may move it by.
_MARGIN_MM = 8


class Canvas:
    """One thin slice while it is painted.

    Args:
        axis: positions of the pixels along x, and along y, in mm.
        x: warped position of every pixel along x, ``[X, Y]``.
        y: warped position of every pixel along y, ``[X, Y]``.
        fine: texture of about 1 mm, ``[X, Y]``.
        coarse: texture of about 8 mm, ``[X, Y]``.
        tissues: signal of each tissue.

    Attributes:
        image: what is painted so far, ``[X, Y]``.
    """

    def __init__(
        self, axis: Array, x: Array, y: Array, fine: Array, coarse: Array, tissues: Mapping[str, float]
    ) -> None:
        self.x = x
        self.y = y
        self.fine = fine
        self.coarse = coarse
        self.tissues = tissues
        self.pixel = float(axis[1] - axis[0])
        self._first = float(axis[0])
        self._count = len(axis)
        self.image: Array = (tissues["fat"] * (1 + 0.13 * coarse)).astype(np.float32)

    def box(self, cx: float, cy: float, rx: float, ry: float) -> Box:
        """Return the pixels that a structure can reach, the warp included."""
        return self._span(cx, rx + _MARGIN_MM), self._span(cy, ry + _MARGIN_MM)

    def _span(self, centre: float, reach: float) -> slice:
        low = int(np.floor((centre - reach - self._first) / self.pixel))
        high = int(np.ceil((centre + reach - self._first) / self.pixel)) + 1
        return slice(min(max(low, 0), self._count), min(max(high, 0), self._count))

    def ellipse(
        self,
        tissue: str,
        cx: float,
        cy: float,
        rx: float,
        ry: float,
        angle: float = 0.0,
        *,
        power: float = 2.0,
        texture: float = 0.08,
        streaks: float = 0.0,
    ) -> None:
        """Paint an ellipse, or a shape closer to a rectangle.

        Args:
            tissue: what to paint.
            cx: centre along x, mm.
            cy: centre along y, mm.
            rx: semi-axis along x, mm.
            ry: semi-axis along y, mm.
            angle: by which it is turned, radians.
            power: 2 for an ellipse; larger values give a box with round corners.
            texture: how much the signal varies.
            streaks: how bright the fat between the bundles of a muscle is.
        """
        if rx <= 0.3 or ry <= 0.3:
            return
        reach = max(rx, ry) if angle else 0.0
        box = self.box(cx, cy, max(rx, reach), max(ry, reach))
        x = self.x[box] - np.float32(cx)
        y = self.y[box] - np.float32(cy)
        if not x.size:
            return
        if angle:
            cos = np.float32(np.cos(angle))
            sin = np.float32(np.sin(angle))
            x, y = cos * x + sin * y, cos * y - sin * x
        u = np.abs(x) / np.float32(rx)
        v = np.abs(y) / np.float32(ry)
        radius = np.sqrt(u * u + v * v) if power == 2 else (u**power + v**power) ** np.float32(1 / power)
        lines = self._streaks(y, box) * np.float32(streaks) if streaks else None
        self.cover(tissue, box, (radius - 1) * min(rx, ry), texture=texture, fat=lines)

    def _streaks(self, y: Array, box: Box) -> Array:
        phase = y * np.float32(1.3) + 3 * self.coarse[box] + np.float32(0.7) * self.fine[box]
        lines: Array = np.clip(np.sin(phase) - np.float32(0.5), 0, None)
        return lines

    def cover(
        self,
        tissue: str,
        box: Box,
        distance: Array,
        *,
        texture: float = 0.08,
        gain: float = 1.0,
        strength: float = 1.0,
        fat: Array | None = None,
    ) -> None:
        """Paint a tissue inside an outline, with an edge one pixel wide.

        Args:
            tissue: what to paint.
            box: the pixels concerned.
            distance: of each pixel of ``box`` to the outline in mm, negative inside.
            texture: how much the signal varies.
            gain: factor on the signal.
            strength: how much of what lies below is covered, 1 for all of it.
            fat: share of fat that is added to the signal.
        """
        share = np.clip(0.5 - distance / max(self.pixel, 0.6), 0, 1) * np.float32(strength)
        signal = np.float32(self.tissues[tissue] * gain) * (1 + np.float32(texture) * self.fine[box])
        if fat is not None:
            signal = signal + fat * np.float32(self.tissues["fat"])
        self.image[box] += share * (np.maximum(signal, 0) - self.image[box])


# Amplitude in mm, angular frequency along x, y and z in 1/mm, phase.
_Wave = tuple[float, float, float, float, float]
_WAVES = 4


class Warp:
    """A smooth displacement of a few mm: the sum of four slow waves for each axis."""

    def __init__(self, generator: np.random.Generator) -> None:
        self._waves_x = [_wave(generator) for _ in range(_WAVES)]
        self._waves_y = [_wave(generator) for _ in range(_WAVES)]

    def __call__(self, axis: Array, z: float) -> tuple[Array, Array]:
        """Return the warped x and y of every pixel ``[X, Y]``."""
        x = axis[:, None] + _displacement(self._waves_x, axis, z)
        y = axis[None, :] + _displacement(self._waves_y, axis, z)
        return x, y


def _wave(generator: np.random.Generator) -> _Wave:
    amplitude = generator.normal(0, 1.3)
    fx, fy, fz = 2 * np.pi / generator.uniform(45, 140, 3)
    return amplitude, fx, fy, fz, generator.uniform(0, 6.28)


def _displacement(waves: Sequence[_Wave], axis: Array, z: float) -> Array:
    total = np.zeros((len(axis), len(axis)), np.float32)
    for amplitude, fx, fy, fz, phase in waves:
        along_x = fx * axis + fz * z + phase
        along_y = fy * axis
        # cos(x + y), as products of functions of one axis
        total += amplitude * (np.outer(np.cos(along_x), np.cos(along_y)) - np.outer(np.sin(along_x), np.sin(along_y)))
    return total


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
        fine = (1 - share) * self._fine[low] + share * self._fine[low + 1]
        coarse = (1 - share) * self._coarse[low] + share * self._coarse[low + 1]
        return fine, coarse


def _unit(noise: Array) -> Array:
    scaled: Array = noise / noise.std()
    return scaled
