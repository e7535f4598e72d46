# SPDX-License-Identifier: Apache-2.0
"""Random convolutions against SciPy and loops, their distribution, and their random numbers."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose
from scipy import ndimage, stats

from akd_monai.errors import InputError
from akd_monai.generalisation import MixStyle, RandConv, RandConvd, RandElasticd


def elastic(prob):
    return RandElasticd("image", prob=prob)


def mixed(prob):
    return MixStyle(["0"], prob=prob)


def image(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).normal(0, 1, shape).astype(np.float32))


@pytest.mark.parametrize("shape", [(1, 9, 7), (1, 5, 6, 7), (1, 11)], ids=str)
@pytest.mark.parametrize("size", [1, 3, 7])
def test_one_channel_is_correlated_as_by_scipy(shape, size):
    transform = RandConv([size], mix=False, prob=1.0).set_random_state(seed=size)
    before = image(*shape)
    after = transform(before)
    weights = transform._weights[0, 0]
    assert weights.shape == (size,) * (len(shape) - 1)
    expected = ndimage.correlate(before[0].double().numpy(), weights, mode="constant")
    np.testing.assert_allclose(after[0].numpy(), expected, rtol=1e-4, atol=1e-5)


def test_channels_are_summed_as_by_loops():
    transform = RandConv([3], mix=False, prob=1.0).set_random_state(seed=1)
    before = image(2, 4, 5)
    after = transform(before)
    padded = np.pad(before.double().numpy(), ((0, 0), (1, 1), (1, 1)))
    for out, row, column in itertools.product(range(2), range(4), range(5)):
        value = 0.0
        for channel, i, j in itertools.product(range(2), range(3), range(3)):
            value += transform._weights[out, channel, i, j] * padded[channel, row + i, column + j]
        assert after[out, row, column].item() == pytest.approx(value, rel=1e-4, abs=1e-5)


def test_the_image_is_mixed_with_its_convolution():
    before = image(1, 8, 8)
    mixing = RandConv([5], mix=True, prob=1.0).set_random_state(seed=3)
    after = mixing(before)
    share = mixing._share
    assert 0 < share < 1
    convolved = ndimage.correlate(before[0].double().numpy(), mixing._weights[0, 0], mode="constant")
    expected = share * before[0].double().numpy() + (1 - share) * convolved
    np.testing.assert_allclose(after[0].numpy(), expected, rtol=1e-4, atol=1e-5)


def draws(count, **options):
    """Return size, weights and share of many images, ``None`` for those that stay."""
    transform = RandConv(**options).set_random_state(seed=0)
    for _ in range(count):
        transform.randomize(torch.empty(2, 8, 8))
        yield (transform._weights, transform._share) if transform._do_transform else None


def test_the_distribution_is_the_published_one():
    found = list(draws(4000))
    changed = [draw for draw in found if draw is not None]
    # four standard deviations of a fair coin
    assert abs(len(changed) - 2000) < 4 * math.sqrt(1000)
    sizes = [weights.shape[-1] for weights, _ in changed]
    counts = [sizes.count(size) for size in (1, 3, 5, 7)]
    assert sum(counts) == len(changed)
    assert stats.chisquare(counts).pvalue > 1e-3
    assert stats.kstest([share for _, share in changed], "uniform").pvalue > 1e-3
    for size in (1, 3, 5, 7):
        weights = np.concatenate([w.ravel() for w, _ in changed if w.shape[-1] == size])
        # two channels
        assert stats.kstest(weights, "norm", args=(0, 1 / math.sqrt(2 * size**2))).pvalue > 1e-3


def test_without_mixing_nothing_of_the_image_is_added():
    assert {share for _, share in filter(None, draws(50, mix=False))} == {0.0}


def test_a_probability_of_zero_changes_no_bit():
    item = {"image": image(1, 8, 8), "label": torch.ones(1, 8, 8)}
    after = RandConvd("image", prob=0.0)(item)
    assert torch.equal(after["image"], item["image"])


def test_the_dictionary_form_changes_its_keys_alone_and_all_by_one_filter():
    before = image(1, 8, 8)
    item = {"image": before, "other": before.clone(), "label": torch.ones(1, 8, 8), "case_id": "A/Case00"}
    after = RandConvd(["image", "other"], prob=1.0).set_random_state(seed=0)(item)
    assert torch.equal(after["image"], after["other"])
    assert not torch.equal(after["image"], before)
    assert torch.equal(item["image"], before)
    assert torch.equal(after["label"], item["label"])
    assert after["case_id"] == "A/Case00"


def test_random_numbers_are_those_of_the_seed():
    chain = Compose([RandConvd("image")])
    results = []
    for seed in (5, 6, 5):
        chain.set_random_state(seed=seed)
        results.append([chain({"image": image(1, 8, 8)})["image"] for _ in range(6)])
    assert all(torch.equal(one, other) for one, other in zip(results[0], results[2], strict=True))
    assert not all(torch.equal(one, other) for one, other in zip(results[0], results[1], strict=True))


def test_type_and_description_of_an_image_stay():
    before = MetaTensor(image(1, 8, 8), meta={"filename_or_obj": "a.nii"})
    after = RandConv(prob=1.0).set_random_state(seed=0)(before)
    assert isinstance(after, MetaTensor)
    assert after.meta["filename_or_obj"] == "a.nii"
    assert after.dtype == torch.float32


@pytest.mark.parametrize("sizes", [[], [2], [0], [-1], [3.0], [True]], ids=str)
def test_sizes_that_have_no_centre_are_refused(sizes):
    with pytest.raises(InputError, match=r"kernel_sizes must be odd positive integers, got \["):
        RandConv(sizes)


def test_images_of_different_shapes_are_refused():
    item = {"image": image(1, 8, 8), "other": image(2, 8, 8)}
    with pytest.raises(InputError, match=r"images of one item differ in shape, one is \[2, 8, 8\]"):
        RandConvd(["image", "other"], prob=1.0)(item)


@pytest.mark.parametrize("prob", [2, -0.1, math.nan, "half", True])
@pytest.mark.parametrize("build", [RandConv, lambda prob: RandConvd("image", prob=prob), elastic, mixed])
def test_a_probability_that_is_none_is_refused(build, prob):
    # MONAI would move it into the range
    with pytest.raises(InputError, match=r"^prob must be a probability from 0 to 1, got "):
        build(prob=prob)
