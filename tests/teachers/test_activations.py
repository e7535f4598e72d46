# SPDX-License-Identifier: Apache-2.0
"""Activation, head and classes of a teacher, online and cached: equal numbers, never another one's cache."""

from __future__ import annotations

import re

import pytest
import torch
from monai.networks.nets import BasicUNetPlusPlus
from teacher_tools import all_terms, close, equal, run
from torch import nn

from akd_monai.errors import InputError
from akd_monai.losses import AdaptiveAffinityLoss, DistillationCriterion, LogitsKLLoss
from akd_monai.teachers import CachedTeacher, OnlineTeacher, TeacherCache, TeacherOptions, TeacherOutput, teacher_source
from akd_monai.teachers._compiled import check_compiled

CPU = torch.device("cpu")


def sigmoid_terms(affinity="body"):
    terms = all_terms(affinity)
    for term in (terms[0], terms[2]):
        term["options"] = {"activation": "sigmoid"}
    return terms


@pytest.mark.parametrize(("channels", "affinity"), [(1, None), (3, None), (3, "body")])
def test_every_term_of_sigmoid_channels_is_the_same_from_a_float32_cache(tmp_path, channels, affinity):
    terms = sigmoid_terms(affinity)
    online = run(classes=channels, terms=terms, steps=20)
    filling = run(tmp_path, classes=channels, terms=terms, steps=20)
    filled = run(tmp_path, classes=channels, terms=terms, steps=20)
    assert online.terms == filling.terms == filled.terms
    assert all(step["logits"] > 0 for step in online.terms)
    assert filled.images == 0
    assert equal(online.student, filled.student)


def test_half_precision_changes_each_term_by_little_and_the_affinity_not_at_all(tmp_path):
    options = {"classes": 3, "terms": sigmoid_terms(None), "steps": 5}
    online, half = run(**options), run(tmp_path, cache_dtype="float16", **options)
    assert online.terms[0]["affinity"] == half.terms[0]["affinity"]
    assert online.terms[0]["logits"] == pytest.approx(half.terms[0]["logits"], rel=2e-3)
    assert online.terms[0]["logits"] != half.terms[0]["logits"]


def test_labels_alone_keep_a_bit_for_each_channel(tmp_path):
    options = {"classes": 3, "terms": sigmoid_terms()[2:], "steps": 10}
    cached = run(tmp_path, **options)
    assert cached.trainer.teacher_source.labels_only
    assert cached.terms == run(**options).terms


def test_a_cache_of_one_activation_is_not_read_under_another(tmp_path):
    options = {"classes": 3, "steps": 5}
    run(tmp_path, **options)
    changed = run(tmp_path, terms=sigmoid_terms(), **options)
    assert changed.images > 0
    close(changed.terms, run(terms=sigmoid_terms(), **options).terms)
    assert run(tmp_path, terms=all_terms(), **options).images == 0


class Heads(nn.Module):
    """Two maps of four channels, of which the second is the first times -2."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(1, 4, 3, padding=1)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        logits = self.body(x)
        return {"mask": logits, "other": -2 * logits}


def heads():
    torch.manual_seed(0)
    return Heads().eval()


def both(output, folder=None, image=None):
    """Return what a source gives for two images and how many went through the network."""
    online = OnlineTeacher(heads(), ["body"], TeacherOptions(), CPU, output=output)
    source = online if folder is None else CachedTeacher(online, TeacherCache(folder))
    image = torch.rand(2, 1, 5, 5, generator=torch.Generator().manual_seed(1))
    batch = {"volume_key": ["a", "b"], "slice_index": [0, 0], "view": [0, 0]}
    logits, features = source(image, batch)
    return logits, features["body"], source.computed


OUTPUTS = [
    TeacherOutput("mask"),
    TeacherOutput("other"),
    TeacherOutput("mask", [[0, 3], [1], [2]]),
    TeacherOutput("mask", [[0], [1, 2, 3]]),
    TeacherOutput("mask", [[3], [2], [1], [0]]),
    TeacherOutput("mask", [[3], [2], [1], [0]], "sigmoid"),
    TeacherOutput("mask", [[2]], "sigmoid"),
    TeacherOutput("mask", activation="sigmoid"),
]


def test_each_head_choice_of_classes_and_activation_has_a_cache_of_its_own(tmp_path):
    for _ in range(2):
        for output in OUTPUTS:
            logits, features, _ = both(output)
            stored, stored_features, _ = both(output, tmp_path)
            assert torch.equal(stored, logits)
            assert torch.equal(stored_features, features)
    assert len(list(tmp_path.iterdir())) == len(OUTPUTS)
    assert all(both(output, tmp_path)[2] == 0 for output in OUTPUTS)


def test_classes_are_merged_after_the_head_was_chosen():
    features = both(TeacherOutput("mask"))[1]
    merged = both(TeacherOutput("other", [[0], [1, 2, 3]]))[0]
    expected = (-2 * features).softmax(1)
    torch.testing.assert_close(merged.softmax(1)[:, 1], expected[:, 1:].sum(1))
    assert OnlineTeacher(heads(), [], TeacherOptions(), CPU, output=OUTPUTS[2]).shapes((1, 5, 5)) == {"": (3, 5, 5)}


def test_a_cache_of_the_defaults_keeps_its_name():
    online = OnlineTeacher(nn.Conv2d(1, 2, 1), [], TeacherOptions(), CPU)
    assert set(online.identity()) == {"weights", "device", "autocast", "channels_last", "compile"}


@pytest.mark.parametrize(
    ("losses", "output", "message"),
    [
        (
            {"a": LogitsKLLoss(), "b": AdaptiveAffinityLoss(activation="sigmoid")},
            None,
            "term 'b' has activation 'sigmoid', but the teacher's output is 'softmax'; set the activation of every loss",
        ),
        (
            {"a": LogitsKLLoss()},
            {"activation": "sigmoid"},
            "term 'a' has activation 'softmax', but the teacher's output is",
        ),
        (
            {"a": LogitsKLLoss(activation="sigmoid")},
            TeacherOutput(),
            "term 'a' has activation 'sigmoid', but the teacher's",
        ),
        ({"a": LogitsKLLoss()}, [], "teacher_output must be a mapping, got list"),
    ],
)
def test_different_activations_are_refused(losses, output, message):
    criterion = DistillationCriterion({name: {"loss": loss} for name, loss in losses.items()})
    with pytest.raises(InputError, match=re.escape(message)):
        teacher_source(nn.Conv2d(1, 2, 1).eval(), criterion, None, CPU, output=output)


class Own(nn.Module):
    """A loss that says nothing of activations and needs decisions only."""

    teacher_needs = "labels"

    def forward(self, student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
        return (student - teacher).square().mean()


def test_a_loss_that_does_not_know_sigmoid_channels_gets_every_number(tmp_path):
    criterion = DistillationCriterion({"own": {"loss": Own()}})
    source = teacher_source(heads(), criterion, {"cache_dir": tmp_path}, CPU, output={"activation": "sigmoid"})
    assert not source.labels_only
    half = {"cache_dir": tmp_path, "cache_dtype": "float16"}
    with pytest.raises(InputError, match="term 'own' needs the teacher's logits as they are"):
        teacher_source(heads(), criterion, half, CPU, output={"activation": "sigmoid"})
    assert teacher_source(heads(), criterion, half, CPU).labels_only


def test_an_activation_of_features_or_of_another_kind_says_nothing():
    features = {"loss": LogitsKLLoss(activation="sigmoid"), "student_layer": "body", "teacher_layer": "body"}
    other = nn.MSELoss()
    other.activation = nn.ReLU()
    criterion = DistillationCriterion({"features": features, "other": {"loss": other}})
    source = teacher_source(heads(), criterion, None, CPU)
    assert source.output == TeacherOutput()


def test_a_compiled_teacher_is_compared_by_the_decision_of_each_channel():
    plain = torch.full((1, 1, 10, 10), 1.0)
    plain[..., 0] = 1e-3
    compiled = plain.clone()
    compiled[..., 0] = -1e-3
    check_compiled((plain, {}), (compiled, {}))
    with pytest.raises(InputError, match=r"changes the teacher's decision in 10.00 % of the pixels"):
        check_compiled((plain, {}), (compiled, {}), "sigmoid")


class Stack(nn.Module):
    """Two heads in one tensor, as DynUNet in training."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.stack([torch.cat([x, -x], 1), torch.cat([-x, x], 1)], 1)


def test_a_stack_of_2d_heads_and_a_class_of_equal_heads_are_known_online():
    image = torch.rand(2, 1, 4, 4)
    logits, _ = OnlineTeacher(Stack(), [], TeacherOptions(), CPU)(image, None)
    assert torch.equal(logits, torch.cat([image, -image], 1))
    network = BasicUNetPlusPlus(2, 1, 2, features=(4, 4, 4, 4, 4, 4), deep_supervision=True).eval()
    image = torch.rand(1, 1, 32, 32)
    logits, _ = OnlineTeacher(network, [], TeacherOptions(), CPU)(image, None)
    with torch.no_grad():
        assert torch.equal(logits, network(image)[-1])
