# SPDX-License-Identifier: Apache-2.0
"""The logits loss of channels that may overlap: by hand, by loops, as two softmax channels, in its limits."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from akd_monai.errors import InputError
from akd_monai.losses import LogitsKLLoss, logits_kl

DIRECTIONS = ["student_teacher", "teacher_student"]


def pixel(*logits):
    return torch.tensor(logits).reshape(1, -1, 1, 1)


def sigmoid_kl(student, teacher, **options):
    return logits_kl(student, teacher, activation="sigmoid", **options)


@pytest.mark.parametrize(
    ("student", "teacher", "direction", "temperature", "expected"),
    [
        ((2.0,), (2.0,), "student_teacher", 1.0, 0.0),
        ((-1.0,), (1.0,), "student_teacher", 1.0, math.tanh(0.5)),
        ((0.0,), (math.log(3),), "student_teacher", 1.0, math.log(4 / 3) / 2),
        ((0.0,), (math.log(3),), "teacher_student", 1.0, 0.75 * math.log(1.5) + 0.25 * math.log(0.5)),
        ((0.0,), (2 * math.log(3),), "student_teacher", 2.0, 4 * math.log(4 / 3) / 2),
        ((-1.0, 7.0, 7.0), (1.0, 7.0, 7.0), "student_teacher", 1.0, math.tanh(0.5) / 3),
    ],
    ids=["same", "swapped", "as printed", "other direction", "softened", "mean over channels"],
)
def test_by_hand(student, teacher, direction, temperature, expected):
    loss = LogitsKLLoss(direction, temperature, "sigmoid")(pixel(*student), pixel(*teacher))
    assert loss.item() == pytest.approx(expected, abs=1e-6)


def test_nothing_anywhere_is_far_from_everything_everywhere():
    nothing, everything = pixel(-12.0, -12.0, -12.0), pixel(12.0, 12.0, 12.0)
    assert logits_kl(nothing, everything).item() == 0
    assert sigmoid_kl(nothing, everything).item() == pytest.approx(12 * math.tanh(6), rel=1e-6)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    direction=st.sampled_from(DIRECTIONS),
    temperature=st.sampled_from([0.5, 1.0, 4.0]),
)
def test_equals_loops(seed, direction, temperature):
    rng = np.random.default_rng(seed)
    shape = (rng.integers(1, 3), rng.integers(1, 5), *rng.integers(1, 4, rng.integers(2, 4)))
    student, teacher = (3 * rng.normal(size=shape) for _ in range(2))
    total = 0.0
    for index in np.ndindex(*shape):
        p, q = (1 / (1 + math.exp(-m[index] / temperature)) for m in (student, teacher))
        if direction == "teacher_student":
            p, q = q, p
        total += p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))
    expected = temperature**2 * total / math.prod(shape)
    options = {"direction": direction, "temperature": temperature}
    maps = torch.from_numpy(student), torch.from_numpy(teacher)
    assert sigmoid_kl(*maps, **options).item() == pytest.approx(expected, rel=1e-9)
    single = sigmoid_kl(*(m.float() for m in maps), **options)
    assert single.dtype == torch.float32
    assert single.item() == pytest.approx(expected, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_one_channel_is_two_softmax_channels(direction):
    rng = torch.Generator().manual_seed(0)
    student, teacher = (3 * torch.randn(2, 1, 3, 3, 3, dtype=torch.float64, generator=rng) for _ in range(2))
    two = [torch.cat([torch.zeros_like(z), z], 1) for z in (student, teacher)]
    options = {"direction": direction, "temperature": 2.0}
    torch.testing.assert_close(sigmoid_kl(student, teacher, **options), logits_kl(*two, **options))


def test_copies_of_a_channel_or_of_a_map_change_nothing():
    small = pixel(0.3), pixel(-2.0)
    large = [z.unsqueeze(-1).expand(3, 5, 2, 3, 4) for z in small]
    torch.testing.assert_close(sigmoid_kl(*large), sigmoid_kl(*small))


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_first_and_second_derivatives_and_none_for_the_teacher(direction):
    rng = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, 2, 3, 2, 2, dtype=torch.float64, generator=rng).unbind()
    student.requires_grad_()
    teacher.requires_grad_()
    frozen = teacher.detach()
    options = {"direction": direction, "temperature": 3.0}
    assert torch.autograd.gradcheck(lambda z: sigmoid_kl(z, frozen, **options), student)
    assert torch.autograd.gradgradcheck(lambda z: sigmoid_kl(z, frozen, **options), student)
    sigmoid_kl(student, teacher, **options).backward()
    assert teacher.grad is None


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_certain_networks_stay_finite_and_exact(direction):
    # The two-softmax form of the same numbers in doubles, by the exact log-sums.
    margins = [-1e4, -104.0, -20.0, 0.0, 1.0, 20.0, 104.0, 1e4]
    for ours in margins:
        for theirs in margins:
            student = pixel(ours).requires_grad_()
            loss = sigmoid_kl(student, pixel(theirs), direction=direction)
            (gradient,) = torch.autograd.grad(loss, student)
            p, q = (ours, theirs) if direction == "student_teacher" else (theirs, ours)
            assert loss.item() == pytest.approx(bernoulli_divergence(p, q), rel=1e-6, abs=1e-12)
            assert gradient.isfinite().all()


def log_sigmoid(z):
    return -math.log1p(math.exp(-z)) if z > 0 else z - math.log1p(math.exp(z))


def bernoulli_divergence(p, q):
    """Return the divergence of two logits in doubles."""
    present = math.exp(log_sigmoid(p)) * (log_sigmoid(p) - log_sigmoid(q))
    return present + math.exp(log_sigmoid(-p)) * (log_sigmoid(-p) - log_sigmoid(-q))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_and_autocast_stay_finite(dtype):
    rng = torch.Generator().manual_seed(0)
    student, teacher = (1e4 * torch.randn(2, 3, 4, 4, generator=rng).clamp(-3, 3).to(dtype) for _ in range(2))
    student.requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = sigmoid_kl(student, teacher)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, sigmoid_kl(student.float(), teacher.float()))
    assert torch.autograd.grad(loss, student)[0].isfinite().all()


def test_a_compiled_graph_has_no_break():
    rng = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, 3, 8, 8, generator=rng), torch.randn(2, 3, 8, 8, generator=rng)
    loss = torch.compile(lambda z: sigmoid_kl(2 * z, teacher), backend="eager", fullgraph=True)(student)
    torch.testing.assert_close(loss, sigmoid_kl(2 * student, teacher))


def test_an_unknown_activation_is_refused():
    message = r"activation must be one of 'softmax', 'sigmoid', got 'sigmoide'. Did you mean 'sigmoid'\?"
    with pytest.raises(InputError, match=message):
        LogitsKLLoss(activation="sigmoide")
    with pytest.raises(InputError, match=message):
        logits_kl(pixel(0.0, 0.0), pixel(0.0, 0.0), activation="sigmoide")


def test_the_module_shows_its_activation():
    assert repr(LogitsKLLoss(activation="sigmoid")).endswith("temperature=1.0, activation='sigmoid')")
