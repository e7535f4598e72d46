# SPDX-License-Identifier: Apache-2.0
"""Schedules against values worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from akd_monai.engines import lr_schedule
from akd_monai.errors import InputError, UnknownNameError


def rates(name, steps, **options):
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], lr=0.01)
    schedule = lr_schedule(optimizer, name, **options)
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return found


def test_peak_first_starts_at_the_peak_and_ends_a_short_run_at_the_floor():
    found = rates("cyclic_peak_first", 11, total_iterations=10, floor=1e-6)
    assert found[0] == pytest.approx(0.01)
    assert found[5] == pytest.approx((0.01 + 1e-6) / 2)  # halfway down
    assert found[10] == pytest.approx(1e-6)


def test_peak_first_rises_again_after_step_size():
    found = rates("cyclic_peak_first", 9, total_iterations=100, step_size=4)
    assert found[4] == pytest.approx(1e-6)
    assert found[8] == pytest.approx(0.01)
    assert found[3] == pytest.approx(found[5])


def test_cyclic_is_pytorchs_and_starts_at_the_floor():
    found = rates("cyclic", 5, total_iterations=100, step_size=4)
    assert found[0] == pytest.approx(1e-6)
    assert found[4] == pytest.approx(0.01)


def test_cyclic_leaves_adams_momentum_alone():
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], lr=0.01)
    lr_schedule(optimizer, "cyclic", total_iterations=10)
    assert optimizer.param_groups[0]["betas"] == (0.9, 0.999)


def test_cosine_at_a_third():
    found = rates("cosine", 5, total_iterations=9)
    assert found[3] == pytest.approx(1e-6 + (0.01 - 1e-6) * (1 + math.cos(math.pi / 3)) / 2, rel=1e-4)


def test_unknown_name_lists_what_resembles_it():
    with pytest.raises(UnknownNameError, match=r"unknown schedule 'cosinus'. Did you mean 'cosine'\?"):
        rates("cosinus", 1, total_iterations=10)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"total_iterations": 0}, r"nothing to train: .* got 0; give at least one epoch, and a batch_size of at most"),
        ({"total_iterations": 5, "step_size": 0}, "step_size must be at least 1, got 0"),
        ({"total_iterations": 5, "floor": 0.02}, "floor must lie above 0 and below the optimizer's learning rate 0.01"),
    ],
)
def test_numbers_out_of_range(options, message):
    with pytest.raises(InputError, match=message):
        rates("cyclic", 1, **options)
