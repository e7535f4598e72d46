# SPDX-License-Identifier: Apache-2.0
"""Class-balanced and masked divergence: a second write-down by loops in float64, by hand, and limits."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from akd_monai.errors import InputError, UnknownNameError
from akd_monai.losses import LogitsKLLoss, logits_kl

MASKS = [None, {"confidence": 0.7}, {"distance": 1}, {"distance": 0, "confidence": 0.6}]


def distributions(logits, activation):
    """Return, for each channel that is compared on its own, probabilities of its classes at each pixel."""
    if activation == "softmax":
        powers = np.exp(logits - logits.max())
        return [powers / powers.sum()]
    return [np.array([1 / (1 + math.exp(z)), 1 / (1 + math.exp(-z))]) for z in logits]


def label_of(logits, channel, activation):
    return int(np.argmax(logits)) if activation == "softmax" else int(logits[channel] > 0)


def is_near(teacher, b, i, channel, activation, distance):
    """Return whether a pixel of foreground is within the distance along every axis."""
    for j in np.ndindex(*teacher.shape[2:]):
        close = max(abs(p - q) for p, q in zip(i, j, strict=True)) <= distance
        if close and label_of(teacher[(b, slice(None), *j)], channel, activation) > 0:
            return True
    return False


def by_loops(student, teacher, direction, temperature, activation, class_weights, mask):
    """Return the divergence in plain numbers, one pixel after the other."""
    mask = mask or {}
    channels = 1 if activation == "softmax" else student.shape[1]
    means = []
    for channel in range(channels):
        found = []
        for b in range(student.shape[0]):
            for i in np.ndindex(*student.shape[2:]):
                ours, theirs = student[(b, slice(None), *i)], teacher[(b, slice(None), *i)]
                sure = max(distributions(theirs, activation)[channel])
                if sure < mask.get("confidence", 0):
                    continue
                if "distance" in mask and not is_near(teacher, b, i, channel, activation, mask["distance"]):
                    continue
                p, q = (distributions(z / temperature, activation)[channel] for z in (ours, theirs))
                if direction == "teacher_student":
                    p, q = q, p
                found.append((label_of(theirs, channel, activation), float(np.sum(p * np.log(p / q)))))
        if class_weights == "balanced":
            per_class = [[d for y, d in found if y == label] for label in {y for y, _ in found}]
            values = [sum(part) / len(part) for part in per_class]
            means += [sum(values) / len(values)] if values else []
            continue
        weights = [1.0 if class_weights is None else class_weights[y] for y, _ in found]
        if sum(weights):
            means.append(sum(w * d for w, (_, d) in zip(weights, found, strict=True)) / sum(weights))
    return temperature**2 * sum(means) / len(means) if means else 0.0


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    direction=st.sampled_from(["student_teacher", "teacher_student"]),
    temperature=st.sampled_from([1.0, 3.0]),
    activation=st.sampled_from(["softmax", "sigmoid"]),
    mask=st.sampled_from(MASKS),
    weighting=st.sampled_from([None, "balanced", "list"]),
)
def test_equals_loops(seed, direction, temperature, activation, mask, weighting):
    rng = np.random.default_rng(seed)
    least = 2 if activation == "softmax" else 1
    shape = (rng.integers(1, 3), rng.integers(least, 4), *rng.integers(1, 4, rng.integers(2, 4)))
    student, teacher = (2 * rng.normal(size=shape) for _ in range(2))
    classes = shape[1] if activation == "softmax" else 2
    class_weights = rng.uniform(0, 2, classes).tolist() if weighting == "list" else weighting
    options = {"direction": direction, "temperature": temperature, "activation": activation}
    options |= {"class_weights": class_weights, "mask": mask}
    found = logits_kl(torch.from_numpy(student), torch.from_numpy(teacher), **options)
    assert found.item() == pytest.approx(by_loops(student, teacher, **options), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
@pytest.mark.parametrize("class_weights", ["balanced", [0.3, 2.0]])
def test_gradcheck_and_no_gradient_for_the_teacher(activation, class_weights):
    rng = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, 2, 2, 3, 3, dtype=torch.float64, generator=rng)
    teacher.requires_grad_()
    options = {"activation": activation, "class_weights": class_weights, "mask": {"distance": 1, "confidence": 0.55}}
    assert torch.autograd.gradcheck(lambda s: logits_kl(s, teacher, **options), (student.requires_grad_(),))
    logits_kl(student, teacher, **options).backward()
    assert teacher.grad is None


def one_pixel_of_gland():
    """Return logits of a student that misses one pixel of 16, and of its teacher."""
    teacher = torch.zeros(1, 2, 4, 4)
    teacher[:, 0] = 4.0
    student = teacher.clone()
    teacher[0, :, 1, 1] = torch.tensor([0.0, 4.0])
    return student, teacher


def test_a_small_class_counts_as_much_as_a_large_one():
    student, teacher = one_pixel_of_gland()
    missed = 4 * math.tanh(2)
    assert logits_kl(student, teacher).item() == pytest.approx(missed / 16, rel=1e-6)
    assert logits_kl(student, teacher, class_weights="balanced").item() == pytest.approx(missed / 2, rel=1e-6)
    assert logits_kl(student, teacher, class_weights=[1.0, 15.0]).item() == pytest.approx(missed / 2, rel=1e-6)
    # 9 of the 16 pixels are within one of the gland
    assert logits_kl(student, teacher, mask={"distance": 1}).item() == pytest.approx(missed / 9, rel=1e-6)
    assert logits_kl(student, teacher, mask={"distance": 0}).item() == pytest.approx(missed, rel=1e-6)


def test_equal_weights_and_masks_of_everything_change_nothing():
    rng = torch.Generator().manual_seed(2)
    student, teacher = torch.randn(2, 2, 3, 5, 5, generator=rng)
    for activation in ("softmax", "sigmoid"):
        plain = logits_kl(student, teacher, activation=activation)
        weights = [2.0] * (3 if activation == "softmax" else 2)
        for options in ({"class_weights": weights}, {"mask": {"confidence": 1e-9}}, {"mask": {}}):
            torch.testing.assert_close(logits_kl(student, teacher, activation=activation, **options), plain)


def test_one_sigmoid_channel_is_two_softmax_channels():
    rng = torch.Generator().manual_seed(3)
    student, teacher = torch.randn(2, 2, 1, 5, 5, generator=rng)
    both = [torch.cat([torch.zeros_like(z), z], 1) for z in (student, teacher)]
    for options in ({"class_weights": "balanced"}, {"class_weights": [1, 3]}, {"mask": MASKS[3]}):
        found = logits_kl(student, teacher, activation="sigmoid", **options)
        torch.testing.assert_close(found, logits_kl(*both, **options))


def test_nothing_that_counts_is_0_with_a_gradient():
    student, teacher = torch.zeros(1, 2, 3, 3, requires_grad=True), torch.zeros(1, 2, 3, 3)
    loss = LogitsKLLoss(mask={"distance": 2}, class_weights="balanced")(student, teacher)
    loss.backward()
    assert loss.item() == 0
    assert student.grad.abs().sum() == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"class_weights": "balancd"},
            "class_weights must be 'balanced' or a list of a number for each class, got 'balancd'",
        ),
        ({"class_weights": [1, -1]}, "each of class_weights must be a finite number of at least 0, got -1"),
        ({"class_weights": [0, 0]}, "class_weights are all 0: nothing would count; give the term weight 0"),
        ({"mask": {"confidence": 1.2}}, "confidence of mask is a probability and must be at most 1"),
        ({"mask": {"distance": 1.5}}, "distance of mask must be an integer of at least 0, got 1.5"),
        ({"mask": 3}, "mask must be a mapping, got int"),
    ],
)
def test_refused_when_built(options, message):
    with pytest.raises(InputError, match=message):
        LogitsKLLoss(**options)


def test_refused_in_the_call():
    maps = torch.zeros(1, 3, 2, 2)
    with pytest.raises(InputError, match="there are 2 class_weights for 3 classes; give one for each"):
        LogitsKLLoss(class_weights=[1, 2])(maps, maps)
    with pytest.raises(UnknownNameError, match=r"unknown entry 'distanse' of mask\. Did you mean 'distance'"):
        LogitsKLLoss(mask={"distanse": 2})


def test_options_are_settings_only_where_they_are_given():
    assert not {"class_weights", "mask"} & vars(LogitsKLLoss()).keys()
    assert vars(LogitsKLLoss(class_weights="balanced"))["class_weights"] == "balanced"
