# SPDX-License-Identifier: Apache-2.0
"""Schedules, balance and the warning of the first step in a trainer, over a kill and a resume."""

from __future__ import annotations

import logging

import pytest
import torch
from ignite.engine import Events
from monai.data import MetaTensor
from torch import nn
from torch.nn import functional as F

from akd_monai.engines import DistillationTrainer
from akd_monai.engines._first_terms import warn_of_large_terms
from akd_monai.errors import InputError
from akd_monai.handlers import RandomState, ResumableCheckpoint
from akd_monai.losses import DistillationCriterion, DistillationTerm

LAYERS = {"student_layer": "body", "teacher_layer": "body"}
RAMP = {"ramp_epochs": 1.5, "start_epoch": 0.25}


class Small(nn.Module):
    """Two convolutions with dropout between them."""

    def __init__(self, width):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, width, 3, padding=1), nn.ReLU(), nn.Dropout2d(0.3))
        self.head = nn.Conv2d(width, 2, 1)

    def forward(self, x):
        return self.head(self.body(x))


class Constant(nn.Module):
    """One, so that a term is its weight."""

    def forward(self, student, teacher):
        return student.sum() * 0 + 1


def batches():
    generator = torch.Generator().manual_seed(3)
    for _ in range(4):
        image = torch.rand(3, 1, 8, 8, generator=generator)
        # as MONAI's transforms give them
        yield {"image": MetaTensor(image), "label": (image > 0.5).long()}


def terms(ramp=None):
    adapted = {"loss": "gram", "weight": 0.5, **LAYERS, "adapter": "conv1x1", "schedule": ramp}
    return {"gram": adapted, "soft": {"loss": "logits", "weight": 0.3, "schedule": ramp}}


def trainer(criterion, epochs=2, handlers=()):
    torch.manual_seed(0)
    student, teacher = Small(4), Small(6)
    return DistillationTrainer(
        device="cpu",
        max_epochs=epochs,
        train_data_loader=list(batches()),
        network=student,
        optimizer=torch.optim.Adam(student.parameters(), lr=0.05),
        loss_function=lambda logits, label: F.cross_entropy(logits, label[:, 0]),
        train_handlers=[RandomState(), *handlers],
        decollate=False,
        teacher=teacher,
        distillation=criterion,
        input_shape=(1, 8, 8),
    )


def weights_by_step(schedule, epochs=2):
    criterion = DistillationCriterion([DistillationTerm("one", Constant(), weight=2.0, schedule=schedule)])
    made, seen = trainer(criterion, epochs), []
    made.add_event_handler(Events.ITERATION_COMPLETED, lambda e: seen.append(e.state.loss_terms["one"].item()))
    made.run()
    return seen


def test_the_trainer_counts_epochs_by_its_iterations():
    assert weights_by_step({"ramp_epochs": 2}) == pytest.approx([0, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 1.75])
    assert weights_by_step({"ramp_epochs": 2, "by": "epoch"}) == pytest.approx([0] * 4 + [1] * 4)
    assert weights_by_step({"end_epoch": 0.5}) == pytest.approx([2] * 2 + [0] * 6)


class Stop:
    """End a run in the middle of an epoch, as a kill after its last checkpoint does."""

    def attach(self, engine):
        engine.add_event_handler(Events.ITERATION_COMPLETED(once=7), self.stop)

    def stop(self, engine):
        raise KeyboardInterrupt


@pytest.mark.parametrize("balance", [None, "value", "gradient"])
def test_a_resumed_run_is_the_same_bit_by_bit(tmp_path, balance):
    def run(folder, handlers=()):
        checkpoint = ResumableCheckpoint(folder, interval=3)
        made = trainer(DistillationCriterion(terms(RAMP), balance=balance), 3, [checkpoint, *handlers])
        made.run()
        return made

    full = run(tmp_path / "full")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "killed", [Stop()])
    resumed = run(tmp_path / "killed")
    for name in ("network", "distillation"):
        expected = getattr(full, name).state_dict()
        found = getattr(resumed, name).state_dict()
        assert all(torch.equal(value, expected[key]) for key, value in found.items())
    # a balance that forgets its means would differ
    assert ("balancing.steps" in full.distillation.state_dict()) == (balance is not None)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"terms": terms(), "balance": None}, "schedule"),
        ({"terms": terms(RAMP), "balance": "value"}, "balance"),
        ({"terms": terms({"ramp_epochs": 9}), "balance": None}, "ramp_epochs"),
    ],
)
def test_other_options_are_another_run(tmp_path, changed, message):
    trainer(DistillationCriterion(terms(RAMP)), 1, [ResumableCheckpoint(tmp_path)]).run()
    with pytest.raises(InputError, match=message):
        trainer(DistillationCriterion(**changed), 2, [ResumableCheckpoint(tmp_path)]).run()


def first_terms(criterion):
    made, seen = trainer(criterion, 1), []
    made.add_event_handler(Events.ITERATION_COMPLETED(once=1), lambda e: seen.append(dict(e.state.loss_terms)))
    made.run()
    return {name: value.item() for name, value in seen[0].items()}


def test_balanced_by_value_a_term_starts_at_its_share():
    found = first_terms(DistillationCriterion(terms(), balance="value"))
    assert found["gram"] == pytest.approx(0.5 * found["task"], rel=1e-5)
    assert found["soft"] == pytest.approx(0.3 * found["task"], rel=1e-5)


def test_balanced_by_gradient_a_feature_term_has_its_share_of_the_gradient_there():
    made = trainer(DistillationCriterion(terms(), balance="gradient"), 1)
    norms = {}

    def measure(engine):
        taps = made.network.body(engine.state.batch["image"]).detach().requires_grad_()
        task = F.cross_entropy(made.network.head(taps), engine.state.batch["label"][:, 0])
        made.distillation.eval()
        with torch.no_grad():
            scale = made.distillation.balancing("gram", task, task, taps).item()
        loss = made.distillation.losses["gram"](
            made.distillation.adapters["gram"](taps), made.teacher.body(engine.state.batch["image"])
        )
        for name, value in {"task": task, "gram": 0.5 * scale * loss}.items():
            norms[name] = torch.autograd.grad(value, taps, retain_graph=True)[0].norm().item()
        made.distillation.train()

    # no dropout, so that the second forward pass is that of the step
    made.network.body[2].p = 0.0
    original = made.distillation.forward

    def watched(*args, **kwargs):
        found = original(*args, **kwargs)
        if not norms:
            measure(made)
        return found

    made.distillation.forward = watched
    made.run()
    assert norms["gram"] == pytest.approx(0.5 * norms["task"], rel=1e-3)


def warnings(caplog, criterion):
    caplog.clear()
    with caplog.at_level(logging.WARNING, logger="akd_monai"):
        trainer(criterion).run()
    return [record.getMessage() for record in caplog.records if "At the first step" in record.getMessage()]


def test_terms_above_the_task_loss_are_told_once(caplog):
    large = DistillationTerm("one", Constant(), weight=2.0)
    larger = DistillationTerm("ten", Constant(), weight=10.0)
    small = DistillationTerm("small", Constant(), weight=0.01)
    (line,) = warnings(caplog, DistillationCriterion([large, larger, small]))
    assert line.startswith("At the first step one 2 and ten 10, weighted, are above the task loss of 0.")
    assert "lambda_NAME" in line
    assert "distillation#balance" in line
    (line,) = warnings(caplog, DistillationCriterion([large, small]))
    assert line.startswith("At the first step one 2, weighted, is above the task loss of 0.")


def test_nothing_is_told_of_terms_below_it(caplog):
    small = DistillationTerm("small", Constant(), weight=0.3)
    assert warnings(caplog, DistillationCriterion([small])) == []
    late = DistillationTerm("late", Constant(), weight=10.0, schedule={"ramp_epochs": 2})
    assert warnings(caplog, DistillationCriterion([small, late])) == []
    shared = DistillationTerm("shared", Constant(), weight=0.9)
    assert warnings(caplog, DistillationCriterion([shared], balance="value")) == []
    # a task loss of other images, and not a term beside the labels
    warn_of_large_terms({"task": torch.tensor(0.5), "unlabelled": torch.tensor(5.0)})
    assert not caplog.records


def test_half_an_epoch_is_refused():
    with pytest.raises(InputError, match=r"max_epochs must be an integer, got 1\.5\.$"):
        trainer(DistillationCriterion([]), epochs=1.5)
    assert trainer(DistillationCriterion([]), epochs=2.0).state.max_epochs == 2
