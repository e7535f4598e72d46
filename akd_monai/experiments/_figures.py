# SPDX-License-Identifier: Apache-2.0
"""Pictures of a report: outlines of masks on slices, and curves of training, as PNG."""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

__all__ = ["ContourRow", "as_png", "contour_figure", "curves_figure", "draw_curves", "largest_slice", "looks"]

Array = npt.NDArray[Any]
_REFERENCE: dict[str, Any] = {"color": "#e6194b", "linestyle": "solid", "linewidth": 1.6}
_PREDICTION: dict[str, Any] = {"color": "#2fd14f", "linestyle": (0, (4, 1.5)), "linewidth": 1.6}
# The colours of Okabe and Ito, told apart with any colour vision, with a line style each for print without colour.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#000000", "#e69f00")
_STYLES = ("solid", "dashed", "dashdot", "dotted", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 3)), (0, (8, 2)))
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


def curves_figure(histories: Mapping[str, Sequence[Mapping[str, float]]]) -> bytes:
    r"""Draw each loss term over the epochs, one panel a training, and the validation Dice of all in a last panel.

    Args:
        histories: entries of each training by its label: ``epoch``, ``loss/<term>``, ``val_mean_dice``. Undefined
            values are gaps; an entry without an epoch counts from 1. A name with ``low`` and ``high`` before it, such as
            ``low loss/total``, is an end of the band around a mean of several trainings.

    Returns:
        A PNG file.

    Raises:
        ValueError: if there is no training.

    Example:
        >>> curves_figure({"student": [{"epoch": 1, "loss/total": 0.9, "val_mean_dice": 0.4}]})[:4]
        b'\x89PNG'
    """
    if not histories:
        raise ValueError("there is no training to draw; give at least one history.")
    panels = len(histories) + 1
    columns = min(panels, 2)
    rows = math.ceil(panels / columns)
    figure = Figure(figsize=(_WIDTH_INCHES, 3.3 * rows), dpi=_DPI, layout="constrained")
    every = list(figure.subplots(rows, columns, squeeze=False).flat)
    terms = _ordered(k for history in histories.values() for entry in history for k in entry if k.startswith("loss/"))
    look_of = looks(terms)
    for (label, history), ax in zip(histories.items(), every, strict=False):
        recorded = set().union(*history)
        present = [term for term in terms if term in recorded]
        draw_curves(ax, f"Loss: {label}", {t: (history, t, look_of[t]) for t in present})
    draw_curves(
        every[panels - 1],
        "Validation Dice",
        {label: (h, "val_mean_dice", look) for (label, h), look in zip(histories.items(), _cycle(), strict=False)},
    )
    every[panels - 1].set_ylim(-0.03, 1.03)
    for ax in every[panels:]:
        ax.set_axis_off()
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


def draw_curves(
    ax: Axes, title: str, curves: Mapping[str, tuple[Any, str, Mapping[str, Any]]], legend: bool = True
) -> None:
    """Draw one curve for each history: its entries, the name of the values in them, and the look of the line."""
    drawn = []
    for label, (history, key, look) in curves.items():
        points = [(entry.get("epoch", i + 1), entry.get(key, math.nan)) for i, entry in enumerate(history)]
        values = np.array([math.nan if v is None else v for _, v in points], dtype=np.float64)
        values[np.isinf(values)] = math.nan
        if np.isnan(values).all():
            continue
        marker = "o" if np.count_nonzero(~np.isnan(values)) <= 12 else None
        epochs = [epoch for epoch, _ in points]
        ax.plot(epochs, values, label=label.removeprefix("loss/"), marker=marker, markersize=3, **look)
        low, high = (np.array([entry.get(f"{end} {key}", math.nan) for entry in history]) for end in ("low", "high"))
        ax.fill_between(epochs, low, high, color=look["color"], alpha=0.15, linewidth=0)
        drawn.append(values[~np.isnan(values)])
    ax.set_title(title, fontsize=10, loc="left")
    ax.set_xlabel("epoch", fontsize=9)
    ax.tick_params(labelsize=8)
    ax.grid(alpha=0.25)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    if not drawn:
        ax.text(0.5, 0.5, "nothing recorded", ha="center", transform=ax.transAxes, fontsize=9)
        return
    together = np.concatenate(drawn)
    are_losses = all(key.startswith("loss/") for _, key, _ in curves.values())
    # Terms of unlike size would flatten each other.
    if are_losses and together.min() > 0 and together.max() / together.min() > 20:
        ax.set_yscale("log")
    if not legend:
        return
    # Below the axes, where it hides no curve, with as many columns as there is room for.
    longest = max(len(text) for text in ax.get_legend_handles_labels()[1])
    columns = max(1, 62 // (longest + 8))
    ax.legend(fontsize=8, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.17), ncols=columns)


def _ordered(terms: Iterable[str]) -> list[str]:
    return sorted(set(terms), key=lambda t: (t != "loss/total", t))


def _cycle() -> Iterable[dict[str, Any]]:
    """Return a look for each of many curves; colours that come again have another line style."""
    for i in range(1000):
        style = _STYLES[(i + i // len(_COLOURS)) % len(_STYLES)]
        yield {"color": _COLOURS[i % len(_COLOURS)], "linestyle": style}


def looks(names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return colour and line style of each name."""
    return dict(zip(names, _cycle(), strict=False))


def as_png(figure: Figure) -> bytes:
    """Return a figure as a PNG file; equal figures give equal bytes."""
    stream = io.BytesIO()
    # Without the version of matplotlib in the file.
    FigureCanvasAgg(figure).print_png(stream, metadata={"Software": None})
    return stream.getvalue()
