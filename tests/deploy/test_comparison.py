# SPDX-License-Identifier: Apache-2.0
"""Which differences of an exported network are rounding, and which refuse it."""

from __future__ import annotations

import numpy as np
import pytest

from akd_monai.deploy._comparison import Comparison, _beyond, failed


def comparison(**changes):
    given = {
        "engine": "engine 1", "largest_logit_difference": 2e-3, "largest_logit": 0.1, "logits_beyond_rounding": 0.0,
        "volumes": 3, "synthetic": True, "voxels": 10_000, "differing_voxels": 0, "largest_margin": 0.0,
        "milliseconds": 1.0, "torch_milliseconds": 1.0,
    }  # fmt: skip
    return Comparison(**{**given, **changes})


def test_places_around_a_tie_of_max_pooling_are_counted():
    # one of 4 and two of 6
    differences = [np.array([0, 0, 0, 0.2], np.float32), np.array([0.2, 0.3, 0, 0, 0, 0.1], np.float32)]
    assert _beyond(differences, 0.1) == pytest.approx(3 / 10)
    assert _beyond([np.zeros(3, np.float32), np.array([np.nan, 0], np.float32)], 0.1) == 1.0


@pytest.mark.parametrize(
    ("changes", "refused"),
    [
        ({}, ""),
        ({"logits_beyond_rounding": 5e-4}, ""),
        ({"logits_beyond_rounding": 6e-4}, "engine 1: logits differ by 2.0e-03"),
        ({"logits_beyond_rounding": float("nan")}, "engine 1: logits differ by 2.0e-03"),
        # any number of voxels where two classes are as likely
        ({"differing_voxels": 500, "largest_margin": 1e-3}, ""),
        # 0.05 % of 10,000 voxels are 5
        ({"differing_voxels": 5, "largest_margin": 0.3}, ""),
        (
            {"differing_voxels": 6, "largest_margin": 0.3},
            "engine 1: 6 voxels of masks differ, by margins of up to 3.0e-01",
        ),
    ],
)
def test_what_refuses_an_export(changes, refused):
    assert "; ".join(failed(comparison(**changes))) == refused
