# SPDX-License-Identifier: Apache-2.0
"""Schedules of terms: values by hand, limits, what is refused, and a term that is off."""

from __future__ import annotations

import math

import pytest
import torch

from akd_monai.errors import InputError, UnknownNameError
from akd_monai.losses import DistillationCriterion, DistillationTerm, LogitsKLLoss, TermSchedule

E5 = math.exp(-5)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {0: 1, 0.5: 1, 90: 1}),
        ({"ramp_epochs": 4}, {0: 0, 1: 0.25, 2.5: 0.625, 3.9: 0.975, 4: 1, 9: 1}),
        ({"start_epoch": 2}, {0: 0, 1.99: 0, 2: 1}),
        ({"start_epoch": 2, "ramp_epochs": 4}, {2: 0, 3: 0.25, 6: 1}),
        ({"ramp_epochs": 2, "shape": "sigmoid"}, {0: E5, 1: math.exp(-1.25), 2: 1}),
        ({"ramp_epochs": 4, "by": "epoch"}, {0.9: 0, 1: 0.25, 1.9: 0.25, 3.9: 0.75, 4: 1}),
        ({"end_epoch": 3}, {2.9: 1, 3: 0, 50: 0}),
        ({"end_epoch": 3, "decay_epochs": 2}, {3: 1, 3.5: 0.75, 4.5: 0.25, 5: 0}),
        ({"end_epoch": 3, "decay_epochs": 2, "shape": "sigmoid"}, {3: 1, 4: math.exp(-1.25), 5: 0}),
        ({"ramp_epochs": 2, "end_epoch": 2, "decay_epochs": 2}, {1: 0.5, 2: 1, 3: 0.5, 4: 0}),
    ],
)
def test_by_hand(options, expected):
    schedule = TermSchedule(**options)
    assert {t: schedule.factor(t) for t in expected} == pytest.approx(expected)


def test_the_weight_is_the_product():
    term = {"loss": "logits", "weight": 0.8, "schedule": {"ramp_epochs": 4}}
    criterion = DistillationCriterion({"soft": term})
    student, teacher = torch.zeros(1, 2, 2, 2), torch.tensor([2.0, 0.0]).reshape(1, 2, 1, 1).expand(1, 2, 2, 2)
    full = LogitsKLLoss()(student, teacher)
    for epoch, factor in ((0, 0.0), (1.5, 0.375), (4, 1.0)):
        criterion.set_epoch(epoch)
        torch.testing.assert_close(criterion(student, teacher, {}, {})["soft"], 0.8 * factor * full)


def test_a_term_that_is_off_is_not_computed():
    class Never(torch.nn.Module):
        def forward(self, student, teacher):
            raise AssertionError("computed")

    criterion = DistillationCriterion([DistillationTerm("late", Never(), schedule={"start_epoch": 1})])
    criterion.set_epoch(0.5)
    maps = torch.zeros(1, 2, 2, 2)
    assert criterion(maps, maps, {}, {})["late"].item() == 0
    criterion.set_epoch(1)
    with pytest.raises(AssertionError, match="computed"):
        criterion(maps, maps, {}, {})


def test_a_step_without_its_epoch_is_refused():
    criterion = DistillationCriterion({"soft": {"loss": "logits", "schedule": {"ramp_epochs": 1}}})
    maps = torch.zeros(1, 2, 2, 2)
    with pytest.raises(InputError, match=r"term 'soft': its weight has a schedule: call set_epoch of the criterion"):
        criterion(maps, maps, {}, {})
    with pytest.raises(InputError, match="the epoch of a criterion must be a finite number of at least 0, got -1"):
        criterion.set_epoch(-1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ramp_epochs": -1}, "ramp_epochs of a schedule must be a finite number of at least 0, got -1"),
        ({"shape": "cosine"}, "shape of a schedule must be"),
        ({"by": "batch"}, "by of a schedule must be"),
        ({"decay_epochs": 2}, "decay_epochs of a schedule has no effect without an end_epoch; give both"),
        ({"ramp_epochs": 5, "end_epoch": 3}, "end_epoch 3 of a schedule lies before 5, where its ramp ends"),
        ({"end_epoch": math.nan}, "end_epoch of a schedule must be a finite number"),
    ],
)
def test_refused(options, message):
    with pytest.raises(InputError, match=message):
        TermSchedule(**options)
    # a term of weight 0 is checked as well
    with pytest.raises(InputError, match=f"term 'soft': {message}"):
        DistillationCriterion({"soft": {"loss": "logits", "weight": 0, "schedule": options}})


def test_unknown_entries():
    with pytest.raises(
        UnknownNameError, match=r"term 'soft': unknown entry 'ramp' of schedule\. Did you mean 'ramp_epochs'"
    ):
        DistillationCriterion({"soft": {"loss": "logits", "schedule": {"ramp": 3}}})
