# SPDX-License-Identifier: Apache-2.0
"""Interpolation without PyTorch gives PyTorch's values."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from akd_monai.deploy._interpolation import resampled, resized

SIZES = [((9, 7, 3), (16, 16, 3)), ((16, 16, 4), (9, 31, 4)), ((5, 6, 7), (11, 3, 1)), ((1, 4, 2), (3, 4, 5))]


def volume(shape):
    return np.random.default_rng(0).normal(0, 100, (2, *shape)).astype(np.float32)


@pytest.mark.parametrize(("given", "wanted"), SIZES)
def test_values_are_those_of_pytorch(given, wanted):
    array = volume(given)
    expected = torch.nn.functional.interpolate(torch.from_numpy(array)[None], size=wanted, mode="trilinear")[0].numpy()
    found = resized(array, wanted)
    assert found.dtype == np.float32
    # rounding of single operations
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize(("given", "wanted"), SIZES)
def test_nearest_values_are_those_of_pytorch(given, wanted):
    array = volume(given)
    expected = torch.nn.functional.interpolate(torch.from_numpy(array)[None], size=wanted, mode="nearest")[0].numpy()
    np.testing.assert_array_equal(resized(array, wanted, nearest=True), expected)


def test_a_straight_line_stays_one():
    line = np.arange(10, dtype=np.float32)[None, None, None]
    # voxels of half the size lie a quarter of a voxel beside the old ones; the ends are held
    expected = np.clip((np.arange(20) + 0.5) / 2 - 0.5, 0, 9)
    np.testing.assert_allclose(resized(line, (1, 1, 20))[0, 0, 0], expected, atol=1e-6)
    np.testing.assert_allclose(resampled(line, (1, 1, 1.5), (1, 1, 7))[0, 0, 0], np.arange(7) * 1.5)
