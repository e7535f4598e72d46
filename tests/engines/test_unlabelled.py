# SPDX-License-Identifier: Apache-2.0
"""Images without labels in a distillation: what is learnt on them, and what is left alone."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from ignite.engine import Events
from monai.engines import IterationEvents
from monai.losses import DiceLoss
from torch import nn
from unlabelled_tools import cases, networks, run, same, task_loss, trainer_of, weights

from akd_monai.engines import UnlabelledOptions
from akd_monai.errors import InputError, UnknownNameError
from akd_monai.handlers import FirstBatch

IMAGES = cases(2, first=5, labels=False)
THREE = {"data": IMAGES, "batch_size": 3}
TERMS = [
    {"name": "logits", "loss": "logits", "weight": 0.3},
    {"name": "gram", "loss": "gram", "weight": 0.5, "student_layer": "body", "teacher_layer": "body"},
]


def fresh(**options):
    return copy.deepcopy(networks(**options))


def seen_by(trainer):
    """Return what the task loss and the criterion are given, batch by batch."""
    seen = {"task": [], "labels": [], "terms": [], "images": []}
    inner = trainer._task_loss

    def watched(prediction, label=None):
        seen["task"].append(len(prediction[0] if isinstance(prediction, list) else prediction))
        seen["labels"].append(label)
        return inner(prediction, label)

    trainer._task_loss = watched
    trainer.distillation.register_forward_pre_hook(lambda _, given: seen["terms"].append(len(given[0])))
    trainer.network.register_forward_pre_hook(lambda _, given: seen["images"].append(given[0].clone()))
    return seen


def test_without_images_the_run_is_that_of_before():
    found = [weights(run(*fresh(), given, terms=TERMS, input_shape=(1, 8, 8))) for given in (None, {}, {"weight": 0.3})]
    assert same(found[0], found[1])
    assert same(found[0], found[2])


def test_labelled_images_are_those_of_a_run_without_others():
    plain = trainer_of(*fresh(), terms=TERMS[:1])
    before = seen_by(plain)
    plain.run()
    joined = trainer_of(*fresh(), THREE, terms=TERMS[:1])
    after = seen_by(joined)
    joined.run()
    assert len(before["images"]) == len(after["images"]) == 6
    for alone, together in zip(before["images"], after["images"], strict=True):
        assert len(together) == 5
        torch.testing.assert_close(together[:2], alone, rtol=0, atol=0)
    # the task loss sees 2 with labels, then 3 with the teacher's decision; the terms see all
    assert after["task"] == [2, 3] * 6
    assert after["terms"] == [5] * 6


@pytest.mark.parametrize("pseudo_labels", ["hard", "soft"])
def test_one_step_is_that_of_numpy(pseudo_labels):
    """The total of one step of linear networks, in float64."""
    torch.manual_seed(2)
    student, teacher = nn.Conv2d(1, 2, 1), nn.Conv2d(1, 2, 1)
    ours = [p.detach().double().numpy().reshape(2, -1)[:, 0] for p in student.parameters()]
    theirs = [p.detach().double().numpy().reshape(2, -1)[:, 0] for p in teacher.parameters()]
    given = {**THREE, "pseudo_labels": pseudo_labels, "weight": 0.7, "task_weight": 0.4}
    trainer = trainer_of(student, teacher, given, epochs=1)
    seen = seen_by(trainer)
    totals = []
    trainer.add_event_handler(
        IterationEvents.LOSS_COMPLETED,
        lambda engine: totals.append((engine.state.output["loss"].item(), engine.state.loss_terms)),
    )
    trainer.add_event_handler(Events.ITERATION_COMPLETED(once=1), lambda engine: engine.terminate())
    trainer.run()
    image = seen["images"][0].double().numpy()[:, 0]
    log_p = [log_softmax(w, b, image) for w, b in (ours, theirs)]
    labelled = np.take_along_axis(log_p[0][:2], seen["labels"][0].numpy().astype(int), 1)
    task = 0.4 * -labelled.mean()
    student_log, teacher_log = log_p[0][2:], log_p[1][2:]
    if pseudo_labels == "hard":
        decision = teacher_log.argmax(1)[:, None]
        other = 0.7 * -np.take_along_axis(student_log, decision, 1).mean()
    else:
        other = 0.7 * (np.exp(teacher_log) * (teacher_log - student_log)).sum(1).mean()
    total, terms = totals[0]
    np.testing.assert_allclose(total, task + other, rtol=1e-5)
    np.testing.assert_allclose([terms["task"], terms["unlabelled"]], [task, other], rtol=1e-5)


def log_softmax(weight, bias, image):
    z = weight[None, :, None, None] * image[:, None] + bias[None, :, None, None]
    z = z - z.max(1, keepdims=True)
    return z - np.log(np.exp(z).sum(1, keepdims=True))


def test_both_losses_are_averaged_over_an_epoch():
    trainer = run(*fresh(), THREE)
    found = trainer.state.metrics
    assert found["loss/task"] > 0
    assert found["loss/unlabelled"] > 0
    np.testing.assert_allclose(found["loss/total"], found["loss/task"] + found["loss/unlabelled"], rtol=1e-6)


@pytest.mark.parametrize("pseudo_labels", ["hard", "soft"])
def test_the_teacher_learns_nothing(pseudo_labels):
    student, teacher = fresh()
    before = copy.deepcopy(teacher.state_dict())
    run(student, teacher, {**THREE, "pseudo_labels": pseudo_labels, "confidence": 0.1})
    assert same(before, teacher.state_dict())
    assert all(parameter.grad is None for parameter in teacher.parameters())


def poisoned(value):
    return [{**case, "label": torch.full_like(case["label"], value)} for case in cases(2)]


@pytest.mark.parametrize("pseudo_labels", ["hard", "soft"])
def test_without_weight_no_label_is_used(pseudo_labels):
    given = {**THREE, "pseudo_labels": pseudo_labels, "task_weight": 0}

    def refused(logits, label):
        if bool(torch.isnan(label).any()):
            raise AssertionError("a label was used")
        return task_loss(logits, label)

    found = []
    for data in (cases(2), poisoned(float("nan")), poisoned(1.0)):
        # NaN is no finite value of a case; it is put in after the data set has checked it
        trainer = trainer_of(*fresh(), given, data=cases(2), loss=refused, terms=TERMS[:1], handlers=[FirstBatch()])
        for number, case in enumerate(data):
            trainer.data_loader.dataset._volumes[number]["label"][:] = case["label"].permute(3, 0, 1, 2)
        seen = seen_by(trainer)
        trainer.run()
        found.append(weights(trainer))
        assert "task" not in trainer.state.loss_terms
        assert seen["task"] == ([5] * 6 if pseudo_labels == "hard" else [])
    assert same(found[0], found[1])
    assert same(found[0], found[2])


def test_the_labels_change_a_run_that_uses_them():
    found = [weights(run(*fresh(), THREE, data=data)) for data in (cases(2), poisoned(1.0))]
    assert not same(*found)


def test_handlers_see_the_labelled_batch_after_the_loss():
    trainer = trainer_of(*fresh(heads=2), THREE, student_head=0)
    shapes = []

    def note(engine):
        shapes.append([len(engine.state.batch), len(engine.state.output)])
        first = engine.state.output[0]
        assert first["image"].shape == first["label"].shape == (1, 8, 8)
        assert [head.shape for head in first["pred"]] == [(2, 8, 8), (2, 8, 8)]

    trainer.add_event_handler(Events.ITERATION_COMPLETED, note)
    trainer.run()
    assert shapes == [[2, 2]] * 6


def test_a_threshold_that_no_image_reaches_leaves_the_task_alone():
    """The images still pass through batch normalisation, so that only what is learnt is compared."""
    found = []
    for weight, confidence in ((0.0, None), (1.0, 1.0)):
        given = {**THREE, "weight": weight, "confidence": confidence}
        found.append(weights(run(*fresh(), given)))
    assert same(*found)


def test_hard_labels_count_by_the_share_of_confident_images():
    given = []

    def watched(prediction, label):
        given.append((prediction, label))
        return prediction.sum() * 0 + 6

    trainer = trainer_of(*fresh(), {**THREE, "confidence": 0.9}, loss=watched)
    unlabelled = trainer.unlabelled
    unlabelled.joined({"image": torch.zeros(2, 1, 8, 8)}, 1)
    sure = torch.zeros(5, 2, 8, 8)
    sure[2, 1] = 1e-4
    sure[3, 1] = 9.0  # the second and the third of the three
    sure[4, 0] = 9.0
    prediction = torch.arange(5.0).reshape(5, 1, 1, 1).expand(5, 2, 8, 8)
    # the labels of the labelled images are none of the others
    label = torch.full((2, 1, 8, 8), 7.0)
    found = unlabelled.term(trainer._task_loss, prediction, prediction, sure, "softmax", label)
    assert found["unlabelled"].item() == pytest.approx(6 * 2 / 3)
    chosen, decision = given[0]
    assert chosen.flatten(1).unique(dim=1).tolist() == [[3.0], [4.0]]
    assert decision.flatten(1).unique(dim=1).tolist() == [[1.0], [0.0]]


def test_a_loss_of_monai_on_sigmoid_channels():
    trainer = run(*fresh(classes=1), THREE, loss=DiceLoss(sigmoid=True), activation="sigmoid")
    assert 0 < trainer.state.loss_terms["unlabelled"].item() < 1


def test_terms_that_need_labels_see_the_labelled_images():
    terms = [{"name": "ifvd", "loss": "intra_class_variation", "weight": 1.0}]
    trainer = trainer_of(*fresh(), THREE, terms=terms)
    labels = seen_by(trainer)["labels"]
    ours, theirs, seen = [], [], []
    trainer.network.register_forward_hook(lambda _, __, output: ours.append(output.detach()))
    trainer.teacher.register_forward_hook(lambda _, __, output: theirs.append(output.detach()))
    trainer.distillation.losses["ifvd"].register_forward_pre_hook(lambda _, given: seen.append(given))
    trainer.run()
    # the teacher sees one image after the other
    rows = torch.cat(theirs).split(5)
    assert len(ours) == len(rows) == len(seen) == 6
    for step, given in enumerate(seen):
        # the task's loss is called twice a step, first with the labels of the data
        for found, expected in zip(given, (ours[step][:2], rows[step][:2], labels[2 * step]), strict=True):
            assert torch.equal(found, expected)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (
            {"batch_size": 2},
            "unlabelled_batch_size is 2, but there is no unlabelled image; keep labels of some cases only",
        ),
        ({"batch_size": -1}, "unlabelled_batch_size must be an integer of at least 0, got -1"),
        ({"batch_size": True}, "unlabelled_batch_size must be an integer of at least 0, got True"),
        ({"batch_size": 1.5}, "unlabelled_batch_size must be an integer of at least 0, got 1.5"),
        ({"confidence": 1.1}, "confidence must be a number from 0 to 1, or null, got 1.1"),
        ({"confidence": False}, "confidence must be a number from 0 to 1, or null, got False"),
        ({"pseudo_labels": "softt"}, "pseudo_labels must be one of 'hard', 'soft', got 'softt'. Did you mean 'soft'?"),
        ({"weight": -1}, "lambda_unlabelled must be a finite number of at least 0, got -1"),
        ({"task_weight": float("nan")}, "lambda_task must be a finite number of at least 0, got nan"),
    ],
)
def test_options_out_of_range_are_refused(given, words):
    with pytest.raises(InputError) as caught:
        UnlabelledOptions.read(given)
    assert words in str(caught.value)


def test_an_unknown_option_is_named():
    with pytest.raises(UnknownNameError, match=r"unknown entry 'batchsize' of unlabelled\. Did you mean 'batch_size'"):
        UnlabelledOptions.read({"batchsize": 2})


@pytest.mark.parametrize(
    ("given", "terms", "words"),
    [
        ({"task_weight": 0, "weight": 0}, (), "nothing is learnt: lambda_task and lambda_unlabelled are 0"),
        ({"task_weight": 0}, [{"name": "a", "loss": "intra_class_variation"}], "lambda_task is 0, .* a term needs labels"),
        (THREE, [{"name": "unlabelled", "loss": "logits"}], "a term is called 'unlabelled'"),
    ],
)  # fmt: skip
def test_settings_that_contradict_each_other_are_refused(given, terms, words):
    with pytest.raises(InputError, match=words):
        trainer_of(*fresh(), given, terms=terms)


def test_batches_that_cannot_be_joined_are_refused():
    batches = [{"image": torch.zeros(2, 1, 8, 8), "label": torch.zeros(2, 1, 8, 8)}]
    with pytest.raises(InputError, match="need a data loader of PyTorch or MONAI, and the student's is a list"):
        trainer_of(*fresh(), THREE, loader=batches)
    with pytest.raises(InputError, match="need batches that are mappings with a tensor 'image'"):
        run(*fresh(), {"task_weight": 0}, loader=[(torch.zeros(2, 1, 8, 8), torch.zeros(2, 1, 8, 8))])


class WithScalar(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Conv2d(1, 2, 1)

    def forward(self, x):
        logits = self.head(x)
        return [logits, logits.mean()]


def test_a_student_that_returns_more_than_maps_is_refused():
    with pytest.raises(InputError, match=r"returns a tensor of shape \[\] for 5 images, which cannot be divided"):
        run(WithScalar(), networks()[1], THREE)


def test_a_step_past_the_trainers_own_is_refused():
    def update(engine, batch):
        engine.state.output = {"image": batch["image"], "label": batch["label"], "pred": engine.network(batch["image"])}
        engine.state.output["loss"] = engine.loss_function(engine.state.output["pred"], batch["label"])
        return engine.state.output

    with pytest.raises(InputError, match="which the student's iteration_update does not call"):
        run(*fresh(), THREE, iteration_update=update)


def test_images_that_are_given_in_vain_are_said(caplog):
    assert trainer_of(*fresh(), {"data": IMAGES}).unlabelled is None
    assert "2 unlabelled images are given and not used: unlabelled_batch_size is 0." in caplog.text
