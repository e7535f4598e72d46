# SPDX-License-Identifier: Apache-2.0
"""Pictures are drawn without warnings whatever the masks, and show what they should."""

from __future__ import annotations

import io
import math

import matplotlib.image
import numpy as np
import pytest

from akd_monai.data import _case_pictures as pictures
from akd_monai.data._case_pictures import ContourRow, contour_figure, largest_slice
from akd_monai.experiments import _figures as figures
from akd_monai.experiments._figures import curves_figure

pytestmark = pytest.mark.filterwarnings("error")


def pixels(png):
    return matplotlib.image.imread(io.BytesIO(png), format="png")[..., :3]


def disc(shape=(64, 64), centre=(32, 32), radius=12):
    rows, columns = np.indices(shape)
    return (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 < radius**2


def row(prediction, reference=None, **options):
    reference = disc() if reference is None else reference
    return ContourRow("S3/Case00", np.zeros(reference.shape), reference, {"ENet": prediction}, **options)


def share(png, colour):
    """Return how many pixels have about this colour."""
    return int((np.abs(pixels(png) - colour).max(axis=-1) < 0.15).sum())


RED = np.array([int("e6194b"[i : i + 2], 16) for i in (0, 2, 4)]) / 255
GREEN = np.array([int("2fd14f"[i : i + 2], 16) for i in (0, 2, 4)]) / 255


def test_reference_is_red_and_prediction_green():
    both, missed = (
        contour_figure([row(disc(radius=8))], legend=False),
        contour_figure([row(disc(radius=0))], legend=False),
    )
    assert share(both, RED) > 300
    assert share(both, GREEN) > 100
    assert share(missed, RED) > 300
    assert share(missed, GREEN) == 0


@pytest.mark.parametrize(
    "predicted", [np.zeros((64, 64), bool), np.ones((64, 64), bool), disc()], ids=["empty", "full", "disc"]
)
@pytest.mark.parametrize("reference", [np.zeros((64, 64), bool), np.ones((64, 64), bool)], ids=["empty", "full"])
def test_masks_without_an_edge(predicted, reference):
    assert contour_figure([row(predicted, reference)]).startswith(b"\x89PNG")


def test_single_pixels_and_flat_or_undefined_images():
    mask = np.zeros((9, 7), bool)
    mask[0, 6] = True
    image = np.full((9, 7), np.nan)
    assert contour_figure([ContourRow("x", image, mask, {"a": mask, "b": ~mask}, {"a": math.nan})])


def test_a_missing_prediction_leaves_its_place_empty():
    rows = [row(disc()), ContourRow("S3/Case01", np.zeros((64, 64)), disc(), {"other": disc()})]
    assert contour_figure(rows)


def outline(ax):
    points = np.concatenate(
        [np.asarray(s) for c in ax.collections for p in c.get_paths() for s in p.to_polygons(closed_only=False)]
    )
    return points.min(axis=0), points.max(axis=0)


def drawn(monkeypatch, *rows):
    kept = []
    monkeypatch.setattr(pictures, "as_png", lambda figure: kept.append(figure) or b"")
    contour_figure(rows)
    return kept[0].axes


def test_outline_lies_on_the_border_of_the_mask_in_the_shown_window(monkeypatch):
    mask = np.zeros((64, 64), bool)
    mask[30:40, 25:45] = True
    axes = drawn(monkeypatch, row(mask, mask, spacing=(2.0, 1.0)))
    # The window starts 20 mm before the mask: 10 rows and 20 columns.
    low, high = outline(axes[0])
    assert low == pytest.approx([20 - 0.5, 10 - 0.5])
    assert high == pytest.approx([20 + 19.5, 10 + 9.5])


def test_a_mask_that_fills_the_picture_is_outlined(monkeypatch):
    low, high = outline(drawn(monkeypatch, row(np.ones((20, 30), bool), np.ones((20, 30), bool)))[0])
    assert (*low, *high) == pytest.approx((-0.5, -0.5, 29.5, 19.5))


def test_pixels_keep_their_proportions(monkeypatch):
    assert drawn(monkeypatch, row(disc(), spacing=(3.0, 0.5)))[0].get_aspect() == pytest.approx(6.0)


def test_titles_tell_case_system_and_dice(monkeypatch):
    axes = drawn(monkeypatch, row(disc(), dice={"ENet": 0.8765}), row(disc(), dice={"ENet": math.nan}))
    assert [a.get_title() or a.get_title(loc="left") for a in axes] == [
        "S3/Case00", "ENet\nDice 0.876", "S3/Case00", "ENet\nDice undefined"
    ]  # fmt: skip


def test_all_of_the_slice_is_shown_when_nothing_is_marked(monkeypatch):
    empty = np.zeros((40, 30), bool)
    axes = drawn(monkeypatch, row(empty, empty))
    assert axes[0].images[0].get_array().shape == (40, 30)


def test_largest_slice():
    mask = np.zeros((4, 4, 5), bool)
    mask[0, 0, 1] = mask[:2, 0, 3] = True
    assert largest_slice(mask) == 3
    assert largest_slice(np.zeros_like(mask), mask) == 3
    assert largest_slice(np.zeros_like(mask)) == 2


def test_refusals():
    with pytest.raises(ValueError, match="no row to draw"):
        contour_figure([])
    with pytest.raises(ValueError, match=r"S3/Case00: image is \(64, 64\), a mask \(32, 64\)"):
        contour_figure([ContourRow("S3/Case00", np.zeros((64, 64)), disc(), {"a": disc((32, 64))})])
    with pytest.raises(ValueError, match="no training to draw"):
        curves_figure({})


def curves(monkeypatch, histories):
    kept = []
    monkeypatch.setattr(figures, "as_png", lambda figure: kept.append(figure) or b"")
    curves_figure(histories)
    return kept[0].axes


def test_each_training_has_a_panel_with_all_its_terms(monkeypatch):
    plain = [
        {"epoch": e, "loss/total": 1.0 / e, "loss/task": 1.0 / e, "val_mean_dice": 0.1 * e, "lr": 0.1}
        for e in (1, 2, 3)
    ]
    distilled = [{**entry, "loss/gram": 0.001} for entry in plain]
    axes = curves(monkeypatch, {"alone": plain, "distilled": distilled})
    labels = [[line.get_label() for line in ax.lines] for ax in axes]
    assert labels == [["total", "task"], ["total", "gram", "task"], ["alone", "distilled"], []]
    assert axes[2].lines[0].get_ydata().tolist() == pytest.approx([0.1, 0.2, 0.3])
    assert axes[0].lines[0].get_color() == axes[1].lines[0].get_color()
    styles = {(line.get_color(), line.get_linestyle()) for line in axes[1].lines}
    assert len(styles) == len({s for _, s in styles}) == 3
    # Terms of unlike size share a logarithmic axis.
    assert [ax.get_yscale() for ax in axes[:2]] == ["linear", "log"]


@pytest.mark.parametrize(
    "history",
    [
        [],
        [{"epoch": 1}],
        [{"epoch": 1, "loss/total": math.nan}],
        [
            {"epoch": 1, "loss/total": None, "val_mean_dice": None},
            {"epoch": 2, "loss/total": math.inf, "val_mean_dice": 0.5},
        ],
        [{"epoch": 1, "loss/total": 0.5, "val_mean_dice": 0.0}],
        [{"loss/total": 0.0}, {"loss/total": -1.0}],
    ],
)
def test_histories_with_gaps(history):
    assert curves_figure({"alone": history}).startswith(b"\x89PNG")


def test_same_input_same_bytes_and_nothing_about_the_maker():
    one, other = (contour_figure([row(disc())]) for _ in range(2))
    assert one == other
    assert b"atplotlib" not in one
    assert b"Date" not in one
