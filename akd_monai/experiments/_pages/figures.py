# SPDX-License-Identifier: Apache-2.0
"""Figures over many rows of an experiment: spread by site, Dice against cost, validation by site, reliability."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from akd_monai.data._case_pictures import as_png
from akd_monai.experiments._figures import draw_curves, looks

__all__ = [
    "Point",
    "box_figure",
    "cost_figure",
    "pareto_front",
    "reliability_figure",
    "spans_decades",
    "validation_figure",
]

_WIDTH_INCHES = 10.0
_ROW_INCHES = 0.2
_DPI = 104


@dataclass(frozen=True)
class Point:
    """A row of an experiment in a picture of Dice against cost.

    Attributes:
        label: of the row.
        network: which network it is; rows of one network stand above each other.
        cost: parameters or seconds, above 0.
        dice: mean over the cases.
    """

    label: str
    network: str
    cost: float
    dice: float


def box_figure(panels: Mapping[str, Mapping[str, Sequence[float]]]) -> bytes:
    r"""Draw the Dice of every case, one panel a site and one box a row: quartiles, median, and a point a case.

    Args:
        panels: values of each row by its label, by site; undefined values are left out.

    Returns:
        A PNG file.

    Example:
        >>> box_figure({"HK": {"alone": [0.5, 0.7], "distilled": [0.6]}})[:4]
        b'\x89PNG'
    """
    labels = list(dict.fromkeys(label for rows in panels.values() for label in rows))
    columns = min(len(panels), 3)
    lines = math.ceil(len(panels) / columns)
    height = lines * (len(labels) * _ROW_INCHES + 0.75)
    figure = Figure(figsize=(_WIDTH_INCHES, height), dpi=_DPI, layout="constrained")
    axes = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True)
    for (site, rows), ax in zip(panels.items(), axes.flat, strict=False):
        ax.set_title(site, fontsize=10, loc="left")
        ax.grid(axis="x", alpha=0.25)
        for place, label in enumerate(labels):
            _box(ax, place, rows.get(label, ()))
    for ax in axes[:, 0]:
        ax.set_yticks(range(len(labels)), labels, fontsize=7.5)
        ax.set_ylim(len(labels) - 0.5, -0.5)
    for ax in list(axes.flat)[len(panels) :]:
        ax.set_axis_off()
    for ax in axes[-1]:
        ax.set_xlabel("Dice", fontsize=9)
    for ax in axes.flat:
        ax.tick_params(axis="x", labelsize=8)
        ax.tick_params(axis="y", length=0)
    return as_png(figure)


def _box(ax: Axes, place: int, values: Sequence[float]) -> None:
    """Draw quartiles and points; the points of one row are spread by their rank, so that equal ones are seen."""
    defined = np.sort([v for v in values if not math.isnan(v)])
    if len(defined) == 0:
        return
    low, middle, high = np.percentile(defined, (25, 50, 75))
    ax.add_patch(Rectangle((low, place - 0.32), high - low, 0.64, facecolor="#56b4e9", alpha=0.35, edgecolor="none"))
    ax.plot([middle, middle], [place - 0.32, place + 0.32], color="#0072b2", linewidth=1.8)
    spread = (np.arange(len(defined)) % 3 - 1) * 0.16
    ax.plot(defined, place + spread, linestyle="none", marker="o", markersize=2.4, color="#1c2430", alpha=0.75)


def pareto_front(points: Sequence[Point]) -> list[Point]:
    """Return the points that no other one beats: none has a lower cost and at least the Dice, or the cost and more Dice.

    Example:
        >>> points = [Point("a", "n", 1, 0.5), Point("b", "n", 2, 0.4), Point("c", "n", 2, 0.7)]
        >>> [point.label for point in pareto_front(points)]
        ['a', 'c']
    """
    front: list[Point] = []
    for point in sorted(points, key=lambda p: (p.cost, -p.dice, p.label)):
        if not front or point.dice > front[-1].dice:
            front.append(point)
    return front


def cost_figure(panels: Mapping[str, Sequence[Point]]) -> bytes:
    r"""Draw Dice against cost, one panel a kind of cost, with the Pareto front as a line through large points.

    A colour is a network, and a marker the row among those of its network.

    Args:
        panels: the rows, by what their cost is, such as ``"parameters"``.

    Returns:
        A PNG file.

    Example:
        >>> cost_figure({"parameters": [Point("alone", "enet", 350_000, 0.7)]})[:4]
        b'\x89PNG'
    """
    labels = list(dict.fromkeys(point.label for points in panels.values() for point in points))
    networks = list(dict.fromkeys(point.network for points in panels.values() for point in points))
    look = looks(networks)
    figure = Figure(figsize=(_WIDTH_INCHES, 3.9 + 0.075 * len(labels)), dpi=_DPI, layout="constrained")
    axes = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
    for (name, points), ax in zip(panels.items(), axes, strict=True):
        front = pareto_front(points)
        ax.plot([p.cost for p in front], [p.dice for p in front], color="#8a94a3", linewidth=1.2, zorder=1)
        drawn: Counter[str] = Counter()
        for point in points:
            size = 10.0 if point in front else 6.0
            style = {"color": look[point.network]["color"], "marker": _MARKERS[drawn[point.network] % len(_MARKERS)]}
            ax.plot(point.cost, point.dice, linestyle="none", markersize=size, label=point.label, **style)
            drawn[point.network] += 1
        is_wide = spans_decades([point.cost for point in points])
        ax.set_xscale("log" if is_wide else "linear")
        ax.set_xlabel(f"{name} (logarithmic)" if is_wide else name, fontsize=9)
        ax.tick_params(labelsize=8, which="both")
        ax.grid(alpha=0.25)
    axes[0].set_ylabel("mean Dice", fontsize=9)
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=3, frameon=False, fontsize=8, markerscale=0.8)
    return as_png(figure)


def spans_decades(costs: Sequence[float]) -> bool:
    """Return whether costs are far enough apart for a logarithmic axis, whose ticks would else cover each other.

    Example:
        >>> spans_decades([353_545, 5_000_000]), spans_decades([0.171, 0.178])
        (True, False)
    """
    return bool(costs) and min(costs) > 0 and max(costs) / min(costs) > _NARROW


# costs within this factor stand on a linear axis
_NARROW = 5.0
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "h")


def validation_figure(panels: Mapping[str, Mapping[str, Sequence[Mapping[str, float]]]]) -> bytes:
    r"""Draw the validation Dice over the epochs, one panel a site and one curve with its band a row.

    Args:
        panels: histories of each row by its label, by site, as for
            :func:`~akd_monai.experiments._figures.curves_figure`.

    Returns:
        A PNG file.

    Example:
        >>> validation_figure({"HK": {"alone": [{"epoch": 1, "val_mean_dice": 0.4}]}})[:4]
        b'\x89PNG'
    """
    labels = list(dict.fromkeys(label for rows in panels.values() for label in rows))
    look = looks(labels)
    columns = min(len(panels), 3)
    lines = math.ceil(len(panels) / columns)
    height = 2.5 * lines + 0.5 + 0.08 * len(labels)
    figure = Figure(figsize=(_WIDTH_INCHES, height), dpi=_DPI, layout="constrained")
    axes = figure.subplots(lines, columns, squeeze=False)
    for (site, rows), ax in zip(panels.items(), axes.flat, strict=False):
        draw_curves(ax, site, {label: (h, "val_mean_dice", look[label]) for label, h in rows.items()}, legend=False)
        ax.set_ylim(-0.03, 1.03)
    for ax in list(axes.flat)[len(panels) :]:
        ax.set_axis_off()
    handles, names = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    return as_png(figure)


def reliability_figure(panels: Mapping[str, Mapping[str, Sequence[tuple[float, float, float]]]]) -> bytes:
    r"""Draw how often a voxel is in the structure against the probability given to it, one panel a network.

    Args:
        panels: for each row, by its label and network, the mean probability, the fraction inside the reference and the
            number of voxels of each bin. Bins below one in ten thousand voxels are left out.

    Returns:
        A PNG file.

    Example:
        >>> reliability_figure({"enet": {"alone": [(0.1, 0.05, 900), (0.9, 0.8, 100)]}})[:4]
        b'\x89PNG'
    """
    columns = min(len(panels), 3)
    lines = math.ceil(len(panels) / columns)
    most = max(len(rows) for rows in panels.values())
    # square panels, and below them a line of the legend for each row
    height = lines * (_WIDTH_INCHES / 3 + 0.3 + 0.17 * most)
    figure = Figure(figsize=(_WIDTH_INCHES, height), dpi=_DPI, layout="constrained")
    axes = figure.subplots(lines, columns, squeeze=False)
    for (network, rows), ax in zip(panels.items(), axes.flat, strict=False):
        _reliability(ax, network, rows)
    for ax in list(axes.flat)[len(panels) :]:
        ax.set_axis_off()
    return as_png(figure)


def _reliability(ax: Axes, network: str, rows: Mapping[str, Sequence[tuple[float, float, float]]]) -> None:
    ax.plot([0, 1], [0, 1], color="#8a94a3", linewidth=1)
    look = looks(list(rows))
    for label, bins in rows.items():
        least = sum(count for *_, count in bins) / 10_000
        kept = [(p, f) for p, f, count in bins if count >= least]
        ax.plot([p for p, _ in kept], [f for _, f in kept], marker="o", markersize=3, label=label, **look[label])
    ax.set_title(network, fontsize=10, loc="left")
    ax.set_xlabel("probability given", fontsize=9)
    ax.set_ylabel("fraction in the reference", fontsize=9)
    ax.xaxis.set_major_locator(MaxNLocator(5))
    ax.tick_params(labelsize=8)
    ax.grid(alpha=0.25)
    ax.legend(fontsize=7.5, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.17))
