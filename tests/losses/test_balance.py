# SPDX-License-Identifier: Apache-2.0
"""Balanced terms: scales by a loop in float64, gradients by finite differences, state, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from akd_monai.errors import InputError
from akd_monai.losses import DistillationCriterion, DistillationTerm, TermBalance

TASKS = [0.8, 0.6, 0.9, 0.5, 0.4]
VALUES = [4.0, 6.0, 2.0, 0.5, 0.1]


def by_loop(tasks, values):
    """Return the scales that the formula gives, in plain numbers."""
    scales = []
    for step, (task, value) in enumerate(zip(tasks, values, strict=True)):
        if step == 0:
            means = [task, value]
            first = task / value
        else:
            means = [0.9 * means[0] + 0.1 * task, 0.9 * means[1] + 0.1 * value]
        scales.append(min(first, means[0] / means[1]))
    return scales


def scales_of(balance, tasks, values):
    numbers = [(torch.tensor(task), torch.tensor(value)) for task, value in zip(tasks, values, strict=True)]
    return [balance("term", value, task, value).item() for task, value in numbers]


def test_scales_by_value_are_those_of_a_loop():
    expected = by_loop(TASKS, VALUES)
    assert scales_of(TermBalance(["term"], "value"), TASKS, VALUES) == pytest.approx(expected, rel=1e-6)
    # the start, below it as the task loss falls, and never above it however small the term becomes
    assert expected[0] == 0.2
    assert expected[1] < 0.2
    assert max(expected) == 0.2


class Scaled(nn.Module):
    """The mean of the squared difference, times a factor."""

    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, student, teacher):
        return self.factor * (student - teacher).square().mean()


def maps():
    rng = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 2, 3, 3, generator=rng)
    return logits, torch.randn(2, 2, 3, 3, generator=rng)


def test_a_weight_is_the_share_of_the_task_loss_at_the_start():
    for factor in (1e-3, 1.0, 1e4):
        terms = [DistillationTerm("a", Scaled(factor), weight=0.3), DistillationTerm("b", Scaled(1.0), weight=0.5)]
        found = DistillationCriterion(terms, balance="value")(*maps(), {}, {}, task=torch.tensor(0.7))
        assert {name: value.item() for name, value in found.items()} == pytest.approx({"a": 0.21, "b": 0.35}, rel=1e-5)


def test_gradients_have_the_share_of_the_task_loss():
    logits, teacher = maps()
    student = logits.requires_grad_()
    task = (student**3).mean()
    criterion = DistillationCriterion([DistillationTerm("a", Scaled(50.0), weight=0.25)], balance="gradient")
    value = criterion(student, teacher, {}, {}, task=task)["a"]
    (of_term,) = torch.autograd.grad(value, student, retain_graph=True)
    z = logits.detach().double().numpy()
    expected = 0.25 * np.linalg.norm(3 * z**2 / z.size)
    assert of_term.norm().item() == pytest.approx(expected, rel=1e-5)
    # the scale itself has no gradient, and the graph is still there
    (task + value).backward()
    by_hand = 3 * z**2 / z.size + of_term.double().numpy()
    np.testing.assert_allclose(student.grad.numpy(), by_hand, rtol=1e-4, atol=1e-7)


def test_features_are_compared_at_their_own_map():
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(1, 3, 4, 4, generator=generator, requires_grad=True)
    logits = 2 * features[:, :2]
    task = logits.square().sum()
    term = DistillationTerm("a", Scaled(7.0), weight=0.1, student_layer="x", teacher_layer="y")
    criterion = DistillationCriterion([term], balance="gradient")
    value = criterion(logits, logits, {"x": features}, {"y": torch.zeros(1, 3, 4, 4)}, task=task)["a"]
    (of_term,) = torch.autograd.grad(value, features)
    # the gradient of the task loss is 8 x in two of three channels
    expected = 0.1 * 8 * features.detach()[:, :2].norm()
    torch.testing.assert_close(of_term.norm(), expected)


def test_half_precision_loses_no_small_gradient():
    scale = []
    for kind in (torch.float32, torch.float16):
        student = torch.linspace(-1, 1, 200_000).reshape(1, 2, 100, 1000).to(kind).requires_grad_()
        balance = TermBalance(["a"], "gradient")
        # gradients of about 2e-8, where the least number of half precision is 6e-8
        task, value = 4e-3 * student.float().square().mean(), 4e-3 * student.float().abs().mean()
        scale.append(balance("a", value, task, student).item())
    assert scale[1] == pytest.approx(scale[0], rel=1e-2)


def test_the_state_continues_bit_by_bit():
    full, first, second = (TermBalance(["term"], "value") for _ in range(3))
    expected = scales_of(full, TASKS, VALUES)
    scales_of(first, TASKS[:2], VALUES[:2])
    second.load_state_dict(first.state_dict())
    assert scales_of(second, TASKS[2:], VALUES[2:]) == expected[2:]


def test_nothing_is_learnt_in_eval_mode_or_without_gradients():
    balance = TermBalance(["term"], "value")
    scales_of(balance, TASKS[:1], VALUES[:1])
    balance.eval()
    assert scales_of(balance, [0.1], [9.0]) == pytest.approx([0.2])
    balance.train()
    with torch.no_grad():
        assert scales_of(balance, [0.1], [9.0]) == pytest.approx([0.2])


@pytest.mark.fault(
    "Numbers",
    "a balanced term is NaN in one step",
    injected="NaN and 0 as values of a term",
    outcome="the means of the balance stay",
)
def test_a_value_without_a_size_changes_no_mean():
    balance = TermBalance(["term"], "value")
    scales_of(balance, TASKS[:2], VALUES[:2])
    before = {name: value.clone() for name, value in balance.state_dict().items()}
    scales_of(balance, [0.5, 0.5, float("inf")], [float("nan"), 0.0, 1.0])
    assert all(torch.equal(value, before[name]) for name, value in balance.state_dict().items())


def test_sizes_are_those_of_all_processes(monkeypatch):
    def all_reduce(sizes):
        # the other process has a task loss of 0.4 and a term of 6
        sizes += torch.tensor([0.4, 6.0])

    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    monkeypatch.setattr(torch.distributed, "all_reduce", all_reduce)
    balance = TermBalance(["term"], "value")
    assert scales_of(balance, [0.8], [2.0]) == pytest.approx([0.6 / 4.0])
    assert balance.task_mean.item() == pytest.approx(0.6)


def test_without_balance_a_criterion_has_no_state():
    terms = {"soft": {"loss": "logits"}}
    assert DistillationCriterion(terms).state_dict() == {}
    assert len(DistillationCriterion(terms, balance="value").state_dict()) == 4


def test_refused():
    terms = {"soft": {"loss": "logits"}}
    with pytest.raises(InputError, match="balance must be"):
        DistillationCriterion(terms, balance="norm")
    with pytest.raises(
        InputError, match=r"term 'soft': the terms are balanced against the task loss, which is missing"
    ):
        DistillationCriterion(terms, balance="value")(*maps(), {}, {})
    logits, teacher = maps()
    message = r"term 'soft': balance by gradient: the task loss has no gradient with respect to the student's map"
    with pytest.raises(InputError, match=message):
        DistillationCriterion(terms, balance="gradient")(
            logits.requires_grad_(), teacher, {}, {}, task=torch.tensor(1.0)
        )
