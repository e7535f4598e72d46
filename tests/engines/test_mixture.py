# SPDX-License-Identifier: Apache-2.0
"""Distillation mixed into trainers that a student brings: their own step keeps running, or they are refused by name."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from monai.engines import GanTrainer, SupervisedTrainer, Trainer
from monai.losses import DeepSupervisionLoss, DiceLoss
from monai.utils import CommonKeys
from torch import nn
from torch.nn import functional as F

from akd_monai.engines import DistillationMixin, DistillationTrainer, distillation_trainer
from akd_monai.errors import InputError
from akd_monai.losses import DistillationCriterion


class Net(nn.Module):
    """A convolution with dropout; ``heads`` outputs at halved sizes."""

    def __init__(self, channels: int = 2, heads: int = 1) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Dropout2d(0.3))
        self.head = nn.Conv2d(4, channels, 1)
        self.heads = heads

    def forward(self, x):
        logits = self.head(self.body(x))
        return logits if self.heads == 1 else [logits[..., :: 2**k, :: 2**k] for k in range(self.heads)]


class Clicks(SupervisedTrainer):
    """A step of its own, in the style of DeepEdit: it changes the input first, and counts."""

    steps = 0

    def _iteration(self, engine, batchdata):
        Clicks.steps += 1
        engine.network.eval()
        with torch.no_grad():
            clicks = engine.inferer(batchdata["image"].to(engine.state.device), engine.network)
        clicks = clicks[0] if isinstance(clicks, list) else clicks
        batchdata = {**batchdata, "image": batchdata["image"] + clicks[:, :1].sigmoid()}
        return super()._iteration(engine, batchdata)


class Bare(Trainer):
    """A trainer with a constructor and a step of its own, in the style of vista3d; ``kind`` says what it does wrong."""

    def __init__(self, device, max_epochs, train_data_loader, network, optimizer, loss_function, hyper_kwargs):
        super().__init__(
            device=device,
            max_epochs=max_epochs,
            data_loader=train_data_loader,
            epoch_length=None,
            non_blocking=False,
            decollate=False,
        )
        self.network = network
        self.optimizer = optimizer
        self.loss_function = loss_function
        self.hyper_kwargs = hyper_kwargs

    def _iteration(self, engine, batchdata):
        kind = self.hyper_kwargs["kind"]
        image, label = batchdata["image"], batchdata["label"]
        engine.state.output = {} if kind == "no image" else {CommonKeys.IMAGE: image}
        engine.network.train()
        engine.optimizer.zero_grad()
        logits = engine.network(image)
        if kind == "own loss":
            loss = F.cross_entropy(logits, label[:, 0])
        elif kind == "twice":
            loss = engine.loss_function(logits, label) + engine.loss_function(logits.flip(-1), label.flip(-1))
        else:
            loss = engine.loss_function(logits, label)
        if kind == "detached":
            loss = F.cross_entropy(logits, label[:, 0]) + loss.detach()
        loss.mean().backward()
        engine.optimizer.step()
        engine.state.output[CommonKeys.LOSS] = loss
        return engine.state.output


def task_loss(logits, label):
    return F.cross_entropy(logits, label[:, 0])


def batches(channels=1):
    generator = torch.Generator().manual_seed(3)
    images = [torch.rand(3, 1, 8, 8, generator=generator) for _ in range(3)]
    return [{"image": image, "label": (image > 0.5).repeat(1, channels, 1, 1).long()} for image in images]


def run(trainer_class, network, loss=task_loss, terms=None, start=True, channels=1, **options):
    """Run a class as it is, or with ``terms`` as a mixture."""
    shared = {
        "device": torch.device("cpu"),
        "max_epochs": 2,
        "train_data_loader": batches(channels),
        "network": network,
        "optimizer": torch.optim.SGD(network.parameters(), lr=0.1),
        "loss_function": loss,
        **options,
    }
    if terms is not None:
        torch.manual_seed(1)
        teacher = options.pop("teacher", None) or Net(network.head.out_channels)
        shared |= {"teacher": teacher, "distillation": DistillationCriterion(terms), "input_shape": (1, 8, 8)}
        trainer_class = distillation_trainer(trainer_class)
    torch.manual_seed(2)
    trainer = trainer_class(**shared)
    if start:
        torch.manual_seed(3)
        trainer.run()
    return trainer


def logits_term(weight=0.5, **options):
    return [{"name": "logits", "loss": "logits", "weight": weight, **options}]


def student(**options):
    torch.manual_seed(0)
    return Net(**options)


def same(a, b):
    return all(torch.equal(value, b.state_dict()[name]) for name, value in a.state_dict().items())


def deep(loss):
    return lambda prediction, label: DeepSupervisionLoss(loss)(prediction, label.float())


CASES = {
    "MONAI's": (SupervisedTrainer, {}, task_loss, 1, {"decollate": False}),
    "own step": (Clicks, {}, task_loss, 1, {"decollate": False}),
    "own constructor": (Bare, {}, task_loss, 1, {"hyper_kwargs": {"kind": ""}}),
    "sigmoid": (SupervisedTrainer, {"channels": 3}, DiceLoss(sigmoid=True), 3, {"decollate": False}),
    "deep supervision": (Clicks, {"heads": 2}, deep(DiceLoss(softmax=True, to_onehot_y=True)), 1, {"decollate": False}),
    "loss by voxel": (SupervisedTrainer, {"channels": 3}, DiceLoss(sigmoid=True, reduction="none"), 3,
                      {"decollate": False}),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_without_weight_a_run_equals_a_plain_one_to_the_bit(case):
    kind, network, loss, channels, options = CASES[case]
    plain = student(**network)
    mixed = copy.deepcopy(plain)
    run(kind, plain, loss, channels=channels, **options)
    trainer = run(kind, mixed, loss, logits_term(0.0), channels=channels, **options)
    assert same(plain, mixed)
    assert not same(student(**network), mixed)
    assert isinstance(trainer, kind)
    assert set(trainer.state.loss_terms) == {"task"}


@pytest.mark.parametrize("case", CASES)
def test_with_weight_the_loss_that_is_trained_is_the_sum(case):
    kind, network, loss, channels, options = CASES[case]
    plain = student(**network)
    mixed = copy.deepcopy(plain)
    run(kind, plain, loss, channels=channels, **options)
    trainer = run(kind, mixed, loss, logits_term(), channels=channels, **options)
    assert not same(plain, mixed)
    terms = trainer.state.loss_terms
    assert float(trainer.state.output["loss"].detach()) == pytest.approx(
        sum(float(v) for v in terms.values()), rel=1e-6
    )


def test_a_step_of_ones_own_keeps_running():
    Clicks.steps = 0
    run(Clicks, student(), terms=logits_term(), decollate=False)
    assert Clicks.steps == 6


def test_the_teacher_sees_what_the_step_gave_the_student():
    teacher = Net()
    seen = []
    teacher.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    trainer = run(Clicks, student(), terms=logits_term(), decollate=False, start=False)
    trainer.teacher_source.network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    trainer.run()
    # one image at a time, on a CPU
    torch.testing.assert_close(torch.cat(seen[-3:]), trainer.state.output["image"])
    assert not torch.equal(trainer.state.output["image"], batches()[-1]["image"])


def test_the_final_head_is_distilled_and_the_students_own_loss_sees_all():
    seen = []

    def loss(prediction, label):
        seen.append(len(prediction))
        return task_loss(prediction[0], label)

    network = student(heads=2)
    trainer = run(SupervisedTrainer, network, loss, logits_term(), decollate=False)
    assert seen == [2] * 6
    one = student()
    alone = run(SupervisedTrainer, one, task_loss, logits_term(), decollate=False)
    assert trainer.state.loss_terms == alone.state.loss_terms
    assert same(one, network)


WRONG = {
    "own loss": "the teacher is added by engine.loss_function, and its step does not call it",
    "detached": "the teacher is added by engine.loss_function, and its step does not propagate it back",
    "twice": "its step calls engine.loss_function several times a batch, wanted once",
    "no image": r"its step does not store the input as engine.state.output\['image'\]",
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_step_that_would_train_without_the_teacher_is_refused(kind):
    options = {"hyper_kwargs": {"kind": kind}}
    with pytest.raises(InputError, match=f"a student trained by Bare cannot be distilled: {WRONG[kind]}; change it"):
        run(Bare, student(), terms=logits_term(), **options)
    run(Bare, student(), terms=logits_term(0.0), **options)  # plain


def test_a_function_in_place_of_the_step_is_refused_only_where_features_are_needed():
    def update(engine, batch):
        engine.state.output = {"image": batch["image"]}
        engine.optimizer.zero_grad()
        loss = engine.loss_function(engine.network(batch["image"]), batch["label"])
        loss.backward()
        engine.optimizer.step()
        return {**engine.state.output, "loss": loss}

    options = {"iteration_update": update, "decollate": False}
    run(SupervisedTrainer, student(), terms=logits_term(), **options)
    terms = [{"name": "affinity", "loss": "affinity", "weight": 1.0, "student_layer": "body"}]
    with pytest.raises(InputError, match="SupervisedTrainer cannot be distilled: its iteration_update does not call"):
        run(SupervisedTrainer, student(), terms=terms, **options)


def test_a_mixture_is_one_class_by_its_own_name_and_can_be_sent():
    assert distillation_trainer("SupervisedTrainer") is DistillationTrainer
    assert distillation_trainer("monai.engines.SupervisedTrainer") is DistillationTrainer
    mixed = distillation_trainer(Clicks)
    assert mixed is distillation_trainer(Clicks) is distillation_trainer(mixed)
    assert mixed.__name__ == "DistillationClicks"
    assert issubclass(mixed, (DistillationMixin, Clicks))
    assert pickle.loads(pickle.dumps(mixed)) is mixed


class Seeded(SupervisedTrainer):
    def __init__(self, seed, teacher, **kwargs):
        super().__init__(**kwargs)


class Hidden(SupervisedTrainer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        del self.loss_function


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("no.such.Trainer", "the student's trainer 'no.such.Trainer' cannot be imported; give a class of MONAI"),
        ("Trainr", "the student's trainer 'Trainr' cannot be imported"),
        (dict, "the student's trainer dict is no class of MONAI's trainers"),
        (len, "the student's trainer len is no class of MONAI's trainers"),
        (GanTrainer, "the student's trainer GanTrainer trains several networks"),
        (
            Seeded,
            "trainer Seeded has arguments of its own under names that a distillation needs: seed, teacher; rename",
        ),
    ],
    ids=str,
)
def test_what_cannot_be_mixed_is_refused_by_name(kind, message):
    with pytest.raises(InputError, match=message):
        distillation_trainer(kind)


def test_a_trainer_without_a_loss_is_refused_by_name():
    with pytest.raises(
        InputError, match="a student trained by Hidden cannot be distilled: it keeps no 'loss_function'"
    ):
        run(Hidden, student(), terms=logits_term(), start=False)
