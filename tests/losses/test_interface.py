# SPDX-License-Identifier: Apache-2.0
"""What a loss states about itself, which paths it then gets, and when a statement does not hold."""

from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest
import torch
from torch import nn

from akd_monai.errors import InputError
from akd_monai.losses import (
    AdaptiveAffinityLoss,
    DistillationCriterion,
    DistillationLoss,
    DistillationTerm,
    GramKernelLoss,
    LogitsKLLoss,
    registry,
)


class Plain(nn.Module):
    """A loss of another package that says nothing."""

    def forward(self, student, teacher):
        return (student.mean() - teacher.mean()).square()


class OtherDefaults(AdaptiveAffinityLoss):
    """Computes the same, with other defaults."""

    size = 5

    def __init__(self):
        super().__init__(kernel=self.size)

    def extra_repr(self):
        return "other defaults"


class OtherForward(AdaptiveAffinityLoss):
    def forward(self, student, teacher):
        return super().forward(student, teacher) + teacher.mean()


class OtherLabels(AdaptiveAffinityLoss):
    """Labels only where the teacher is sure, for which the largest logit is not enough."""

    def labels(self, teacher):
        return super().labels(teacher).masked_fill(teacher.amax(1) < 3, 255)


class Restated(OtherForward):
    teacher_needs = "differences"


class Grandchild(OtherForward):
    """Inherits a statement only past a class that changes the computation."""


class Mixin:
    def labels(self, teacher):
        return (teacher[:, 0] > 2).byte()


class Mixed(Mixin, AdaptiveAffinityLoss):
    """The mixin comes before the class that makes the statement."""


class NoMethods:
    """A mixin that changes nothing."""


class Harmless(NoMethods, AdaptiveAffinityLoss):
    pass


class ByOptions(DistillationLoss):
    """A statement that depends on the options."""

    def __init__(self, hard):
        super().__init__()
        self.hard = hard

    @property
    def teacher_needs(self):
        return "labels" if self.hard else "logits"

    def forward(self, student, teacher):
        return student.mean()


class Stating(Plain):
    """A module that states without deriving from the package's class."""

    teacher_needs = "labels"


def hooked():
    loss = AdaptiveAffinityLoss()
    loss.register_forward_pre_hook(lambda module, maps: None)
    return loss


def patched():
    loss = AdaptiveAffinityLoss()
    loss.forward = lambda student, teacher: teacher.mean()
    return loss


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (AdaptiveAffinityLoss(), "labels"),
        (LogitsKLLoss(), "differences"),
        (GramKernelLoss(), "logits"),
        (nn.MSELoss(), "logits"),
        (Plain(), "logits"),
        (DistillationLoss(), "logits"),
        (OtherDefaults(), "labels"),
        (Harmless(), "labels"),
        (OtherForward(), "logits"),
        (OtherLabels(), "logits"),
        (Grandchild(), "logits"),
        (Mixed(), "logits"),
        (Restated(), "differences"),
        (ByOptions(True), "labels"),
        (ByOptions(False), "logits"),
        (Stating(), "labels"),
        (hooked(), "logits"),
        (patched(), "logits"),
        (nn.Sequential(AdaptiveAffinityLoss()), "logits"),
    ],
)
def test_what_a_loss_needs_of_the_teachers_logits(loss, expected):
    assert DistillationTerm("t", loss).teacher_needs == expected


def test_a_plugin_is_asked_as_well(monkeypatch):
    points = [
        EntryPoint("stating", f"{__name__}:Stating", "akd_monai.losses"),
        EntryPoint("plain", f"{__name__}:Plain", "akd_monai.losses"),
    ]
    classes = {"stating": Stating, "plain": Plain}
    monkeypatch.setattr(registry, "entry_points", lambda group: points)
    monkeypatch.setattr(EntryPoint, "load", lambda self: classes[self.name])
    criterion = DistillationCriterion([{"name": name, "loss": name} for name in classes])
    assert [term.teacher_needs for term in criterion.active] == ["labels", "logits"]


def test_a_term_needs_the_logits_as_they_are_where_they_are_averaged_and_none_on_features():
    assert DistillationTerm("t", AdaptiveAffinityLoss(), resize=True).teacher_needs == "logits"
    assert DistillationTerm("t", AdaptiveAffinityLoss(), student_layer="s").teacher_needs == "labels"
    assert DistillationTerm("t", AdaptiveAffinityLoss(), teacher_layer="x").teacher_needs is None


@pytest.mark.parametrize("loss", [AdaptiveAffinityLoss(), LogitsKLLoss(), LogitsKLLoss("teacher_student", 3.0)])
def test_the_statements_of_the_package_are_true(loss):
    rng = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, 2, 3, 6, 6, dtype=torch.float64, generator=rng)
    expected = loss(student, teacher)
    shifted = teacher + torch.randn(2, 1, 6, 6, dtype=torch.float64, generator=rng)
    torch.testing.assert_close(loss(student, shifted), expected, rtol=1e-12, atol=1e-12)
    decided = nn.functional.one_hot(teacher.argmax(1), 3).movedim(-1, 1).double()
    same = torch.equal(loss(student, decided), expected)
    assert same == (DistillationTerm("t", loss).teacher_needs == "labels")


def test_a_wrong_statement():
    class Wrong(Plain):
        teacher_needs = "label"

    with pytest.raises(InputError, match=r"term 't': teacher_needs of Wrong must be one of .* Did you mean 'labels'"):
        DistillationTerm("t", Wrong())


def test_a_loss_must_define_forward():
    with pytest.raises(NotImplementedError, match=r"DistillationLoss must define forward\(student, teacher\)"):
        DistillationLoss()(torch.zeros(1, 2, 2, 2), torch.zeros(1, 2, 2, 2))


class Counting(Plain):
    """Says which way it was computed: a value below 0 is the way without the adapted map."""

    def forward(self, student, teacher):
        return student.sum().square()

    def forward_with_adapter(self, student, teacher, weight):
        return -torch.einsum("kc,bc...->bk...", weight, student).sum().square()


class CountingDefaults(Counting):
    def __init__(self):
        super().__init__()


class CountingForward(Counting):
    def forward(self, student, teacher):
        return 2 * super().forward(student, teacher)


class NotFaster(Counting):
    def forward_with_adapter(self, student, teacher, weight):
        return None


class GramForward(GramKernelLoss):
    def forward(self, student, teacher, adapter=None):
        return super().forward(student, teacher) + 1


def hooked_counting():
    loss = Counting()
    loss.register_forward_hook(lambda module, maps, value: value)
    return loss


def with_conv1x1(loss):
    term = DistillationTerm("t", loss, student_layer="s", teacher_layer="x", adapter="conv1x1")
    criterion = DistillationCriterion([term])
    criterion.build_adapters({"s": 2}, {"x": 3}, spatial_dims=2, seed=0)
    return criterion


@pytest.mark.parametrize(
    ("loss", "sign"),
    [
        (Counting(), -1),
        (CountingDefaults(), -1),
        (CountingForward(), 1),
        (NotFaster(), 1),
        (hooked_counting(), 1),
    ],
)
@pytest.mark.parametrize("compiled", [False, True])
def test_a_loss_that_offers_it_is_computed_with_its_adapter(loss, sign, compiled):
    criterion = with_conv1x1(loss)
    maps = {"s": torch.ones(1, 2, 3, 3)}, {"x": torch.ones(1, 3, 3, 3)}
    torch._dynamo.reset()
    compute = torch.compile(criterion, backend="eager", fullgraph=True) if compiled else criterion
    value = compute(torch.zeros(1, 2, 3, 3), torch.zeros(1, 2, 3, 3), *maps)["t"]
    assert value.abs() > 0
    assert value.sign() == sign


def test_a_subclass_with_another_forward_is_given_the_adapted_map():
    maps = {"s": torch.randn(2, 2, 3, 3)}, {"x": torch.randn(2, 3, 3, 3)}
    logits = torch.zeros(2, 2, 3, 3)
    plain, changed = (with_conv1x1(kind())(logits, logits, *maps)["t"] for kind in (GramKernelLoss, GramForward))
    torch.testing.assert_close(changed, plain + 1)
