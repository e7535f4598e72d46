# SPDX-License-Identifier: Apache-2.0
"""Curves of training, as PNG."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from akd_monai.data._case_pictures import as_png

__all__ = ["curves_figure", "draw_curves", "looks"]

# The colours of Okabe and Ito, told apart with any colour vision, with a line style each for print without colour.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#000000", "#e69f00")
_STYLES = ("solid", "dashed", "dashdot", "dotted", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 3)), (0, (8, 2)))
_WIDTH_INCHES = 10.0
_DPI = 104


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
