# SPDX-License-Identifier: Apache-2.0
"""Metrics of two masks against figures worked out by hand and against plain loops in NumPy."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from akd_monai.errors import InputError
from akd_monai.handlers._mask_metrics import foreground_masks, mask_metrics

SPACING = (0.5, 0.7, 3.0)


def box(shape, *ranges):
    mask = torch.zeros(shape, dtype=torch.bool)
    mask[tuple(slice(*r) for r in ranges)] = True
    return mask


def brute_force(predicted, reference, spacing):
    """Surface voxels miss one of six neighbours; distances run between all pairs of surface voxels."""

    def surface(mask):
        padded, points = np.pad(mask, 1), []
        steps = [s for s in itertools.product((-1, 0, 1), repeat=3) if sum(map(abs, s)) == 1]
        for voxel in np.argwhere(mask):
            if not all(padded[tuple(voxel + 1 + np.array(s))] for s in steps):
                points.append(voxel * np.array(spacing))
        return np.array(points)

    a, b = surface(predicted.numpy()), surface(reference.numpy())
    apart = np.sqrt(((a[:, None] - b[None]) ** 2).sum(-1))
    there, back = apart.min(axis=1), apart.min(axis=0)
    hd95 = max(np.percentile(there, 95), np.percentile(back, 95))
    dice = 2 * float((predicted & reference).sum()) / float(predicted.sum() + reference.sum())
    return {"dice": dice, "hd95_mm": hd95, "asd_mm": np.concatenate([there, back]).mean()}


def test_two_cubes_by_hand():
    # All 8 voxels of either cube are surface; 4 of each lie on the other cube, 4 lie one step of 2 mm away.
    reference, predicted = box((6, 6, 6), (1, 3), (1, 3), (1, 3)), box((6, 6, 6), (2, 4), (1, 3), (1, 3))
    scores = mask_metrics(predicted, reference, (2.0, 1.0, 5.0))
    assert scores == pytest.approx(
        {"dice": 0.5, "hd95_mm": 2.0, "asd_mm": 1.0, "reference_ml": 0.08, "predicted_ml": 0.08}
    )


def test_spacing_belongs_to_the_axes_in_order():
    one, other = box((5, 5, 5), (0, 1), (1, 2), (1, 2)), box((5, 5, 5), (2, 3), (4, 5), (2, 3))
    expected = math.sqrt((2 * 0.5) ** 2 + (3 * 0.7) ** 2 + (1 * 3.0) ** 2)
    scores = mask_metrics(one, other, SPACING)
    assert (scores["hd95_mm"], scores["asd_mm"]) == pytest.approx((expected, expected))
    assert scores["dice"] == 0


@pytest.mark.parametrize("seed", range(4))
def test_random_blobs_agree_with_loops(seed):
    random = np.random.default_rng(seed)
    blobs = [torch.from_numpy(random.random((7, 8, 5)) < share) for share in (0.3, 0.8)]
    scores, expected = mask_metrics(*blobs, SPACING), brute_force(*blobs, SPACING)
    assert {k: scores[k] for k in expected} == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("low", [0, 6], ids=["at the border", "inside"])
def test_the_volume_around_the_masks_changes_nothing(seed, low):
    random = np.random.default_rng(seed)
    blobs = [torch.from_numpy(random.random((7, 5, 6)) < 0.6) for _ in range(2)]
    masks = [torch.zeros(20, 18, 12, dtype=torch.bool) for _ in range(2)]
    for mask, blob in zip(masks, blobs, strict=True):
        # At the border of the volume, a voxel has no neighbour outside.
        mask[low : low + 7, low : low + 5, low : low + 6] = blob
    scores = mask_metrics(*masks, SPACING)
    assert scores == mask_metrics(*blobs, SPACING)
    expected = brute_force(*masks, SPACING)
    assert {k: scores[k] for k in expected} == pytest.approx(expected, rel=1e-5)


def test_same_metrics_either_way_round():
    one, other = box((9, 9, 6), (1, 6), (2, 7), (1, 5)), box((9, 9, 6), (3, 8), (1, 6), (2, 4))
    forward, backward = mask_metrics(one, other, SPACING), mask_metrics(other, one, SPACING)
    for metric in ("dice", "hd95_mm", "asd_mm"):
        assert forward[metric] == pytest.approx(backward[metric])
    assert forward["predicted_ml"] == backward["reference_ml"]


@pytest.mark.parametrize(
    ("predicted", "reference", "dice"),
    [(False, True, 0.0), (True, False, 0.0), (False, False, math.nan)],
    ids=["missed", "imagined", "both empty"],
)
def test_empty_masks(predicted, reference, dice, recwarn):
    full, empty = box((4, 4, 4), (1, 3), (1, 3), (1, 3)), torch.zeros(4, 4, 4, dtype=torch.bool)
    scores = mask_metrics(full if predicted else empty, full if reference else empty, SPACING)
    assert scores["dice"] == pytest.approx(dice, nan_ok=True)
    assert math.isnan(scores["hd95_mm"])
    assert math.isnan(scores["asd_mm"])
    assert scores["predicted_ml"] == pytest.approx(8 * 0.5 * 0.7 * 3 / 1000 * predicted)
    assert not [w for w in recwarn if "empty" in str(w.message) or "all 0" in str(w.message)]


@pytest.mark.parametrize(
    ("predicted", "spacing", "message"),
    [
        (torch.ones(4, 4, 3), SPACING, r"differ in shape: \[4, 4, 3\] and \[4, 4, 4\]"),
        (torch.ones(4, 4, 4), (1.0, 0.0, 1.0), "above 0 in mm"),
        (torch.ones(4, 4, 4), (1.0, math.nan, 1.0), "above 0 in mm"),
        (torch.ones(4, 4, 4), (1.0, 1.0), "three lengths"),
    ],
)
def test_refusals(predicted, spacing, message):
    with pytest.raises(InputError, match=message):
        mask_metrics(predicted.bool(), torch.ones(4, 4, 4, dtype=torch.bool), spacing)


def test_a_slice_is_no_volume():
    with pytest.raises(InputError, match="per volume in 3D"):
        mask_metrics(torch.ones(4, 4).bool(), torch.ones(4, 4).bool(), (1.0, 1.0, 1.0))


def test_one_hot_and_class_numbers_give_the_same_masks():
    classes = torch.randint(0, 3, (1, 5, 4, 3), generator=torch.Generator().manual_seed(0))
    one_hot = torch.cat([classes == k for k in range(3)]).float()
    assert torch.equal(foreground_masks(classes, 2), foreground_masks(one_hot, 2))
    assert torch.equal(foreground_masks(classes, 2)[1], classes[0] == 2)


@pytest.mark.parametrize(
    ("volume", "message"),
    [
        (torch.tensor([0.0, 2.0]).reshape(1, 2, 1, 1), r"from 0 to 1, got 0, 2;"),
        (torch.tensor([0.0, 0.5]).reshape(1, 2, 1, 1), r"got 0, 0\.5"),
        (torch.tensor([0.0, -1.0]).reshape(1, 2, 1, 1), r"got -1, 0"),
        (torch.tensor([0.3, 0.7]).reshape(2, 1, 1, 1), r"0 and 1 only.*AsDiscreted\(argmax=True, to_onehot=2\)"),
        (torch.zeros(3, 2, 2, 2), "expected 2 channels, background first, got 3"),
    ],
)
def test_values_that_are_no_classes(volume, message):
    with pytest.raises(InputError, match=message):
        foreground_masks(volume, 1)
