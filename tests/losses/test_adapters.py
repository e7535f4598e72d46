# SPDX-License-Identifier: Apache-2.0
"""A Gram loss of the criterion that is computed without the adapted map."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from akd_monai.losses import DistillationCriterion, DistillationTerm, GramKernelLoss, gram_loss


def criterion(adapter="conv1x1", **options):
    term = {"name": "gram", "loss": "gram", "student_layer": "s", "teacher_layer": "t", "adapter": adapter, **options}
    made = DistillationCriterion([term])
    if adapter == "conv1x1":
        made.build_adapters({"s": 3}, {"t": 5}, spatial_dims=2, seed=0)
    return made


def test_the_criterion_gives_one_value_and_gradient_either_way():
    maps = {"s": torch.randn(2, 3, 4, 4, requires_grad=True)}, {"t": torch.randn(2, 5, 4, 4)}
    logits = torch.zeros(2, 2, 4, 4)
    found = []
    for hooked in (False, True):
        made, calls = criterion(), []
        if hooked:  # a hook wants the adapter to run
            made.adapters["gram"].register_forward_hook(lambda *_, calls=calls: calls.append(1))
        value = made(logits, logits, *maps)["gram"]
        found.append((value, *torch.autograd.grad(value, (maps[0]["s"], made.adapters["gram"].weight))))
        assert len(calls) == hooked
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-7)


def convolutions(monkeypatch, loss, adapter):
    """Return how many convolutions a criterion computes for a loss with an adapter from 3 channels."""
    calls = []
    for kind in (nn.Conv2d, nn.Conv3d):
        original = kind._conv_forward
        monkeypatch.setattr(
            kind, "_conv_forward", lambda self, *given, run=original: calls.append(1) or run(self, *given)
        )
    dims = 3 if isinstance(adapter, nn.Conv3d) else 2
    made = DistillationCriterion([DistillationTerm("t", loss, student_layer="s", teacher_layer="t", adapter=adapter)])
    student = torch.randn(2, 3, *[4] * dims)
    with torch.no_grad():
        teacher = torch.randn_like(adapter(student))
    calls.clear()
    made(student, teacher, {"s": student}, {"t": teacher})
    return len(calls)


@pytest.mark.parametrize(
    ("loss", "adapter", "expected"),
    [
        (GramKernelLoss(), nn.Conv2d(3, 5, 1, bias=False), True),
        (GramKernelLoss(), nn.Conv3d(3, 5, 1, bias=False), True),
        (GramKernelLoss(), nn.Conv2d(3, 3, 1, bias=False), False),  # nothing to gain
        (GramKernelLoss(), nn.Conv2d(3, 5, 1), False),
        (GramKernelLoss(), nn.Conv2d(3, 5, 3, padding=1, bias=False), False),
        (GramKernelLoss(), nn.Conv2d(3, 5, 1, stride=2, bias=False), False),
        (GramKernelLoss(), nn.Conv2d(3, 5, 1, padding=1, bias=False), False),
        (GramKernelLoss(), nn.Conv2d(3, 6, 1, groups=3, bias=False), False),
        (GramKernelLoss(), nn.Sequential(nn.Conv2d(3, 5, 1, bias=False)), False),
        (GramKernelLoss(), nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 5, 1, bias=False)), False),
        (GramKernelLoss(mode="channel"), nn.Conv2d(3, 5, 1, bias=False), False),
        (nn.MSELoss(), nn.Conv2d(3, 5, 1, bias=False), False),
    ],
)
def test_what_is_computed_inside(monkeypatch, loss, adapter, expected):
    assert (convolutions(monkeypatch, loss, adapter) == 0) == expected


def test_pooling_may_come_before_the_adapter():
    maps = {"s": torch.randn(2, 3, 4, 4)}, {"t": torch.randn(2, 5, 2, 2)}
    logits, made = torch.zeros(2, 2, 4, 4), criterion(resize=True)
    adapted = nn.functional.avg_pool2d(made.adapters["gram"](maps[0]["s"]), 2)
    torch.testing.assert_close(made(logits, logits, *maps)["gram"], gram_loss(adapted, maps[1]["t"]))
