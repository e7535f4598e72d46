# SPDX-License-Identifier: Apache-2.0
"""A picture of slices with the outline of the mask, written without a library for pictures."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from akd_monai.data.geometry import Array, spacing_of, turned_to
from akd_monai.deploy._interpolation import resized
from akd_monai.deploy._statistics import slice_axis
from akd_monai.files import atomic_write

__all__ = ["write_preview"]

_Pixels = NDArray[np.uint8]
_PANELS = 8
_COLUMNS = 4
_SIDE = 240
# one for each class, seen against grey by the colour-blind as well
_COLOURS = ((255, 176, 0), (100, 143, 255), (220, 38, 127), (254, 97, 0), (120, 94, 240))


def write_preview(path: Path, image: NDArray[Any], mask: NDArray[np.uint8], affine: Array) -> Path:
    """Write up to eight slices as a PNG file, in radiological view: the patient's left is on the right.

    Args:
        path: the file.
        image: ``[X, Y, Z]``; grey values between their 0.5 and 99.5 percentiles are shown.
        mask: class numbers ``[X, Y, Z]``.
        affine: in mm, RAS.
    """
    grey, turned, _ = turned_to(image.astype(np.float32), affine, "LPS")
    classes, _, _ = turned_to(mask, affine, "LPS")
    axis = slice_axis(turned)
    low, high = np.percentile(grey, (0.5, 99.5))
    scaled = np.clip((grey - low) / max(high - low, 1e-6), 0, 1)
    panels = [
        _panel(_upright(scaled, axis, k), _upright(classes, axis, k), _pixel_sizes(turned, axis))
        for k in _chosen(classes, axis)
    ]
    return atomic_write(path, _png(_sheet(panels)))


def _chosen(classes: NDArray[np.uint8], axis: int) -> list[int]:
    """Return slices spread over the mask, or over the volume where it is empty."""
    marked = np.flatnonzero(classes.any(axis=tuple(other for other in range(3) if other != axis)))
    first, last = (int(marked[0]), int(marked[-1])) if len(marked) else (0, classes.shape[axis] - 1)
    count = min(_PANELS, last - first + 1)
    return sorted({round(place) for place in np.linspace(first, last, count)})


def _upright(array: NDArray[Any], axis: int, k: int) -> NDArray[Any]:
    """Return a slice as rows from top to bottom: anterior or superior is up."""
    plane = array.take(k, axis).T
    return np.asarray(plane if axis == 2 else plane[::-1])


def _pixel_sizes(affine: Array, axis: int) -> tuple[float, float]:
    column, row = (size for number, size in enumerate(spacing_of(affine)) if number != axis)
    return row, column


def _panel(grey: NDArray[Any], classes: NDArray[Any], sizes: tuple[float, float]) -> _Pixels:
    """Return one slice in colours, with square pixels."""
    extent = [n * size for n, size in zip(grey.shape, sizes, strict=True)]
    shape = [max(1, round(_SIDE * side / max(extent))) for side in extent]
    fine = resized(grey[None, ..., None].astype(np.float32), (*shape, 1))[0, ..., 0]
    marked = resized(classes[None, ..., None], (*shape, 1), nearest=True)[0, ..., 0]
    panel = np.repeat((255 * fine).astype(np.uint8)[..., None], 3, axis=2)
    for number in np.unique(marked[marked > 0]):
        panel[_outline(marked == number)] = _COLOURS[(int(number) - 1) % len(_COLOURS)]
    return panel


def _outline(marked: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the marked pixels with a neighbour that is not marked."""
    inner = np.pad(marked, 1)
    all_around = inner[:-2, 1:-1] & inner[2:, 1:-1] & inner[1:-1, :-2] & inner[1:-1, 2:]
    return np.asarray(marked & ~all_around)


def _sheet(panels: list[_Pixels]) -> _Pixels:
    height = max(panel.shape[0] for panel in panels)
    width = max(panel.shape[1] for panel in panels)
    columns = min(_COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    sheet = np.zeros((rows * height, columns * width, 3), np.uint8)
    for number, panel in enumerate(panels):
        top = number // columns * height
        left = number % columns * width
        sheet[top : top + panel.shape[0], left : left + panel.shape[1]] = panel
    return sheet


def _png(pixels: _Pixels) -> bytes:
    """Return ``[rows, columns, 3]`` as a PNG file; see https://www.w3.org/TR/png/."""
    rows, columns, _ = pixels.shape
    # each line begins with the number of its filter: none
    lines = np.concatenate([np.zeros((rows, 1), np.uint8), pixels.reshape(rows, -1)], axis=1)
    header = struct.pack(">IIBBBBB", columns, rows, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(lines.tobytes(), 6)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in parts)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
