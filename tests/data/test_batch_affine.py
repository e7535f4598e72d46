# SPDX-License-Identifier: Apache-2.0
"""Rotation, zoom and shift of whole batches: what MONAI's transforms do to each slice, keyed, with the maps along."""

from __future__ import annotations

import math

import pytest
import torch
from monai.transforms import Affined, Compose, RandGaussianNoised

from akd_monai.data import BatchAffine, KeyedSampler, SliceLoader, SliceStore
from akd_monai.errors import InputError, UnknownNameError

BOTH = ("image", "label")
RANGES = {"prob": 0.6, "rotate_range": 0.4, "scale_range": 0.2, "translate_range": 2.0}


def case(side=12, depth=5):
    generator = torch.Generator().manual_seed(0)
    image = torch.rand((1, side, side, depth), generator=generator)
    return {"image": image, "label": (image > 0.5).float(), "case_id": "A/0"}


def test_a_matrix_does_what_affined_does_with_the_same_numbers():
    rotate, shift, scale = 0.3, (1.5, -0.7), (1.2, 0.9)
    monai = Affined(
        BOTH,
        rotate_params=rotate,
        translate_params=shift,
        scale_params=scale,
        padding_mode="border",
        mode=("bilinear", "nearest"),
        dtype=torch.float64,
    )
    item = {key: value[..., 0] for key, value in case().items() if key in BOTH}
    expected = monai(item)
    cos, sin = math.cos(rotate), math.sin(rotate)
    turned = torch.tensor([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
    moved = torch.tensor([[1, 0, shift[0]], [0, 1, shift[1]], [0, 0, 1]])
    matrix = turned @ moved @ torch.diag(torch.tensor([*scale, 1.0]))
    for key, mode in zip(BOTH, ("bilinear", "nearest"), strict=True):
        found = BatchAffine().apply(item[key][None], [matrix], mode)[0]
        torch.testing.assert_close(found, expected[key].as_tensor().float(), rtol=1e-4, atol=1e-4)


def test_draws_stay_in_their_ranges_and_are_a_function_of_the_key():
    affine = BatchAffine(**RANGES)
    drawn = [affine.draw(key) for key in range(2000)]
    changed = [matrix for matrix in drawn if matrix is not None]
    # Binomial: five standard deviations of 22 around 1200.
    assert abs(len(changed) - 1200) < 110
    assert all(torch.equal(a, affine.draw(key)) for key, a in enumerate(drawn) if a is not None)
    linear = torch.stack(changed)[:, :2, :2]
    scale = linear.norm(dim=1)
    angle = torch.atan2(linear[:, 1, 0], linear[:, 0, 0])
    moved = (linear.norm(dim=1).reciprocal()[:, None] * linear).transpose(1, 2) @ torch.stack(changed)[:, :2, 2:]
    for found, middle, reach in ((scale, 1.0, 0.2), (angle, 0.0, 0.4), (moved, 0.0, 2.0)):
        assert (found - middle).abs().max() <= reach + 1e-5
        assert (found - middle).abs().max() > 0.95 * reach and abs((found - middle).mean()) < 0.1 * reach


@pytest.mark.parametrize("random", [[], [RandGaussianNoised("image", prob=0.5)]])
def test_batches_are_the_items_of_the_store(random):
    store = SliceStore([case()], Compose(random), seed=4, background_ratio=None, affine=RANGES)
    sampler = KeyedSampler(store, seed=2, num_samples=16)
    (*batches,) = SliceLoader(store, batch_size=8, sampler=sampler)
    items = [store[index] for index in sampler]
    for number, item in enumerate(items):
        batch, row = batches[number // 8], number % 8
        assert batch["view"][row] == item["view"]
        for key in BOTH:
            torch.testing.assert_close(batch[key][row], item[key], rtol=0, atol=0)
    assert {-1} < {item["view"] for item in items}  # some are warped, some are not


def test_labels_stay_labels_and_move_with_the_image():
    whole = case()
    whole["image"] = whole["label"].clone()
    store = SliceStore(
        [whole], Compose([]), dtype="float32", background_ratio=None, turn=False, affine={**RANGES, "prob": 1}
    )
    batch = next(iter(SliceLoader(store, batch_size=5)))
    assert set(batch["label"].unique().tolist()) == {0.0, 1.0}
    # Linear interpolation of the same map lies on the side of its nearest value where it is not near the middle.
    clear = (batch["image"] - 0.5).abs() > 0.45
    assert clear.any() and torch.equal(batch["image"][clear] > 0.5, batch["label"][clear] > 0.5)


def test_further_maps_are_warped_like_the_image():
    store = SliceStore([case()], Compose([]), dtype="float32", background_ratio=None, affine=RANGES)
    store.maps = lambda volume, position: {"teacher": store.clean_image(position)}
    for batch in SliceLoader(store, batch_size=5):
        assert torch.equal(batch["teacher"], batch["image"])


def test_slices_that_are_not_warped_keep_every_bit():
    still = SliceStore([case()], Compose([]), background_ratio=None, affine={**RANGES, "prob": 0})
    without = SliceStore([case()], Compose([]), background_ratio=None)
    for number in range(5):
        assert torch.equal(still[number]["image"], without[number]["image"])
        assert still[number]["view"] == without[number]["view"]


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"prob": 1.5}, InputError, r"prob of affine must be a number of 0 to 1, got 1.5"),
        ({"rotate_range": [0.1]}, InputError, r"rotate_range of affine must be a number of 0 to inf, got \[0.1\]"),
        ({"scale_range": 1.0}, InputError, r"scale_range of affine must be a number of 0 to 0.999, got 1.0"),
        ({"translate_range": -1}, InputError, r"translate_range of affine must be a number of 0 to inf, got -1"),
        ({"translate_range": True}, InputError, r"translate_range of affine must be a number"),
        ({"rotation": 0.1}, UnknownNameError, r"affine has no 'rotation'.* Known: prob, rotate_range"),
        (0.1, InputError, r"affine must be a mapping, got float"),
    ],
)
def test_ranges_are_checked(given, error, message):
    with pytest.raises(error, match=message):
        SliceStore([case()], Compose([]), affine=given)
