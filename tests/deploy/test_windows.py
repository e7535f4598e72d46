# SPDX-License-Identifier: Apache-2.0
"""Sliding windows without PyTorch give the values of MONAI's inferers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai import inferers

from akd_monai.deploy._steps import read_step
from akd_monai.deploy._windows import INFERERS
from akd_monai.errors import InputError

CASES = [
    ("SliceInferer", {"roi_size": [9, 8], "spatial_dim": 2}, (9, 8, 5)),
    ("SliceInferer", {"roi_size": [5, 6], "spatial_dim": 0, "sw_batch_size": 3, "overlap": 0.5}, (4, 9, 8)),
    ("SliceInferer", {"roi_size": [12, 7], "spatial_dim": 1, "cval": -2.0}, (9, 3, 8)),
    ("SlidingWindowInferer", {"roi_size": [5, 4, 3], "sw_batch_size": 4}, (9, 8, 5)),
    ("SlidingWindowInferer", {"roi_size": [5, 4, 6], "overlap": 0.5, "mode": "gaussian"}, (11, 8, 5)),
    ("SlidingWindowInferer", {"roi_size": [4, 4, 4], "overlap": [0.0, 0.3, 0.6], "sigma_scale": 0.3}, (8, 9, 7)),
]


def network(x):
    """Return two channels that depend on the place inside a window."""
    weights = 1 + np.arange(np.prod(x.shape[2:])).reshape(x.shape[2:]) / 10
    return np.concatenate([x * weights, 1 - x**2], axis=1).astype(np.float32)


@pytest.mark.parametrize(("name", "arguments", "shape"), CASES)
def test_values_are_those_of_monai(name, arguments, shape):
    array = np.random.default_rng(0).normal(size=(1, *shape)).astype(np.float32)
    given = {"sw_batch_size": 2, **arguments}
    theirs = getattr(inferers, name)(**given)(
        torch.from_numpy(array)[None], lambda x: torch.from_numpy(network(x.numpy()))
    )
    found = read_step(INFERERS, name, given, "a test").run(array, network)
    np.testing.assert_allclose(found, theirs[0].numpy(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("SimpleInferer", {}, "has SimpleInferer, which cannot run without PyTorch; known are SliceInferer, SlidingW"),
        ("SliceInferer", {"roi_size": [8, -1]}, "roi_size must have 2 entries above 0"),
        ("SlidingWindowInferer", {"roi_size": [8, 8]}, "roi_size must have 3 entries above 0"),
        ("SlidingWindowInferer", {"roi_size": [8, 8, 8], "overlap": 1.0}, "overlap must be at least 0 and below 1"),
        ("SlidingWindowInferer", {"roi_size": [8, 8, 8], "mode": "mean"}, "mode must be constant or gaussian"),
        ("SlidingWindowInferer", {"roi_size": [8, 8, 8], "padding_mode": "reflect"}, "padding_mode = 'reflect'"),
    ],
)
def test_what_is_not_covered_is_refused(name, arguments, message):
    with pytest.raises(InputError, match=message):
        read_step(INFERERS, name, arguments, "a test")
