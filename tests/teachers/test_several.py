# SPDX-License-Identifier: Apache-2.0
"""Several teachers as one: their probabilities against NumPy in double precision, their caches and what is refused."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from teacher_tools import Net, close, run
from torch import nn

from akd_monai.errors import InputError
from akd_monai.losses import DistillationCriterion
from akd_monai.teachers import EmaTeacher, TeacherEnsemble, TeacherOutput, combine_logits, teacher_source
from akd_monai.teachers._activations import outputs_for

CPU = torch.device("cpu")
KINDS = ("softmax", "sigmoid")


def drawn(count: int, scale: float = 3.0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    return [torch.randn(2, 3, 4, 5, generator=generator) * scale for _ in range(count)]


def probabilities(logits: torch.Tensor, activation: str) -> np.ndarray:
    values = logits.double().numpy()
    if activation == "sigmoid":
        return 1 / (1 + np.exp(-values))
    powers = np.exp(values - values.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def of_logits(logits: torch.Tensor, activation: str) -> np.ndarray:
    return torch.exp(logits).double().numpy() if activation == "softmax" else probabilities(logits, "sigmoid")


def by_loops(given: list[np.ndarray], activation: str) -> np.ndarray:
    """Return the mean that is weighted by agreement, one pixel after the other."""
    result = np.zeros_like(given[0])
    batch, channels, height, width = result.shape
    groups = [list(range(channels))] if activation == "softmax" else [[c] for c in range(channels)]
    for b, y, x in np.ndindex(batch, height, width):
        for group in groups:
            pixel = [one[b, group, y, x] for one in given]
            full = [p if activation == "softmax" else np.array([p[0], 1 - p[0]]) for p in pixel]
            raw = []
            for m, own in enumerate(full):
                others = [float(np.dot(own, other)) for j, other in enumerate(full) if j != m]
                raw.append(1e-6 + sum(others) / len(others))
            result[b, group, y, x] = sum(w * p for w, p in zip(raw, pixel, strict=True)) / sum(raw)
    return result


@pytest.mark.parametrize("activation", KINDS)
def test_the_mean_is_that_of_probabilities_not_of_logits(activation):
    logits = drawn(3)
    found = of_logits(combine_logits(logits, "mean", activation), activation)
    expected = np.mean([probabilities(one, activation) for one in logits], axis=0)
    np.testing.assert_allclose(found, expected, rtol=2e-5)
    of_mean = probabilities(torch.stack(logits).mean(0), activation)
    assert np.abs(of_mean - expected).max() > 0.05
    if activation == "softmax":
        np.testing.assert_allclose(found.sum(1), 1, rtol=1e-6)


@pytest.mark.parametrize("activation", KINDS)
def test_agreement_weighs_each_pixel_as_loops_do(activation):
    logits = [one.double() for one in drawn(4)]
    found = of_logits(combine_logits(logits, "agreement", activation), activation)
    expected = by_loops([probabilities(one, activation) for one in logits], activation)
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_one_that_contradicts_two_counts_less_than_in_the_mean():
    two = torch.tensor([4.0, 0.0]).reshape(1, 2, 1, 1)
    one = two.flip(1)
    mean = combine_logits([two, two, one]).exp()[0, 0].item()
    agreed = combine_logits([two, two, one], "agreement").exp()[0, 0].item()
    p = 1 / (1 + np.exp(-4))
    same = p * p + (1 - p) ** 2
    weights = np.array([same + 2 * p * (1 - p), same + 2 * p * (1 - p), 4 * p * (1 - p)]) / 2 + 1e-6
    assert mean == pytest.approx((2 * p + 1 - p) / 3)
    assert agreed == pytest.approx(float(weights @ [p, p, 1 - p] / weights.sum()), rel=1e-5)
    assert agreed > 0.94 > mean


@pytest.mark.parametrize("vote", ["mean", "agreement"])
@pytest.mark.parametrize("activation", KINDS)
def test_order_and_large_logits_change_nothing(vote, activation):
    logits = drawn(3, scale=80.0)
    combined = combine_logits(logits, vote, activation)
    assert torch.isfinite(combined).all()
    torch.testing.assert_close(combine_logits(logits[::-1], vote, activation), combined, rtol=1e-4, atol=1e-4)
    alike = combine_logits([logits[0]] * 3, vote, activation)
    expected = logits[0].log_softmax(1) if activation == "softmax" else logits[0]
    torch.testing.assert_close(alike, expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(
    ("logits", "options", "message"),
    [
        (drawn(2), {"vote": "agreement"}, "teacher_vote 'agreement' needs at least 3 teachers, got 2"),
        (drawn(2), {"vote": "median"}, "teacher_vote must be one of 'mean', 'agreement', got 'median'"),
        ([drawn(1)[0], drawn(1)[0][:, :2]], {}, "teachers 1 and 2 give logits [2, 3, 4, 5] and [2, 2, 4, 5]"),
        ([torch.zeros(1, 1, 2, 2)] * 2, {}, "the softmax of one channel is always 1; set activation to sigmoid"),
        ([], {}, "there are no logits to combine"),
    ],
)
def test_what_cannot_be_combined_is_refused(logits, options, message):
    with pytest.raises(InputError, match=re.escape(message)):
        combine_logits(logits, **options)


def teachers(count: int = 2, widths: tuple[int, ...] = (6, 6, 6)) -> list[Net]:
    torch.manual_seed(7)
    return [Net(width, 2) for width in widths[:count]]


def test_an_ensemble_is_frozen_and_gives_the_mean_of_its_networks_in_eval_mode():
    networks = teachers()
    image = torch.rand(2, 1, 11, 11, requires_grad=True)
    ensemble = TeacherEnsemble([network.train() for network in networks])
    combined = ensemble(image)
    expected = np.mean([probabilities(network.eval()(image).detach(), "softmax") for network in networks], axis=0)
    np.testing.assert_allclose(combined.exp().double().numpy(), expected, rtol=1e-5)
    assert not combined.requires_grad
    assert not any(parameter.requires_grad for parameter in ensemble.parameters())
    ensemble.train()
    source = teacher_source(ensemble, criterion(), None, CPU)
    source.start(None)
    # a caller may have set it to training: statistics must not change
    assert torch.equal(source(image, None)[0], source(image, None)[0])
    assert not source(image, None)[0].requires_grad
    assert int(networks[0].body[1].num_batches_tracked) == 0


def criterion(**term: object) -> DistillationCriterion:
    return DistillationCriterion([{"name": "soft", "loss": "logits", **term}])


def test_each_teacher_has_its_own_classes_and_heads():
    outputs = outputs_for([], {"classes": [None, [[1], [0]]], "head": [0, "mask"]}, teachers=2)
    assert outputs == [TeacherOutput(0), TeacherOutput("mask", [[1], [0]])]
    shared = outputs_for([], {"classes": [[0, 1], [2]]}, teachers=3)
    assert shared == [TeacherOutput(classes=[[0, 1], [2]])] * 3
    networks = teachers()
    image = torch.rand(1, 1, 11, 11)
    swapped = teacher_source(TeacherEnsemble(networks), criterion(), None, CPU, output={"classes": [None, [[1], [0]]]})
    first, second = (network(image).detach() for network in networks)
    torch.testing.assert_close(swapped(image, None)[0], combine_logits([first, second.flip(1)]))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"classes": [None, None, None]},
            "classes of teacher_output is a list of 3, wanted one for each of 2 teachers",
        ),
        ({"head": [0]}, "head of teacher_output is a list of 1, wanted one for each of 2"),
        ([{}], "teacher_output is a list of 1, wanted one for each of 2"),
        ([{"activation": "sigmoid"}, {}], "the output of teacher 1 is 'sigmoid', that of teacher 2 'softmax'"),
    ],
)
def test_outputs_that_do_not_fit_the_teachers_are_refused(given, message):
    with pytest.raises(InputError, match=re.escape(message)):
        outputs_for([], given, teachers=2)


@pytest.mark.parametrize(
    ("networks", "options", "message"),
    [
        ([nn.Identity()], {}, "several teachers are at least 2 networks, got 1"),
        ([nn.Identity()] * 2, {"vote": "agreement"}, "one network is given twice"),
        ([nn.Identity(), nn.Identity()], {"vote": "agreement"}, "needs at least 3 teachers, got 2"),
        ([nn.Identity(), EmaTeacher()], {}, "an average of the student cannot be one of several teachers"),
    ],
)
def test_what_is_no_ensemble_is_refused(networks, options, message):
    with pytest.raises(InputError, match=message):
        TeacherEnsemble(networks, **options)


def test_teachers_with_other_channels_at_a_layer_are_refused():
    given = TeacherEnsemble(teachers(widths=(6, 8)))
    term = {"student_layer": "body", "teacher_layer": "body", "adapter": "conv1x1"}
    source = teacher_source(given, criterion(**term), None, CPU)
    message = "layer 'body' has 6, 8 channels in the teachers, wanted equally many"
    with pytest.raises(InputError, match=message):
        source.shapes((1, 11, 11))
    with pytest.raises(InputError, match=message):
        source(torch.rand(1, 1, 11, 11), None)


def test_a_cache_is_that_of_each_teacher_and_decides_as_the_mean(tmp_path):
    """Decisions alone are stored apart, but two teachers' decisions are not that of their mean."""
    networks = teachers()
    labels = [{"name": "affinity", "loss": "affinity", "weight": 0.9}]
    alone = run(tmp_path, steps=10, teacher=networks[0], terms=labels)
    assert alone.trainer.teacher_source.labels_only
    ensemble = TeacherEnsemble(networks)
    cached = run(tmp_path, steps=10, teacher=ensemble, terms=labels)
    # the first teacher's outputs were there
    assert cached.trainer.teacher_source.computed == alone.trainer.teacher_source.computed > 0
    assert not any(member.labels_only for member in cached.trainer.teacher_source.members)
    close(cached.terms, run(steps=10, teacher=ensemble, terms=labels).terms)
    again = run(tmp_path, steps=10, teacher=TeacherEnsemble(networks[::-1]), terms=labels)
    assert again.trainer.teacher_source.computed == 0
    close(again.terms, cached.terms)


def test_a_term_is_the_mean_loss_against_each_teacher_without_a_gradient_to_any():
    terms = [{"name": "mse", "loss": nn.MSELoss(), "weight": 0.5, "student_layer": "s", "teacher_layer": "t"}]
    student = torch.full((1, 1, 2, 2), 3.0, requires_grad=True)
    features = tuple(torch.full((1, 1, 2, 2), value, requires_grad=True) for value in (1.0, 2.0, 5.0))
    logits = torch.zeros(1, 2, 2, 2)
    value = DistillationCriterion(terms)(logits, logits, {"s": student}, {"t": features})["mse"]
    # the mean map, 8 / 3, would give 0.5 * (1 / 3) ** 2
    assert value.item() == pytest.approx(0.5 * (4 + 1 + 4) / 3)
    value.backward()
    assert student.grad is not None
    assert all(one.grad is None for one in features)
