# SPDX-License-Identifier: Apache-2.0
"""Mixed channel statistics against a second write-down by loops in float64, and what must not change."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from style_loops import by_loops

from akd_monai.generalisation import mix_statistics

SHAPES = [(4, 3, 5, 7), (3, 2, 4, 3, 5), (2, 3, 6)]


def drawn(shape, seed=0, dtype=torch.float64):
    draw = np.random.default_rng(seed)
    # each sample and channel with another mean and spread
    level = draw.normal(0, 3, shape[:2] + (1,) * (len(shape) - 2))
    spread = draw.uniform(0.2, 4, level.shape)
    features = torch.from_numpy(draw.normal(0, 1, shape) * spread + level).to(dtype)
    partners = np.roll(np.arange(shape[0]), 1)
    shares = draw.uniform(0, 1, shape[0])
    return features, partners, shares


def mixed(features, partners, shares):
    return mix_statistics(features, torch.from_numpy(partners), torch.from_numpy(shares))


def test_two_samples_by_hand():
    """Means 2 and 20, standard deviations 1 and 10; a quarter of the own style."""
    features = torch.tensor([[[1.0, 3.0]], [[10.0, 30.0]]])
    found = mix_statistics(features, torch.tensor([1, 0]), torch.tensor([0.25, 0.25]), eps=0.0)
    # 0.25 * 2 + 0.75 * 20 = 15.5 and 0.25 * 1 + 0.75 * 10 = 7.75; the other way round 6.5 and 3.25
    torch.testing.assert_close(found, torch.tensor([[[7.75, 23.25]], [[3.25, 9.75]]]))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_values_are_those_of_loops(shape):
    features, partners, shares = drawn(shape)
    expected, _ = by_loops(features, partners, shares)
    np.testing.assert_allclose(mixed(features, partners, shares).numpy(), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_single(dtype):
    features, partners, shares = drawn((4, 3, 16, 16), dtype=dtype)
    # 256 squares of 60 are beyond the largest number of float16
    features = features * 20
    found = mixed(features, partners, shares)
    expected, _ = by_loops(features.double().numpy(), partners, shares)
    assert found.dtype == dtype
    np.testing.assert_allclose(found.double().numpy(), expected, rtol=2e-2, atol=2.0)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_gradient_takes_the_statistics_for_constants(shape):
    """A statistic with a gradient would subtract its share: the sum of an instance-normalised map has none at all."""
    features, partners, shares = drawn(shape)
    features.requires_grad_()
    mixed(features, partners, shares).sum().backward()
    _, factors = by_loops(features.detach(), partners, shares)
    expected = np.broadcast_to(factors.reshape(*factors.shape, *[1] * (len(shape) - 2)), shape)
    np.testing.assert_allclose(features.grad.numpy(), expected, rtol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_share_of_one_changes_no_bit(dtype):
    features, partners, _ = drawn((4, 3, 5, 7), dtype=dtype)
    assert torch.equal(mixed(features, partners, np.ones(4)), features)


def test_a_share_of_zero_gives_the_statistics_of_the_partner():
    features, partners, _ = drawn((4, 3, 16, 16))
    found = mixed(features, partners, np.zeros(4))
    torch.testing.assert_close(found.mean((2, 3)), features[partners].mean((2, 3)))
    torch.testing.assert_close(found.std((2, 3)), features[partners].std((2, 3)), rtol=1e-5, atol=0)


def test_the_order_of_pixels_stays():
    features, partners, shares = drawn((4, 3, 5, 7))
    found = mixed(features, partners, shares)
    assert torch.equal(found.flatten(2).argsort(-1), features.flatten(2).argsort(-1))


def test_a_map_of_one_value_takes_the_mixed_mean():
    features = torch.tensor([3.0, 7.0]).reshape(2, 1, 1, 1).expand(2, 1, 4, 4)
    found = mix_statistics(features, torch.tensor([1, 0]), torch.tensor([0.5, 0.0]))
    torch.testing.assert_close(found[:, 0, 0, 0], torch.tensor([5.0, 3.0]))
    assert torch.isfinite(found).all()
