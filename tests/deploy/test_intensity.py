# SPDX-License-Identifier: Apache-2.0
"""Transforms of intensity without PyTorch give MONAI's values."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai import transforms

from akd_monai.deploy._intensity import INTENSITY
from akd_monai.deploy._steps import read_step, written_step
from akd_monai.errors import InputError

STEPS = [
    ("ScaleIntensityRangePercentiles", {"lower": 0.5, "upper": 99.5, "b_min": 0.0, "b_max": 1.0, "clip": True}),
    ("ScaleIntensityRangePercentiles", {"lower": 5, "upper": 90, "b_min": -1.0, "b_max": 2.0, "channel_wise": True}),
    ("ScaleIntensityRangePercentiles", {"lower": 10, "upper": 90, "b_min": None, "b_max": None}),
    ("ScaleIntensityRange", {"a_min": -57.1, "a_max": 164.3, "b_min": 0.0, "b_max": 1.0, "clip": True}),
    ("ScaleIntensityRange", {"a_min": 3, "a_max": 3, "b_min": 0.5, "b_max": 1.0}),
    ("ScaleIntensity", {}),
    ("ScaleIntensity", {"minv": -1.0, "maxv": 1.0, "channel_wise": True}),
    ("NormalizeIntensity", {}),
    ("NormalizeIntensity", {"nonzero": True, "channel_wise": True}),
    ("NormalizeIntensity", {"subtrahend": 10.0, "divisor": 4.0}),
    ("NormalizeIntensity", {"subtrahend": [1.0, 2.0], "divisor": [3.0, 4.0], "channel_wise": True}),
]


@pytest.mark.parametrize(("name", "arguments"), STEPS)
@pytest.mark.parametrize("shape", [(2, 11, 7, 3), (2, 101, 100, 51)], ids=["by quantile", "by percentile"])
def test_values_are_those_of_monai(name, arguments, shape):
    array = np.random.default_rng(0).normal(20, 60, shape).astype(np.float32)
    array[:, :3] = 0
    expected = getattr(transforms, name)(**arguments)(torch.from_numpy(array.copy())).numpy()
    step = read_step(INTENSITY, name, arguments, "a test")
    before = array.copy()
    np.testing.assert_allclose(step.apply(array), expected, rtol=2e-6, atol=2e-6)
    np.testing.assert_array_equal(array, before)


@pytest.mark.parametrize("name", ["ScaleIntensityRangePercentiles", "NormalizeIntensity", "ScaleIntensity"])
def test_a_constant_image_stays_finite(name):
    arguments = dict(STEPS[0][1]) if name == "ScaleIntensityRangePercentiles" else {}
    step = read_step(INTENSITY, name, arguments, "a test")
    assert np.isfinite(step.apply(np.full((1, 4, 4, 2), 7, np.float32))).all()


def test_a_step_is_read_as_it_was_written():
    step = read_step(INTENSITY, "NormalizeIntensity", {"nonzero": True, "dtype": "float32"}, "a test")
    content = written_step(step)
    assert content.pop("name") == "NormalizeIntensity"
    assert read_step(INTENSITY, "NormalizeIntensity", content, "a test") == step


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("Flip", {}, "has Flip, which cannot run without PyTorch; known are NormalizeIntensity, ScaleIntensity,"),
        ("ScaleIntensity", {"factor": 0.5}, "ScaleIntensity with factor = 0.5, which cannot .*; covered are None"),
        ("ScaleIntensity", {"colour": 1}, "ScaleIntensity with colour = 1, which cannot .*; leave it out"),
        ("ScaleIntensityRange", {"a_min": 0}, r"arguments that do not fit \(.*a_max"),
        ("NormalizeIntensity", {"divisor": [1.0, 2.0]}, "a number for each channel needs channel_wise"),
    ],
)
def test_what_is_not_covered_is_refused_by_name(name, arguments, message):
    with pytest.raises(InputError, match=f"^a test: .*{message}") as caught:
        read_step(INTENSITY, name, arguments, "a test")
    assert caught.value.code == "not-exportable"
