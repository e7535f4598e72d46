# SPDX-License-Identifier: Apache-2.0
"""Smooth deformations: their size, their smoothness, and where pixels go, against SciPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from akd_monai.errors import InputError
from akd_monai.generalisation import RandElasticd


def deform(seed=0, **options):
    return RandElasticd(**{"keys": "image", "prob": 1.0, **options}).set_random_state(seed=seed)


def image(*shape, seed=0):
    noise = np.random.default_rng(seed).normal(0, 1, shape)
    return torch.from_numpy(ndimage.gaussian_filter(noise, 1.5).astype(np.float32))[None]


def plain(value):
    return torch.as_tensor(value).as_subclass(torch.Tensor)


@pytest.mark.parametrize("shape", [(24, 31), (10, 12, 9)], ids=str)
def test_every_pixel_comes_from_where_the_field_points(shape):
    one = deform(sigma_range=(2, 3), spread_range=(1, 2), padding_mode="border")
    before = image(*shape)
    after = plain(one({"image": before})["image"])
    places = np.indices(shape) + one._displacement
    expected = ndimage.map_coordinates(before[0].double().numpy(), places, order=1, mode="nearest")
    np.testing.assert_allclose(after[0].numpy(), expected, atol=1e-4)


def test_a_spread_of_zero_leaves_the_image():
    before = image(24, 32)
    after = deform(spread_range=(0, 0))({"image": before})["image"]
    torch.testing.assert_close(plain(after), before, rtol=0, atol=1e-5)


@pytest.mark.parametrize("shape", [(48, 40), (14, 12, 16)], ids=str)
def test_the_displacement_has_the_spread_that_was_asked_for_at_every_pixel(shape):
    one = deform(sigma_range=(2, 2), spread_range=(1.5, 1.5))
    squares = np.zeros((len(shape), *shape))
    rounds = 150
    for _ in range(rounds):
        one.randomize(shape)
        squares += one._displacement**2 / rounds
    # a mean of 150 squares of a normal variable has a spread of 0.115 of it, at the border as in the middle
    assert abs(squares.mean() - 1.5**2) < 0.1 * 1.5**2
    assert squares.min() > 1.5**2 * (1 - 5 * 0.115)
    assert squares.max() < 1.5**2 * (1 + 6 * 0.115)


def test_the_displacement_is_as_smooth_as_a_gaussian_makes_it():
    """Noise smoothed by a Gaussian of 3 pixels is correlated over 5 pixels by exp(-25 / (4 * 9))."""
    one = deform(sigma_range=(3, 3), spread_range=(1, 1))
    products = []
    for _ in range(60):
        one.randomize((48, 48))
        field = one._displacement
        products += [(field * np.roll(field, 5, axis)).mean() for axis in (1, 2)]
    assert np.mean(products) == pytest.approx(math.exp(-25 / 36), abs=0.08)


def test_ranges_are_reached_at_both_ends():
    """Recovered from the fields of a volume of one pixel a side but one, which are as large as their spread."""
    one = deform(sigma_range=(0.01, 0.02), spread_range=(0.0, 2.2))
    spreads = []
    for _ in range(150):
        one.randomize((40, 40))
        spreads.append(one._displacement.std())
    assert min(spreads) < 0.1
    assert 2.05 < max(spreads) < 2.3


def test_image_and_label_move_alike():
    disk = (np.hypot(*(np.indices((40, 40)) - 19.5)) < 12).astype(np.float32)
    item = {"image": torch.from_numpy(disk)[None], "label": torch.from_numpy(disk)[None]}
    one = deform(keys=["image", "label"], mode=["bilinear", "nearest"], sigma_range=(5, 5), spread_range=(2, 2))
    after = one(item)
    label = plain(after["label"])
    assert set(label.unique().tolist()) == {0.0, 1.0}
    assert not torch.equal(label, item["label"])
    different = (label > 0.5) != (plain(after["image"]) > 0.5)
    # by rounding, at some of the pixels of the edge, which is 75 pixels long
    assert int(different.sum()) < 40


def test_random_numbers_are_those_of_the_seed_and_the_coin():
    item = {"image": image(16, 16)}
    first, again, other = (plain(deform(seed)(item)["image"]) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(deform(prob=0.0)(item)["image"], item["image"])


@pytest.mark.parametrize(
    ("ranges", "message"),
    [
        ({"sigma_range": (0, 1)}, r"sigma_range must be two numbers above 0, the smaller first, got \[0, 1\]"),
        ({"spread_range": (2, 1)}, r"spread_range must be two numbers of at least 0, the smaller first, got \[2, 1\]"),
        ({"spread_range": [1]}, r"spread_range must be .*, got \[1\]"),
        ({"spread_range": [0, float("nan")]}, r"spread_range must be .*, got \[0, nan\]"),
    ],
    ids=str,
)
def test_ranges_that_are_none_are_refused(ranges, message):
    with pytest.raises(InputError, match=message):
        RandElasticd("image", **ranges)
