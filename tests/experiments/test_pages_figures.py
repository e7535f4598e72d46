# SPDX-License-Identifier: Apache-2.0
"""What the figures of an experiment's pages show, worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from akd_monai.experiments._pages import costs, figures
from akd_monai.experiments._pages.bands import mean_history
from akd_monai.experiments._pages.calibration import reliability_panels
from akd_monai.experiments._pages.figures import Point, pareto_front
from akd_monai.experiments._plan.cell import Cell, Row
from akd_monai.experiments._study.lines import Line


def drawn(monkeypatch, draw, *args):
    """Return the axes of a figure in place of its bytes."""
    kept: list[Figure] = []
    monkeypatch.setattr(figures, "as_png", lambda figure: kept.append(figure) or b"")
    draw(*args)
    return kept[0].axes


def test_the_front_leaves_out_what_is_beaten():
    cheap, same_cost, tie, dear, best = (
        Point("cheap", "a", 1, 0.5),
        Point("same cost, worse", "a", 1, 0.4),
        Point("more cost, same Dice", "b", 2, 0.5),
        Point("more cost, worse", "b", 3, 0.45),
        Point("best", "c", 9, 0.8),
    )
    assert pareto_front([best, dear, tie, same_cost, cheap]) == [cheap, best]


def test_the_front_is_drawn_and_large(monkeypatch):
    points = [Point("a", "n", 10, 0.5), Point("b", "n", 10, 0.7), Point("c", "m", 100, 0.6)]
    (ax,) = drawn(monkeypatch, figures.cost_figure, {"parameters": points})
    front, *marks = ax.lines
    assert (list(front.get_xdata()), list(front.get_ydata())) == ([10], [0.7])
    sizes = {mark.get_label(): mark.get_markersize() for mark in marks}
    assert sizes["b"] > sizes["a"] == sizes["c"]
    colours = {mark.get_label(): mark.get_color() for mark in marks}
    assert colours["a"] == colours["b"] != colours["c"]


def test_a_box_holds_the_middle_half_and_a_point_is_a_case(monkeypatch):
    values = [0.1, 0.2, 0.3, 0.4, 0.9, math.nan]
    left, right = drawn(
        monkeypatch, figures.box_figure, {"BMC": {"alone": values, "other": []}, "HK": {"other": [0.5]}}
    )
    (box,) = left.patches
    assert (box.get_x(), box.get_x() + box.get_width()) == pytest.approx((0.2, 0.4))
    median, points = left.lines
    np.testing.assert_allclose(median.get_xdata(), [0.3, 0.3])
    np.testing.assert_allclose(points.get_xdata(), values[:5])
    assert [tick.get_text() for tick in left.get_yticklabels()] == ["alone", "other"]
    # a row without a case at a site keeps its place
    assert right.lines[1].get_ydata()[0] == pytest.approx(1, abs=0.2)


def test_bands_by_hand():
    first = [{"epoch": 1, "iteration": 5, "loss/total": 1.0, "val_mean_dice": 0.2}, {"epoch": 2, "loss/total": 0.5}]
    second = [{"epoch": 1, "iteration": 5, "loss/total": 3.0, "val_mean_dice": math.nan}]
    one, two = mean_history([first, second])
    assert (one["loss/total"], one["low loss/total"], one["high loss/total"]) == (2.0, 1.0, 3.0)
    assert one["val_mean_dice"] == 0.2
    assert "low val_mean_dice" not in one
    assert two == {"epoch": 2, "loss/total": 0.5}
    assert mean_history([]) == []


def test_a_band_is_drawn_around_its_mean(monkeypatch):
    history = mean_history([[{"epoch": e, "val_mean_dice": d / e} for e in (1, 2)] for d in (0.4, 0.8)])
    (ax,) = drawn(monkeypatch, figures.validation_figure, {"HK": {"alone": history}})
    np.testing.assert_allclose(ax.lines[0].get_ydata(), [0.6, 0.3])
    corners = ax.collections[0].get_paths()[0].vertices[:, 1]
    assert (corners.min(), corners.max()) == pytest.approx((0.2, 0.8))


def test_bins_are_pooled_by_their_voxels(tmp_path):
    cells = []
    for fold, (voxels, probability, fraction) in enumerate([(100, 0.1, 0.0), (300, 0.06, 0.2)]):
        row = Row("HK", 0, "student", "enet", "without", None, fold)
        folder = tmp_path / str(fold)
        (folder / "eval").mkdir(parents=True)
        table = {"bin": [1], "voxels": [voxels], "probability": [probability], "fraction": [fraction]}
        pd.DataFrame(table).to_csv(folder / "eval" / "calibration.csv", index=False)
        cells.append(Cell(f"test/{fold}", "test", row, (), ".", str(folder), "r.json"))
    other = Line("student", "enet", "distilled", "unetplusplus")
    panels = reliability_panels(cells, [Line("student", "enet", "without"), other])
    assert list(panels) == ["enet"]
    ((bins, *rest),) = panels["enet"].values()
    assert rest == []
    # 100 voxels at 0.10 and 300 at 0.06; none of the first and a fifth of the second inside
    assert bins == pytest.approx((0.07, 0.15, 400))


def test_costs_are_measured_once_and_again_for_other_networks(tmp_path, monkeypatch):
    from akd_monai.bundle import write_bundle

    bundles = {"student-espnet": write_bundle("espnet", tmp_path / "espnet")}
    first = costs.measured_costs(bundles, [32, 32], {"student-espnet": {}}, tmp_path)
    assert first["networks"]["student-espnet"]["parameters"] == 182_719
    seconds = first["networks"]["student-espnet"]["cpu_seconds"]
    assert seconds > 0
    monkeypatch.setattr(costs, "cpu_seconds", lambda networks, *_, **__: dict.fromkeys(networks, 60.0))
    assert costs.measured_costs(bundles, [32, 32], {"student-espnet": {}}, tmp_path) == first
    other = costs.measured_costs(bundles, [64, 64], {"student-espnet": {}}, tmp_path)
    # 4 slices are timed, a volume has 24
    assert other["networks"]["student-espnet"]["cpu_seconds"] == 360.0
    assert other["networks"]["student-espnet"]["gflops"] > first["networks"]["student-espnet"]["gflops"]
