# SPDX-License-Identifier: Apache-2.0
"""What the first batch shows about a teacher, and that a run with the handler has the weights of one without."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from monai.handlers import CheckpointSaver
from torch import nn
from torch.nn import functional as F

from akd_monai.engines import DistillationTrainer
from akd_monai.errors import InputError, UnknownNameError
from akd_monai.handlers import FirstBatch
from akd_monai.handlers._agreement import measure_agreement
from akd_monai.losses import DistillationCriterion


class Known(nn.Module):
    """A teacher whose classes are the image itself, each logit moved to the channel that ``order`` gives it."""

    def __init__(self, order):
        super().__init__()
        self.order = list(order)

    def forward(self, image):
        classes = F.one_hot(image[:, 0].round().long(), len(self.order)).movedim(-1, 1).float()
        return 8 * classes[:, self.order]


def label_of(shape=(2, 1, 8, 8), classes=3):
    return torch.randint(classes, shape, generator=torch.Generator().manual_seed(0)).float()


def run(teacher, *, label=None, image=None, handler=True, weight=0.5, epochs=1, others=(), **options):
    label = label_of() if label is None else label
    torch.manual_seed(0)
    student = nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.BatchNorm2d(3), nn.Dropout(0.3), nn.Conv2d(3, 3, 1))
    trainer = DistillationTrainer(
        device="cpu",
        max_epochs=epochs,
        train_data_loader=[{"image": label if image is None else image, "label": label}] * 2,
        network=student,
        optimizer=torch.optim.Adam(student.parameters(), lr=0.01),
        loss_function=lambda logits, target: F.cross_entropy(logits, target[:, 0].long()),
        teacher=teacher,
        distillation=DistillationCriterion([{"name": "soft", "loss": "logits", "weight": weight}]),
        train_handlers=[*others, *([FirstBatch(**options)] if handler else [])],
        decollate=False,
    )
    trainer.run()
    return student.state_dict()


def test_a_good_teacher_gives_no_finding_and_its_dice(caplog):
    caplog.set_level(logging.INFO)
    run(Known([0, 1, 2]))
    assert "differ" not in caplog.text
    assert "agree by a mean Dice 1.00" in caplog.text


def test_weights_are_those_of_a_run_without_it():
    # the student has batch normalisation and dropout: one more forward pass would change both
    plain = run(Known([0, 1, 2]), handler=False)
    checked = run(Known([0, 1, 2]))
    assert all(torch.equal(plain[name], checked[name]) for name in plain)


@pytest.mark.fault(
    "Wrong input",
    "a teacher whose classes stand in another order",
    injected="its channels are permuted",
    outcome="refused before the first step, the order is told",
)
@pytest.mark.parametrize(
    ("order", "told"),
    [([1, 0, 2], "0 is the teacher's 1, 1 is the teacher's 0, 2 is the teacher's 2"),
     ([1, 2, 0], "0 is the teacher's 2, 1 is the teacher's 0, 2 is the teacher's 1")],
)  # fmt: skip
def test_permuted_classes_are_refused_and_their_order_told(order, told):
    with pytest.raises(
        InputError, match=f"assignment .* it is 1.00: label {told}; say it by --classes.*--allow assignment"
    ):
        run(Known(order))


class Masks(nn.Module):
    """A teacher whose sigmoid channels are those of the image; the last has the largest logit wherever it is set."""

    def forward(self, image):
        return (image - 0.5) * torch.tensor([1.0, 1.0, 9.0]).reshape(3, 1, 1)


def test_overlapping_channels_agree_by_channel(caplog):
    caplog.set_level(logging.INFO)
    # channel 1 lies within channel 0, channel 2 is everywhere: no order of exclusive classes has a Dice of 1
    masks = torch.ones(1, 3, 8, 8)
    masks[:, 0, :, 4:] = 0
    masks[:, 1, 2:] = 0
    masks[:, 1, :, 4:] = 0
    student = nn.Conv2d(3, 3, 1)
    trainer = DistillationTrainer(
        device="cpu",
        max_epochs=1,
        train_data_loader=[{"image": masks, "label": masks}],
        network=student,
        optimizer=torch.optim.Adam(student.parameters(), lr=0.01),
        loss_function=nn.BCEWithLogitsLoss(),
        teacher=Masks(),
        distillation=DistillationCriterion({"soft": {"loss": "logits", "options": {"activation": "sigmoid"}}}),
        train_handlers=[FirstBatch()],
    )
    trainer.run()
    assert "agree by a mean Dice 1.00" in caplog.text
    assert "compared as sigmoid outputs" in caplog.text


def test_permuted_classes_can_be_allowed(caplog):
    run(Known([1, 0, 2]), allow="assignment")
    assert "| assignment" in caplog.text


def test_a_constant_teacher_is_said_to_be_useless_but_runs(caplog):
    class Background(nn.Module):
        def forward(self, image):
            return torch.cat([torch.ones_like(image), torch.zeros_like(image), torch.zeros_like(image)], 1)

    run(Background())
    assert "agreement" in caplog.text
    assert "mean Dice 0.00" in caplog.text


@pytest.mark.parametrize("weight", [0, 0.5])
def test_labels_without_structure_are_noted_if_a_teacher_is_asked(weight, caplog):
    caplog.set_level(logging.INFO)
    run(Known([0, 1, 2]), label=torch.zeros(2, 1, 8, 8), weight=weight)
    assert ("show background alone" in caplog.text) == (weight > 0)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_images_that_are_not_finite_are_refused(value):
    image = label_of()
    image[0, 0, 0, 0] = value

    class Tolerant(Known):
        def forward(self, image):
            return super().forward(image.nan_to_num(0, 0, 0))

    with pytest.raises(InputError, match=r"values any and .* images of the first batch are not finite"):
        run(Tolerant([0, 1, 2]), image=image)


@pytest.mark.fault(
    "Numbers",
    "a teacher returns NaN",
    injected="in the first batch",
    outcome="refused before the first step",
)
def test_logits_that_are_not_finite_are_refused():
    class Broken(Known):
        def forward(self, image):
            return super().forward(image) / 0

    with pytest.raises(InputError, match="the teacher gives no finite logits"):
        run(Broken([0, 1, 2]))


@pytest.mark.parametrize(
    ("value_range", "is_said"),
    [
        ([0, 2], False),
        ([0, 1], False),
        ([0, 0.5], True),
        ([-1, 0], True),
        ([], False),
        (None, False),
        (["a", 1], False),
    ],
)
def test_values_far_outside_of_the_teachers_range_are_a_warning(value_range, is_said, caplog):
    # the image has values from 0 to 2; a range of width w is left by up to w
    run(Known([0, 1, 2]), value_range=value_range)
    assert ("another range of values" in caplog.text) == is_said


def test_a_refused_run_saves_nothing(tmp_path):
    saver = CheckpointSaver(str(tmp_path), {"model": nn.Conv2d(1, 1, 1)}, save_final=True, final_filename="model.pt")
    (tmp_path / "model.pt").write_text("weights of an earlier run")
    with pytest.raises(InputError, match="assignment"):
        run(Known([1, 0, 2]), others=[saver])
    assert (tmp_path / "model.pt").read_text() == "weights of an earlier run"


def test_unknown_checks_are_refused():
    with pytest.raises(UnknownNameError, match=r"unknown check 'agrement' in allow. Did you mean 'agreement'"):
        FirstBatch(allow=["agrement"])


def loops(predicted, masks):
    """Return the Dice of each channel with each class, written as loops."""
    table = np.zeros((len(predicted), len(masks)))
    for one, first in enumerate(predicted):
        for other, second in enumerate(masks):
            total = sum(first) + sum(second)
            table[one, other] = 2 * sum(a and b for a, b in zip(first, second, strict=True)) / total if total else 0
    return table


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("is_sigmoid", [False, True])
def test_dice_against_loops(classes, is_sigmoid):
    generator = torch.Generator().manual_seed(classes)
    logits = torch.randn((2, classes, 5, 6), generator=generator)
    label = torch.randint(classes, (2, 1, 5, 6), generator=generator)
    values = logits.movedim(1, 0).flatten(1).tolist()
    chosen = torch.tensor(values).argmax(0).tolist()
    if is_sigmoid:
        predicted = [[value > 0 for value in channel] for channel in values]
    else:
        predicted = [[choice == k for choice in chosen] for k in range(classes)]
    masks = [[value == k for value in label.flatten().tolist()] for k in range(classes)]
    table = loops(predicted, masks)
    found = measure_agreement(logits, label, is_sigmoid=is_sigmoid)
    first = 0 if is_sigmoid else 1
    assert found.dice == pytest.approx(np.diag(table)[first:].mean())
    assert found.all_classes == pytest.approx(np.diag(table).mean())
    one_hot = torch.cat([label == k for k in range(classes)], 1).float()
    assert measure_agreement(logits, one_hot, is_sigmoid=is_sigmoid) == found


def test_absent_classes_and_other_labels_do_not_count():
    # classes 0 and 2 of 4 are present; 255 is no class
    label = torch.tensor([0, 0, 2, 2, 255]).reshape(1, 1, 1, 5)
    logits = F.one_hot(torch.tensor([0, 0, 2, 1, 3]), 4).float().T.reshape(1, 4, 1, 5)
    found = measure_agreement(logits, label, is_sigmoid=False)
    assert found.dice == pytest.approx(2 * 1 / (1 + 2))
    assert found.all_classes == pytest.approx((1 + 2 / 3) / 2)


def test_one_sigmoid_channel():
    label = torch.tensor([0, 1, 1, 0]).reshape(1, 1, 1, 4)
    logits = torch.tensor([-1.0, 2.0, -3.0, 4.0]).reshape(1, 1, 1, 4)
    assert measure_agreement(logits, label, is_sigmoid=True).dice == pytest.approx(0.5)


@pytest.mark.parametrize("shape", [(2, 1, 4, 4), (1, 2, 4, 4), (1, 1, 4, 5)])
def test_labels_of_another_form_are_left_out(shape):
    assert measure_agreement(torch.zeros(1, 3, 4, 4), torch.zeros(shape), is_sigmoid=False) is None
