# SPDX-License-Identifier: Apache-2.0
"""Outlines of masks on slices of cases, as PNG."""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

__all__ = ["ContourRow", "as_png", "contour_figure", "largest_slice"]

Array = npt.NDArray[Any]
_REFERENCE: dict[str, Any] = {"color": "#e6194b", "linestyle": "solid", "linewidth": 1.6}
_PREDICTION: dict[str, Any] = {"color": "#2fd14f", "linestyle": (0, (4, 1.5)), "linewidth": 1.6}
_WIDTH_INCHES = 10.0
_WIDEST_INCHES = 2.6
_DPI = 104
# Shown around the outlines, so that neighbouring anatomy tells where one is.
_MARGIN_MM = 20.0


@dataclass(frozen=True)
class ContourRow:
    """One slice of one case with the outlines to draw on it.

    Attributes:
        title: name of the case and slice, shown at the left.
        image: ``[rows, columns]``, any intensities.
        reference: mask of that shape, true inside.
        predictions: mask of each system by its label.
        dice: Dice of the complete case, written above a system's picture, by its label.
        spacing: height and width of a pixel in mm.
    """

    title: str
    image: Array
    reference: Array
    predictions: Mapping[str, Array]
    dice: Mapping[str, float] = field(default_factory=dict)
    spacing: tuple[float, float] = (1.0, 1.0)


def largest_slice(reference: Array, *others: Array) -> int:
    """Return the index along the last axis with the largest reference; without any, with the largest other mask.

    Example:
        >>> mask = np.zeros((2, 2, 3)); mask[:, 0, 1] = 1
        >>> largest_slice(mask), largest_slice(np.zeros((2, 2, 3)), mask), largest_slice(np.zeros((2, 2, 3)))
        (1, 1, 1)
    """
    for mask in (reference, *others):
        areas = np.count_nonzero(mask, axis=(0, 1))
        if areas.any():
            return int(areas.argmax())
    return int(reference.shape[-1]) // 2


def contour_figure(rows: Sequence[ContourRow], legend: bool = True) -> bytes:
    r"""Draw the reference (red, solid) and each system's outline (green, dashed) on a slice of each case.

    Rows are cases, columns are the image with the reference alone and then one system each. Each picture shows the
    outlines of its row with a margin, with pixels in their true proportions.

    Args:
        rows: one a case.
        legend: whether to explain the two lines below the pictures.

    Returns:
        A PNG file.

    Raises:
        ValueError: if there is no row, or a mask and its image differ in shape.

    Example:
        >>> row = ContourRow("case", np.eye(9), np.eye(9) > 0, {"student": np.zeros((9, 9), dtype=bool)})
        >>> contour_figure([row])[:4]
        b'\x89PNG'

    Source: arXiv 2404.02738, figure 3.
    """
    if not rows:
        raise ValueError("there is no row to draw; give at least one case.")
    for row in rows:
        _check_shapes(row)
    columns = list(dict.fromkeys(label for row in rows for label in row.predictions))
    windows = [_window(row) for row in rows]
    side = min(_WIDTH_INCHES / (len(columns) + 1), _WIDEST_INCHES)
    heights = [side * min(_proportion(w, r.spacing), 1.6) + 0.5 for w, r in zip(windows, rows, strict=True)]
    figure = Figure(figsize=(side * (len(columns) + 1), sum(heights) + 0.4 * legend), dpi=_DPI, layout="constrained")
    grid = figure.subplots(len(rows), len(columns) + 1, squeeze=False, height_ratios=heights)
    for row, window, axes in zip(rows, windows, grid, strict=True):
        _show(axes[0], row, window, None)
        axes[0].set_title(row.title, fontsize=9, loc="left")
        for label, ax in zip(columns, axes[1:], strict=True):
            _show(ax, row, window, label)
            score = row.dice.get(label, math.nan)
            # About 12 characters of this size go into an inch.
            name = textwrap.fill(label, max(8, int(12 * side)))
            dice = "undefined" if math.isnan(score) else f"{score:.3f}"
            ax.set_title(f"{name}\nDice {dice}", fontsize=9)
    if not legend:
        return as_png(figure)
    lines = [Line2D([], [], label="reference", **_REFERENCE), Line2D([], [], label="prediction", **_PREDICTION)]
    figure.legend(handles=lines, loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    return as_png(figure)


def _check_shapes(row: ContourRow) -> None:
    for mask in (row.reference, *row.predictions.values()):
        if mask.shape != row.image.shape:
            raise ValueError(f"{row.title}: image is {row.image.shape}, a mask {mask.shape}; bring them to one grid.")


def _show(ax: Axes, row: ContourRow, window: tuple[slice, slice], label: str | None) -> None:
    image = np.nan_to_num(np.asarray(row.image[window], dtype=np.float64))
    low, high = np.percentile(image, (1, 99))
    ax.imshow(image, cmap="gray", vmin=low, vmax=max(high, low + 1e-6), aspect=row.spacing[0] / row.spacing[1])
    ax.set_xticks([])
    ax.set_yticks([])
    _outline(ax, row.reference[window], _REFERENCE)
    if label is None:
        return
    prediction = row.predictions.get(label)
    if prediction is None:
        _remark(ax, "not available")
    elif prediction[window].any():
        _outline(ax, prediction[window], _PREDICTION)
    else:
        _remark(ax, "nothing predicted on this slice")


def _remark(ax: Axes, text: str) -> None:
    box = {"facecolor": "black", "edgecolor": "none", "alpha": 0.7, "pad": 2.5}
    ax.text(0.5, 0.06, text, color="white", ha="center", va="center", transform=ax.transAxes, fontsize=8, bbox=box)


def _outline(ax: Axes, mask: Array, look: Mapping[str, Any]) -> None:
    """Draw the border of a mask, also where it ends with the picture; older matplotlib warns about an empty one."""
    if not mask.any():
        return
    rows, columns = (np.arange(-1, n + 1) for n in mask.shape)
    padded = np.pad(mask.astype(np.float64), 1)
    ax.contour(
        columns, rows, padded, levels=[0.5], colors=[look["color"]], linestyles=[look["linestyle"]],
        linewidths=look["linewidth"],
    )  # fmt: skip
    ax.set_xlim(-0.5, mask.shape[1] - 0.5)
    ax.set_ylim(mask.shape[0] - 0.5, -0.5)


def _window(row: ContourRow) -> tuple[slice, slice]:
    """Return the part of the slice to show: around all outlines of the row, or all of it if there is none."""
    inside = np.logical_or.reduce([row.reference != 0, *(m != 0 for m in row.predictions.values())])
    parts = []
    for axis, (size, length) in enumerate(zip(inside.shape, row.spacing, strict=True)):
        marked = np.flatnonzero(inside.any(axis=1 - axis)) if inside.any() else np.array([0, size - 1])
        margin = math.ceil(_MARGIN_MM / length)
        parts.append(slice(max(int(marked[0]) - margin, 0), min(int(marked[-1]) + 1 + margin, size)))
    return parts[0], parts[1]


def _proportion(window: tuple[slice, slice], spacing: tuple[float, float]) -> float:
    height = (window[0].stop - window[0].start) * spacing[0]
    width = (window[1].stop - window[1].start) * spacing[1]
    return float(height / width)


def as_png(figure: Figure) -> bytes:
    """Return a figure as a PNG file; equal figures give equal bytes."""
    stream = io.BytesIO()
    # Without the version of matplotlib in the file.
    FigureCanvasAgg(figure).print_png(stream, metadata={"Software": None})
    return stream.getvalue()
