# SPDX-License-Identifier: Apache-2.0
"""The affinity of channels that may overlap: each under its own labels, by loops, as two softmax channels."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from akd_monai.errors import InputError
from akd_monai.losses import AdaptiveAffinityLoss, DistillationCriterion, affinity_loss

ALGORITHMS = ["reference", "box", "dense", "auto"]


def case(student_channels, teacher_channels, *size, seed=0):
    rng = torch.Generator().manual_seed(seed)
    student = torch.randn(2, student_channels, *size, dtype=torch.float64, generator=rng)
    return student, torch.randn(2, teacher_channels, *size, dtype=torch.float64, generator=rng)


def two_label_loop(probabilities, labels, margin):
    """Return the affinity loss of one label map, pair by pair: probabilities ``[B, C, H, W]``, labels ``[B, H, W]``."""
    pulled, pushed = [], []
    height, width = labels.shape[1:]
    places = list(itertools.product(range(height), range(width)))
    for b, (y, x), (v, u) in itertools.product(range(len(labels)), places, places):
        if (y, x) == (v, u) or max(abs(y - v), abs(x - u)) > 1:
            continue
        p, q = probabilities[b, :, y, x], probabilities[b, :, v, u]
        w = sum(p * np.log(p / q))
        if labels[b, y, x] == labels[b, v, u]:
            pulled.append(w)
        else:
            pushed.append(max(0.0, margin - w))
    return sum(pulled) / max(1, len(pulled)) + sum(pushed) / max(1, len(pushed))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("channels", [1, 3])
def test_logits_equal_loops_over_channels_and_pairs(channels, algorithm):
    student, teacher = case(channels, channels, 3, 4)
    expected = 0.0
    for k in range(channels):
        present = 1 / (1 + np.exp(-student.numpy()[:, k]))
        labels = teacher.numpy()[:, k] > 0
        expected += two_label_loop(np.stack([1 - present, present], 1), labels, margin=0.7) / channels
    loss = AdaptiveAffinityLoss(margin=0.7, activation="sigmoid", algorithm=algorithm)
    assert loss(student, teacher).item() == pytest.approx(expected, rel=1e-9)


def test_features_equal_loops_under_the_labels_of_each_channel():
    student, teacher = case(4, 2, 3, 4)
    p = np.exp(student.numpy())
    p /= p.sum(1, keepdims=True)
    expected = sum(two_label_loop(p, teacher.numpy()[:, k] > 0, margin=0.7) for k in range(2)) / 2
    assert AdaptiveAffinityLoss(margin=0.7, activation="sigmoid")(student, teacher).item() == pytest.approx(expected)


@pytest.mark.parametrize("size", [(8, 9), (4, 5, 6)])
@pytest.mark.parametrize("options", [{}, {"kernel": 5, "dilation": 2, "margin": 0.6, "class_balanced": True}])
def test_one_channel_is_two_softmax_channels(size, options):
    student, teacher = case(1, 1, *size)
    two = [torch.cat([torch.zeros_like(z), z], 1) for z in (student, teacher)]
    found = AdaptiveAffinityLoss(activation="sigmoid", **options)(student, teacher)
    torch.testing.assert_close(found, AdaptiveAffinityLoss(**options)(*two))


def test_overlapping_channels_are_not_one_label_map():
    # Both channels present in the left half: under arg-max there is one label and nothing to push apart.
    teacher = torch.full((1, 2, 4, 4), -3.0)
    teacher[..., :2] = 3.0
    flat = torch.zeros(1, 2, 4, 4)
    assert AdaptiveAffinityLoss()(flat, teacher).item() == 0
    assert AdaptiveAffinityLoss(activation="sigmoid")(flat, teacher).item() == 3


def test_a_channel_that_is_nowhere_counts_as_one_of_the_mean():
    teacher = torch.full((1, 2, 4, 4), -3.0)
    teacher[:, 0, :, :2] = 3.0
    assert AdaptiveAffinityLoss(activation="sigmoid")(torch.zeros(1, 2, 4, 4), teacher).item() == 1.5


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_gradcheck_and_none_for_the_teacher(algorithm):
    student, teacher = case(2, 2, 3, 3)
    student.requires_grad_()
    teacher.requires_grad_()
    loss = AdaptiveAffinityLoss(margin=0.7, activation="sigmoid", algorithm=algorithm)
    assert torch.autograd.gradcheck(lambda z: loss(z, teacher.detach()), student)
    loss(student, teacher).backward()
    assert teacher.grad is None


def test_teacher_logits_of_full_resolution_serve_a_small_map():
    student, _ = case(1, 1, 3, 3)
    logits = torch.randn(2, 1, 24, 24, generator=torch.Generator().manual_seed(5))
    small = logits[:, :, 4::8, 4::8]
    loss = AdaptiveAffinityLoss(activation="sigmoid")
    torch.testing.assert_close(loss(student, logits), loss(student, small))


def test_labels_are_the_signs_of_the_channels():
    logits = torch.tensor([-1.0, 0.0, 1e-30, 5.0]).reshape(1, 2, 1, 2)
    assert AdaptiveAffinityLoss(activation="sigmoid").labels(logits).flatten().tolist() == [0, 0, 1, 1]


def test_a_logit_of_0_is_not_present():
    teacher = torch.tensor([0.0, 0.0, -1.0, -1.0]).reshape(1, 1, 1, 4)
    assert AdaptiveAffinityLoss(activation="sigmoid")(torch.zeros(1, 1, 1, 4), teacher).item() == 0
    assert AdaptiveAffinityLoss(activation="sigmoid")(torch.zeros(1, 1, 1, 4), teacher + 1e-9).item() == 3


def test_features_with_as_many_channels_as_the_teacher_can_be_told():
    student, teacher = case(2, 2, 5, 5)
    found = AdaptiveAffinityLoss(activation="sigmoid", student_map="features")(student, teacher)
    expected = sum(affinity_loss(student, (teacher[:, k] > 0).long()) for k in range(2)) / 2
    torch.testing.assert_close(found, expected)
    assert not torch.isclose(found, AdaptiveAffinityLoss(activation="sigmoid")(student, teacher))


def test_a_border_between_saturated_channels_costs_nothing():
    teacher = torch.full((1, 1, 1, 4), 9.0)
    teacher[..., 2:] = -9.0
    assert AdaptiveAffinityLoss(activation="sigmoid")(teacher, teacher).item() == pytest.approx(0, abs=1e-6)
    wrong = AdaptiveAffinityLoss(activation="sigmoid")(-teacher.roll(1, 3), teacher).item()
    assert wrong > 2 * math.log(2)


def test_the_criterion_takes_it_by_name():
    entry = {"loss": "affinity", "weight": 0.5, "options": {"activation": "sigmoid", "margin": 2.0}}
    student, teacher = case(3, 3, 5, 5)
    value = DistillationCriterion({"borders": entry})(student, teacher, {}, {})["borders"]
    torch.testing.assert_close(value, 0.5 * AdaptiveAffinityLoss(margin=2.0, activation="sigmoid")(student, teacher))


@pytest.mark.parametrize(
    ("options", "student", "teacher", "message"),
    [
        (
            {},
            (1, 1, 3, 3),
            (1, 2, 3, 3),
            r"scores need at least two channels .*set activation to 'sigmoid'",
        ),
        (
            {"activation": "sigmoid", "student_map": "logits"},
            (1, 3, 3, 3),
            (1, 2, 3, 3),
            r"differ in channels \(3 and 2\): .*student_map must be 'features'",
        ),
        ({"activation": "sigmoid"}, (1, 1, 3, 3), (1, 2, 3, 3), r"scores need at least two channels"),
        ({"activation": "sigmoid"}, (1, 2, 3, 3), (2, 2, 3, 3), r"differ in batch size"),
        ({"activation": "sigmoid"}, (1, 2, 3, 3), (1, 2, 3, 3, 3), r"both networks must be 2D or both 3D"),
        ({"activation": "sigmoide"}, (), (), r"activation must be one of 'softmax', 'sigmoid', got 'sigmoide'"),
        ({"student_map": "scores"}, (), (), r"student_map must be one of None, 'features', 'logits', got 'scores'"),
    ],
)
def test_what_does_not_fit_is_refused(options, student, teacher, message):
    with pytest.raises(InputError, match=message):
        AdaptiveAffinityLoss(**options)(torch.zeros(student), torch.zeros(teacher))
