# SPDX-License-Identifier: Apache-2.0
"""Labels of the task as terms read them: their forms and sizes, overlapping channels, and labels that are missing."""

from __future__ import annotations

import pytest
import torch
from monai.engines import SupervisedTrainer
from torch import nn
from torch.nn import functional as F

from akd_monai.engines import DistillationTrainer
from akd_monai.errors import InputError
from akd_monai.losses import (
    DistillationCriterion,
    DistillationLoss,
    IntraClassVariationLoss,
    RegionAffinityLoss,
)

LOSSES = (RegionAffinityLoss, IntraClassVariationLoss)
TERM = {"loss": "region_affinity", "student_layer": "body", "teacher_layer": "body"}


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("loss", LOSSES)
def test_forms_of_labels(loss):
    student, teacher = drawn(2, 3, 4, 6), drawn(2, 5, 4, 6, seed=1)
    labels = torch.arange(24).remainder(3).reshape(1, 1, 4, 6).repeat(2, 1, 1, 1)
    value = loss()(student, teacher, labels)
    one_hot = F.one_hot(labels[:, 0], 3).movedim(-1, 1)
    for other in (labels[:, 0], labels.float(), labels.byte(), one_hot, one_hot.bool()):
        assert loss()(student, teacher, other) == value
    # which number a class has says nothing
    assert loss()(student, teacher, 7 * labels + 2) == pytest.approx(value.item(), rel=1e-5)


@pytest.mark.parametrize("loss", LOSSES)
def test_labels_are_resized_by_nearest_exact(loss):
    student, teacher = drawn(1, 3, 2, 2), drawn(1, 3, 2, 2, seed=1)
    large = torch.zeros(1, 1, 8, 8)
    large[0, 0, 2, 2] = 1  # row floor((0 + 0.5) 8 / 2) = 2, which plain nearest would not take
    small = torch.tensor([1.0, 0.0, 0.0, 0.0]).reshape(1, 1, 2, 2)
    assert loss()(student, teacher, large) == loss()(student, teacher, small) > 0


@pytest.mark.parametrize("loss", LOSSES)
def test_each_sigmoid_channel_is_a_pair_of_regions(loss):
    student, teacher = drawn(2, 3, 4, 4), drawn(2, 5, 4, 4, seed=1)
    channels = drawn(2, 3, 4, 4, seed=2).gt(0).float()  # overlap
    alone = [loss()(student, teacher, channels[:, [k]]) for k in range(3)]
    value = loss(activation="sigmoid")(student, teacher, channels)
    torch.testing.assert_close(value, torch.stack(alone).mean())
    with pytest.raises(InputError, match=r"labels of 3 channels must be one-hot, .*; set activation to 'sigmoid'"):
        loss()(student, teacher, channels)
    with pytest.raises(InputError, match=r"labels of sigmoid channels must be 0 or 1.*; set activation to 'softmax'"):
        loss(activation="sigmoid")(student, teacher, 2 * channels)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (None, "compares regions of the ground truth, and this batch has no labels; leave the term out"),
        ([torch.zeros(1)], r"labels must be one tensor \[B, K, \*spatial\], got list"),
        (torch.zeros(3, 1, 4, 4), r"labels must be .* of the same images, got \[3, 1, 4, 4\]"),
        (torch.zeros(2, 1, 4, 4, 4), r"labels must be .* of the same images"),
        (torch.full((2, 1, 4, 4), 0.5), "must be class indices, 0 or more, got negative numbers or fractions"),
        (torch.full((2, 1, 4, 4), -1), "must be class indices"),
    ],
)
def test_labels_that_do_not_fit(labels, message):
    for loss in LOSSES:
        with pytest.raises(InputError, match=message):
            loss()(drawn(2, 3, 4, 4), drawn(2, 3, 4, 4), labels)


class Wrong(DistillationLoss):
    needs_labels = "yes"  # type: ignore[assignment]


def test_a_criterion_hands_labels_to_the_terms_that_need_them():
    terms = {"soft": {"loss": "logits"}, "affine": {"loss": "region_affinity", "weight": 0.5}}
    criterion = DistillationCriterion(terms)
    assert criterion.needs_labels
    assert not DistillationCriterion(terms | {"affine": None}).needs_labels
    student, teacher = drawn(2, 3, 4, 4), drawn(2, 3, 4, 4, seed=1)
    labels = torch.arange(16).remainder(2).reshape(1, 1, 4, 4).repeat(2, 1, 1, 1)
    values = criterion(student, teacher, {}, {}, labels)
    torch.testing.assert_close(values["affine"], 0.5 * RegionAffinityLoss()(student, teacher, labels))
    with pytest.raises(InputError, match=r"term 'affine': it compares regions .* and this batch has no labels"):
        criterion(student, teacher, {}, {})
    with pytest.raises(InputError, match="term 'x': needs_labels of Wrong must be True or False, got 'yes'"):
        DistillationCriterion({"x": {"loss": Wrong()}})


class Net(nn.Module):
    """A body and a head."""

    def __init__(self, width):
        super().__init__()
        self.body = nn.Conv2d(1, width, 3, padding=1, stride=2)
        self.head = nn.Conv2d(width, 2, 1)

    def forward(self, x):
        return F.interpolate(self.head(self.body(x)), scale_factor=2.0)


def trained(batch, task, kind=DistillationTrainer, terms=TERM, **options):
    torch.manual_seed(0)
    student, teacher = Net(3), Net(5)
    if kind is DistillationTrainer:
        criterion = DistillationCriterion({"regions": terms, "soft": {"loss": "logits"}})
        options |= {"teacher": teacher, "distillation": criterion}
    trainer = kind(
        device="cpu", max_epochs=1, train_data_loader=[batch], network=student, loss_function=task,
        optimizer=torch.optim.SGD(student.parameters(), lr=0.1), decollate=False, **options,
    )  # fmt: skip
    trainer.run()
    return trainer


def test_the_trainer_hands_on_the_labels_of_the_task():
    image = drawn(2, 1, 8, 8)
    batch = {"image": image, "label": image.gt(0).long()}
    trainer = trained(batch, lambda logits, label: F.cross_entropy(logits, label[:, 0]))
    torch.manual_seed(0)
    student, teacher = Net(3), Net(5)
    expected = RegionAffinityLoss()(student.body(image), teacher.body(image), batch["label"])
    torch.testing.assert_close(trainer.state.loss_terms["regions"], expected.detach())
    assert expected > 0


def test_unlabelled_images_are_refused_by_the_name_of_the_term():
    with pytest.raises(InputError, match=r"term 'regions': .* this batch has no labels; leave the term out"):
        trained({"image": drawn(2, 1, 8, 8)}, lambda logits, label: 0 * logits.sum())
    trainer = trained({"image": drawn(2, 1, 8, 8)}, lambda logits, label: 0 * logits.sum(), terms=None)
    assert set(trainer.state.loss_terms) == {"task", "soft"}


class OwnCriterion(DistillationCriterion):
    """Takes no labels, as a criterion written before there were any."""

    def forward(self, student_logits, teacher_logits, student_features, teacher_features):
        return super().forward(student_logits, teacher_logits, student_features, teacher_features)


def test_a_criterion_of_ones_own_without_labels_is_called_as_before():
    torch.manual_seed(0)
    student = Net(3)
    image = drawn(2, 1, 8, 8)
    trainer = DistillationTrainer(
        device="cpu", max_epochs=1, train_data_loader=[{"image": image, "label": image}], network=student,
        loss_function=lambda logits, label: logits.mean(), optimizer=torch.optim.SGD(student.parameters(), lr=0.1),
        teacher=Net(5), distillation=OwnCriterion({"soft": {"loss": "logits"}}), decollate=False,
    )  # fmt: skip
    trainer.run()
    assert isinstance(trainer, SupervisedTrainer)
    assert trainer.state.loss_terms["soft"] > 0
