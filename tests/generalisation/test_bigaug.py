# SPDX-License-Identifier: Apache-2.0
"""Each transform of the BigAug-type baseline: its probability and its range, measured on what it does to images."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from scipy import ndimage, special

from akd_monai.files import read_json
from akd_monai.generalisation import baseline_config

CONFIG = read_json(baseline_config("bigaug"))
ORDER = [item.removeprefix("@bigaug#") for item in CONFIG["+train#random_transforms"]]
SIZE = 48


def parser(dims=2, **changes):
    ids = {name: value for name, value in CONFIG.items() if not name.startswith(("+", "record"))}
    spec = {"num_channels": 1, "spatial_shape": [SIZE] * dims}
    meta = {"network_data_format": {"inputs": {"image": spec}}}
    config = ConfigParser({**ids, "_meta_": meta})
    config.update({name.replace("__", "#"): value for name, value in changes.items()})
    return config


def transform(name, dims=2, **changes):
    return parser(dims, **changes).get_parsed_content(f"bigaug#{name}")


def results(name, item, count, **changes):
    """Return what a transform makes of one item with many seeds."""
    one = transform(name, **changes)
    found = []
    for seed in range(count):
        one.set_random_state(seed=seed)
        made = one({key: value.clone() for key, value in item.items()})
        found.append({key: torch.as_tensor(value).as_subclass(torch.Tensor) for key, value in made.items()})
    return found


def always(name, item, count=100):
    return results(name, item, count, bigaug_probability=1.0)


def covers(values, low, high, share=0.05):
    """Return whether values stay in a range and reach both of its ends."""
    margin = share * (high - low)
    inside = low - 1e-4 <= min(values) and max(values) <= high + 1e-4
    return inside and min(values) < low + margin and max(values) > high - margin


def pair(image):
    return {"image": image[None], "label": (image > 0).float()[None]}


def blob(half=(5, 20), size=SIZE):
    """Return an ellipse in the middle, 1 in 0."""
    rows, columns = np.mgrid[:size, :size] - (size - 1) / 2
    return torch.from_numpy(((rows / half[0]) ** 2 + (columns / half[1]) ** 2 < 1).astype(np.float32))


def test_the_order_is_quality_appearance_shape():
    assert [*CONFIG["bigaug"]] == ORDER
    assert ORDER[:3] == ["sharpness", "blur", "noise"]
    assert ORDER[3:7] == ["brightness", "contrast", "perturbation_scale", "perturbation_shift"]
    assert ORDER[7:] == ["rotation", "scaling", "deformation"]


@pytest.mark.parametrize("name", ORDER)
def test_each_transform_changes_half_of_the_slices(name):
    one = transform(name).set_random_state(seed=0)
    coins = []
    for _ in range(400):
        one.randomize((2, 2))
        coins.append(one._do_transform)
    # four standard deviations of a fair coin
    assert abs(sum(coins) - 200) < 4 * math.sqrt(100)
    item = pair(torch.from_numpy(np.random.default_rng(0).normal(0, 1, (24, 24)).astype(np.float32)))
    found = {torch.equal(made["image"], item["image"]) for made in results(name, item, 12)}
    assert found == {True, False}


@pytest.mark.parametrize("name", ORDER[:7])
def test_quality_and_appearance_leave_the_label_alone(name):
    item = pair(blob())
    for made in always(name, item, 20):
        assert torch.equal(made["label"], item["label"])
        assert not torch.equal(made["image"], item["image"])


@pytest.mark.parametrize("name", ["brightness", "perturbation_shift"])
def test_brightness_is_shifted_by_a_tenth_at_most(name):
    item = pair(torch.zeros(4, 4))
    assert covers([float(made["image"][0, 0, 0]) for made in always(name, item)], -0.1, 0.1)


def test_the_perturbation_scales_by_a_tenth_at_most():
    item = pair(torch.ones(4, 4))
    assert covers([float(made["image"][0, 0, 0]) for made in always("perturbation_scale", item)], 0.9, 1.1)


def test_contrast_is_a_gamma_between_0_5_and_4_5():
    values = torch.tensor([[-2.0, 0.0], [1.0, 2.0]])
    found = []
    for made in always("contrast", pair(values)):
        image = made["image"][0]
        # the range of the image stays, and between its ends stands the power
        assert (image[0, 0].item(), image[1, 1].item()) == pytest.approx((-2.0, 2.0), abs=1e-5)
        found.append(math.log((float(image[0, 1]) + 2) / 4) / math.log(0.5))
        assert math.log((float(image[1, 0]) + 2) / 4) / math.log(0.75) == pytest.approx(found[-1], rel=1e-3)
    assert covers(found, 0.5, 4.5)


def test_noise_has_a_spread_of_up_to_1():
    item = pair(torch.zeros(64, 64))
    spreads = [float(made["image"].std()) for made in always("noise", item, 100)]
    assert min(spreads) < 0.07
    assert 0.93 < max(spreads) < 1.03
    means = [float(made["image"].mean()) for made in always("noise", item, 20)]
    assert max(map(abs, means)) < 4 / 64


def test_blur_is_a_gaussian_of_0_25_to_1_5_pixels():
    """The weight of the middle is the integral of a Gaussian over one pixel, erf(1 / sqrt(8) / sigma)."""
    point = torch.zeros(33, 33)
    point[16, 16] = 1.0
    found = []
    for made in always("blur", pair(point)):
        kernel = made["image"][0]
        for axis in (0, 1):
            found.append(0.5 / math.sqrt(2) / special.erfinv(float(kernel.sum(axis)[16] / kernel.sum())))
    assert covers(found, 0.25, 1.5)
    assert len({round(sigma, 3) for sigma in found}) > 150


def test_sharpening_adds_10_to_30_times_what_a_blur_takes_away():
    image = ndimage.gaussian_filter(np.random.default_rng(0).normal(0, 1, (32, 32)), 1.5)
    one = transform("sharpness", bigaug_probability=1.0)
    strengths = []
    for seed in range(60):
        one.set_random_state(seed=seed)
        made = one(pair(torch.from_numpy(image).float()))["image"][0].numpy()
        drawn = one.rand_sharpen
        strengths.append(drawn.a)
        first = ndimage.gaussian_filter(image, (drawn.x1, drawn.y1), mode="constant", truncate=8)
        second = ndimage.gaussian_filter(first, (drawn.x2, drawn.y2), mode="constant", truncate=8)
        expected = first + drawn.a * (first - second)
        inner = (slice(8, -8), slice(8, -8))
        # MONAI integrates its kernels over pixels, SciPy samples them
        assert np.corrcoef(made[inner].ravel(), expected[inner].ravel())[0, 1] > 0.97
    assert covers(strengths, 10.0, 30.0, share=0.08)


def angle_of(mask):
    """Return the angle of the long axis of a mask, in degrees."""
    rows, columns = np.nonzero(mask)
    spread = np.cov(np.stack([rows, columns]))
    return math.degrees(0.5 * math.atan2(2 * spread[0, 1], spread[1, 1] - spread[0, 0]))


def test_rotations_turn_image_and_label_by_up_to_20_degrees():
    angles = []
    for made in always("rotation", pair(blob())):
        angles.append(angle_of(made["label"][0].numpy() > 0.5))
        assert angle_of(made["image"][0].numpy() > 0.5) == pytest.approx(angles[-1], abs=2.0)
    assert covers(angles, -20.7, 20.7)


def test_scaling_is_between_0_4_and_1_6_for_image_and_label():
    area = math.pi * 5 * 13
    factors = []
    for made in always("scaling", pair(blob((5, 13)))):
        assert made["image"].shape == (1, SIZE, SIZE)
        mask = made["label"][0] > 0.5
        factors.append(math.sqrt(float(mask.sum()) / area))
        overlap = (mask & (made["image"][0] > 0.5)).sum() / mask.sum()
        assert overlap > 0.7
    # of a mask of pixels
    assert 0.36 < min(factors) < 0.5
    assert 1.5 < max(factors) < 1.66
    assert abs(np.mean(factors) - 1.0) < 4 * 1.2 / math.sqrt(12 * 100)


def test_what_scaling_adds_around_is_the_border_of_the_image_and_no_label():
    edge = {"image": torch.full((1, 32, 32), 5.0), "label": torch.ones(1, 32, 32)}
    smallest = min(always("scaling", edge, 50), key=lambda made: float(made["label"].sum()))
    assert float(smallest["label"].sum()) < 0.3 * 32 * 32
    torch.testing.assert_close(smallest["image"], edge["image"])


def test_the_deformation_has_the_spread_of_the_published_one():
    """Uniform noise, smoothed by a Gaussian of 11.5 voxels in three dimensions, times 1000."""
    one = transform("deformation")
    assert one.sigma_range == (10.0, 13.0)
    uniform = 1 / math.sqrt(3)
    published = 1000 * uniform / (2 * math.sqrt(math.pi) * 11.5) ** 1.5
    assert one.spread_range == pytest.approx((0.0, published), abs=0.05)
    assert (one.mode, one.padding_mode) == (("bilinear", "nearest"), ("border", "zeros"))


@pytest.mark.parametrize("name", ORDER)
def test_volumes_are_changed_as_well(name):
    volume = torch.from_numpy(np.random.default_rng(0).normal(0, 1, (1, 16, 12, 8)).astype(np.float32))
    one = transform(name, dims=3, bigaug_probability=1.0).set_random_state(seed=0)
    made = one({"image": volume, "label": (volume > 0).float()})
    assert made["image"].shape == made["label"].shape == volume.shape
    assert not torch.equal(torch.as_tensor(made["image"]), volume)
    assert set(torch.as_tensor(made["label"]).unique().tolist()) <= {0.0, 1.0}


def test_one_id_sets_all_probabilities_and_each_transform_can_be_set_alone():
    config = parser(bigaug_probability=0.2, bigaug__noise__prob=0.7)
    found = {name: config.get_parsed_content(f"bigaug#{name}").prob for name in ORDER}
    assert found == {name: 0.7 if name == "noise" else 0.2 for name in ORDER}
