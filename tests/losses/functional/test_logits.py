# SPDX-License-Identifier: Apache-2.0
"""The logits loss against values worked out by hand, loops and limits."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from akd_monai.errors import InputError
from akd_monai.losses import LogitsKLLoss, logits_kl

THIRD = math.log(3)  # softmax([log 3, 0]) = (0.75, 0.25)


def pixel(*logits):
    return torch.tensor(logits).reshape(1, -1, 1, 1)


@pytest.mark.parametrize(
    ("student", "teacher", "direction", "temperature", "expected"),
    [
        ((2.0, 0.0), (2.0, 0.0), "student_teacher", 1.0, 0.0),
        ((0.0, 2.0), (2.0, 0.0), "student_teacher", 1.0, 2 * math.tanh(1)),
        ((0.0, 0.0), (THIRD, 0.0), "student_teacher", 1.0, math.log(4 / 3) / 2),
        ((0.0, 0.0), (THIRD, 0.0), "teacher_student", 1.0, 0.75 * math.log(1.5) + 0.25 * math.log(0.5)),
        ((0.0, 0.0), (2 * THIRD, 0.0), "student_teacher", 2.0, 4 * math.log(4 / 3) / 2),
        ((0.0, 0.0), (20.0, 0.0), "student_teacher", 1.0, 10 - math.log(2)),  # + 2e-9: a sure teacher is expensive
        ((0.0, 0.0), (20.0, 0.0), "teacher_student", 1.0, math.log(2)),
    ],
    ids=[
        "same",
        "swapped",
        "as printed",
        "other direction",
        "softened",
        "sure teacher",
        "sure teacher, other direction",
    ],
)
def test_by_hand(student, teacher, direction, temperature, expected):
    loss = LogitsKLLoss(direction, temperature)(pixel(*student), pixel(*teacher))
    assert loss.item() == pytest.approx(expected, abs=1e-6)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    direction=st.sampled_from(["student_teacher", "teacher_student"]),
    temperature=st.sampled_from([0.5, 1.0, 4.0]),
)
def test_equals_loops(seed, direction, temperature):
    rng = np.random.default_rng(seed)
    shape = (rng.integers(1, 3), rng.integers(2, 5), *rng.integers(1, 4, rng.integers(2, 4)))
    maps = [3 * rng.normal(size=shape) for _ in range(2)]
    total = 0.0
    for b in range(shape[0]):
        for i in np.ndindex(*shape[2:]):
            p, q = (np.exp(m[(b, slice(None), *i)] / temperature) for m in maps)
            p, q = p / p.sum(), q / q.sum()
            if direction == "teacher_student":
                p, q = q, p
            total += sum(p * np.log(p / q))
    expected = temperature**2 * total / (shape[0] * math.prod(shape[2:]))
    student, teacher = map(torch.from_numpy, maps)
    options = {"direction": direction, "temperature": temperature}
    assert logits_kl(student, teacher, **options).item() == pytest.approx(expected, rel=1e-9)
    assert logits_kl(student.float(), teacher.float(), **options).item() == pytest.approx(expected, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("direction", ["student_teacher", "teacher_student"])
def test_gradcheck_and_no_gradient_for_the_teacher(direction):
    rng = torch.Generator().manual_seed(0)
    student = torch.randn(2, 3, 2, 2, dtype=torch.float64, generator=rng, requires_grad=True)
    teacher = torch.randn(2, 3, 2, 2, dtype=torch.float64, generator=rng, requires_grad=True)
    frozen = teacher.detach()
    assert torch.autograd.gradcheck(lambda x: logits_kl(x, frozen, direction=direction, temperature=3.0), student)
    logits_kl(student, teacher, direction=direction).backward()
    assert teacher.grad is None
    with torch.inference_mode():
        recorded = frozen * 2
    logits_kl(student, recorded, direction=direction).backward()


@pytest.mark.parametrize("direction", ["student_teacher", "teacher_student"])
def test_three_maps_are_kept_and_a_kept_graph_gives_its_gradient_again(direction):
    rng = torch.Generator().manual_seed(0)
    student, teacher = (
        torch.randn(2, 3, 8, 8, generator=rng, requires_grad=True),
        torch.randn(2, 3, 8, 8, generator=rng),
    )
    saved = {}
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.update({t.data_ptr(): t.nbytes}) or t, lambda t: t):
        loss = logits_kl(student, teacher, direction=direction)
    # The student's probabilities, their logarithms, and the difference from the teacher's logarithms.
    assert sum(saved.values()) <= 3 * student.nbytes
    (one,) = torch.autograd.grad(loss, student, torch.tensor(2.0), retain_graph=True)
    before = one.clone()
    (batch,) = torch.autograd.grad(loss, student, torch.tensor([3.0, -1.0]), is_grads_batched=True, retain_graph=True)
    (two,) = torch.autograd.grad(loss, student, torch.tensor(3.0))
    assert torch.equal(one, before)
    torch.testing.assert_close(2 * two, 3 * one)
    torch.testing.assert_close(batch, torch.stack([two, -one / 2]))


@pytest.mark.parametrize("direction", ["student_teacher", "teacher_student"])
def test_a_second_derivative(direction):
    rng = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, 2, 3, 2, 2, dtype=torch.float64, generator=rng)
    student.requires_grad_()
    assert torch.autograd.gradgradcheck(lambda x: logits_kl(x, teacher, direction=direction, temperature=2.0), student)


@pytest.mark.parametrize("direction", ["student_teacher", "teacher_student"])
def test_certain_networks_stay_finite_and_exact(direction):
    # A margin of d nats makes the other class exp(-d): 0 in float32 from 104 on, and 0 * (log 0 - log 0) must not appear.
    margins = [0.0, 1.0, 80.0, 104.0, 1e4]
    for ours in margins:
        for theirs in margins:
            student = pixel(ours, 0.0).requires_grad_()
            loss = logits_kl(student, pixel(0.0, theirs), direction=direction)
            (gradient,) = torch.autograd.grad(loss, student)
            sure, other = (ours, theirs) if direction == "student_teacher" else (theirs, ours)
            assert loss.item() == pytest.approx(swapped_divergence(sure, other), rel=1e-6, abs=1e-6)
            assert gradient.isfinite().all()
            assert gradient.sum().abs() <= 1e-6 * max(1, gradient.abs().max())


def swapped_divergence(first, second):
    """Return the divergence of softmax([first, 0]) from softmax([0, second]), in doubles."""
    p = 1 / (1 + math.exp(-first))
    rest = math.exp(-first) * p
    log_sums = math.log1p(math.exp(-first)), math.log1p(math.exp(-second))
    # log p - log q is first - (log-sum first) + (log-sum second) for the first class, the other way for the second
    return p * (second - log_sums[0] + log_sums[1]) + rest * (-first - log_sums[0] + log_sums[1])


def test_one_hot_logits_of_three_classes():
    # Teacher sure of class 0, student of class 0 or 1, at 1e4: the divergence is 0 or the margin.
    sure, other = pixel(1e4, 0.0, 0.0), pixel(0.0, 1e4, 0.0)
    assert logits_kl(sure, sure).item() == 0
    assert logits_kl(other, sure).item() == 1e4
    assert logits_kl(other, sure, direction="teacher_student").item() == 1e4


def test_the_result_has_the_type_of_the_student():
    student, teacher = pixel(0.0, 2.0), pixel(2.0, 0.0)
    assert logits_kl(student, teacher.double()).dtype == torch.float32
    assert logits_kl(student.double(), teacher).dtype == torch.float64


def test_a_compiled_graph_has_no_break():
    rng = torch.Generator().manual_seed(0)
    student, teacher = (
        torch.randn(2, 3, 8, 8, generator=rng, requires_grad=True),
        torch.randn(2, 3, 8, 8, generator=rng),
    )
    for backend in ("eager", "aot_eager"):
        torch._dynamo.reset()
        loss = torch.compile(lambda x: 2 * logits_kl(2 * x, teacher), backend=backend, fullgraph=True)(student)
        expected = 2 * logits_kl(2 * student, teacher)
        torch.testing.assert_close(loss, expected)
        torch.testing.assert_close(torch.autograd.grad(loss, student), torch.autograd.grad(expected, student))


def test_size_and_copies_of_a_map_change_nothing():
    small = pixel(0.0, 2.0), pixel(2.0, 0.0)
    large = [x.unsqueeze(-1).expand(3, 2, 4, 5, 6) for x in small]
    torch.testing.assert_close(logits_kl(*large), logits_kl(*small))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("direction", ["student_teacher", "teacher_student"])
def test_half_precision_and_autocast_stay_finite(dtype, direction):
    rng = torch.Generator().manual_seed(0)
    student, teacher = (1e4 * torch.randn(2, 2, 4, 4, generator=rng).clamp(-3, 3).to(dtype) for _ in range(2))
    student.requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = logits_kl(student, teacher, direction=direction)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, logits_kl(student.float(), teacher.float(), direction=direction))
    assert torch.autograd.grad(loss, student)[0].isfinite().all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"direction": "teacher"}, r"direction must be one of .*got 'teacher'. Did you mean"),
        ({"temperature": 0}, r"temperature must be a finite number above 0, got 0"),
        ({"temperature": -1.0}, r"temperature must be a finite number above 0, got -1.0"),
        ({"temperature": float("inf")}, r"temperature must be a finite number above 0, got inf"),
        ({"temperature": True}, r"temperature must be a finite number above 0, got True"),
    ],
)
def test_options_out_of_range(options, message):
    with pytest.raises(InputError, match=message):
        logits_kl(pixel(0.0, 0.0), pixel(0.0, 0.0), **options)
    with pytest.raises(InputError, match=message):
        LogitsKLLoss(**options)


@pytest.mark.parametrize(
    ("student", "teacher", "message"),
    [
        (
            (1, 1, 2, 2),
            (1, 1, 2, 2),
            r"softmax over one channel .*set activation to 'sigmoid', or .*two softmax channels",
        ),
        ((1, 2, 2, 2), (1, 3, 2, 2), r"differ in channels .*same classes"),
        ((1, 2, 2, 2), (1, 2, 4, 4), r"differ in spatial size .*\"resize\": true"),
        ((1, 2, 2, 2), (2, 2, 2, 2), r"differ in batch size .*same images"),
    ],
)
def test_maps_that_do_not_fit(student, teacher, message):
    with pytest.raises(InputError, match=message):
        logits_kl(torch.zeros(student), torch.zeros(teacher))
