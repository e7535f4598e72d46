# SPDX-License-Identifier: Apache-2.0
"""One head and the student's classes of a teacher's output: sums of probabilities, orders, and what is refused."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from akd_monai.errors import InputError, UnknownNameError
from akd_monai.teachers import TeacherOutput

LOGITS = torch.randn(2, 4, 3, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 5


def softmax(values):
    exponentials = np.exp(values - values.max(1, keepdims=True))
    return exponentials / exponentials.sum(1, keepdims=True)


def test_by_default_the_logits_are_the_networks_own():
    assert TeacherOutput()(LOGITS) is LOGITS
    assert TeacherOutput()([LOGITS[..., :1, :1], LOGITS]) is LOGITS
    assert TeacherOutput(head=1)([LOGITS, -LOGITS])[0, 0, 0, 0] == -LOGITS[0, 0, 0, 0]


@pytest.mark.parametrize("classes", [[[0, 3], [1, 2]], [[2], [3, 0], [1]], [[0, 1, 2, 3]], [[3], [1], [0, 2]]])
def test_the_probability_of_a_merged_class_is_the_sum(classes):
    parts = softmax(LOGITS.numpy())
    expected = np.stack([parts[:, members].sum(1) for members in classes], 1)
    merged = TeacherOutput(classes=classes)(LOGITS)
    assert merged.dtype == torch.float64
    np.testing.assert_allclose(softmax(merged.numpy()), expected, atol=1e-14)


def test_merging_by_hand():
    logits = torch.log(torch.tensor([1.0, 2.0, 3.0])).reshape(1, 3, 1, 1)
    merged = TeacherOutput(classes=[[0], [1, 2]])(logits)
    torch.testing.assert_close(merged.exp().flatten(), torch.tensor([1.0, 5.0]))


def test_large_logits_and_half_precision_are_merged_in_full_precision():
    logits = torch.tensor([3e4, 3e4, -3e4]).half().reshape(1, 3, 1, 1)
    merged = TeacherOutput(classes=[[2], [0, 1]])(logits)
    assert merged.dtype == torch.float32
    assert merged.flatten().tolist() == pytest.approx([logits[0, 2].item(), logits[0, 0].item() + np.log(2)], abs=2e-3)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_classes_in_another_order_are_the_same_numbers(activation):
    output = TeacherOutput(classes=[[2], [0], [3], [1]], activation=activation)
    assert torch.equal(output(LOGITS), LOGITS[:, [2, 0, 3, 1]])
    assert TeacherOutput(classes=[[0], [1], [2], [3]], activation=activation)(LOGITS) is LOGITS


def test_sigmoid_channels_that_the_student_does_not_know_are_left_out():
    output = TeacherOutput(classes=[[2], [0]], activation="sigmoid")
    assert torch.equal(output(LOGITS), LOGITS[:, [2, 0]])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"classes": [[0, 1], [1]]}, "channel 1 of the teacher is listed twice"),
        ({"classes": [[0], []]}, "class 1 of the teacher's output must list channels, such as [0, 2], got []"),
        ({"classes": [[0], 1]}, "class 1 of the teacher's output must list channels, such as [0, 2], got 1"),
        ({"classes": [[0], [-1]]}, "class 1 of the teacher's output must list channels"),
        ({"classes": [[0], [True]]}, "class 1 of the teacher's output must list channels"),
        ({"classes": [[0], ["1"]]}, "class 1 of the teacher's output must list channels"),
        ({"classes": "gland=1"}, "classes of the teacher's output must be a list of lists of channels, got 'gland=1'"),
        ({"classes": []}, "classes of the teacher's output must be a list of lists of channels"),
        ({"classes": [[0], [1, 2]], "activation": "sigmoid"}, "class 1 merges the teacher's channels [1, 2], but the"),
        ({"activation": "relu"}, "activation of the teacher's output must be one of 'softmax', 'sigmoid', got 'relu'"),
        ({"head": 1.0}, "head of the teacher's output must be an index, a key or null, got 1.0"),
        ([0], "teacher_output must be a mapping, got list"),
    ],
)
def test_what_is_no_output_is_refused(given, message):
    with pytest.raises(InputError, match=re.escape(message)):
        TeacherOutput.read(given)


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (TeacherOutput(classes=[[0], [1, 4]]), "the classes name channel 4 of the teacher, which has 4, from 0 on"),
        (
            TeacherOutput(classes=[[0], [2]]),
            "leave out channels [1, 3] of the teacher, whose probability would belong to",
        ),
    ],
)
def test_classes_that_do_not_fit_the_teacher_are_refused(output, message):
    with pytest.raises(InputError, match=re.escape(message)):
        output(LOGITS)


def test_an_unknown_entry_is_named():
    with pytest.raises(UnknownNameError, match=r"unknown entry 'clases' of teacher_output\. Did you mean 'classes'"):
        TeacherOutput.read({"clases": [[0]]})


def test_a_config_gives_a_mapping_or_nothing():
    assert TeacherOutput.read(None) == TeacherOutput()
    chosen = TeacherOutput.read({"head": "mask", "classes": [[1], [0]]})
    assert chosen == TeacherOutput("mask", [[1], [0]])
    assert TeacherOutput.read(chosen) is chosen
