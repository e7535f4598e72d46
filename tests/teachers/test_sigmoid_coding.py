# SPDX-License-Identifier: Apache-2.0
"""Coding of channels that may overlap: none is dropped, decisions are exact, and rounding is as small as stated."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from akd_monai.errors import InputError
from akd_monai.losses import AdaptiveAffinityLoss, LogitsKLLoss
from akd_monai.teachers._sigmoid_coding import SigmoidCoding


def draw(channels, *size, scale=4.0, seed=0):
    return scale * torch.randn((channels, *size), generator=torch.Generator().manual_seed(seed))


def through(coding, *maps):
    rows = np.stack([coding.encode(m) for m in maps])
    values = np.ascontiguousarray(rows[:, : coding.value_bytes])
    return coding.decode(torch.from_numpy(values)), coding.decode_labels(rows[:, coding.value_bytes :])


@pytest.mark.parametrize("channels", [1, 2, 3, 9])
@pytest.mark.parametrize("size", [(7, 5), (1, 1), (3, 5, 7)])
def test_float32_is_exact_and_every_channel_has_a_decision(channels, size):
    maps = [draw(channels, *size, seed=seed) for seed in (1, 2)]
    logits, labels = through(SigmoidCoding((channels, *size)), *maps)
    assert torch.equal(logits, torch.stack(maps))
    assert labels.shape == (2, channels, *size)
    assert torch.equal(labels.bool(), logits > 0)


def test_all_channels_and_none_are_not_the_same():
    everything, nothing = torch.full((3, 2, 2), 12.0), torch.full((3, 2, 2), -12.0)
    decoded, labels = through(SigmoidCoding((3, 2, 2), "float16"), everything, nothing)
    assert torch.equal(decoded, torch.stack([everything, nothing]))
    assert labels.flatten(1).tolist() == [[1] * 12, [0] * 12]


def test_half_precision_rounds_as_little_as_stated_and_keeps_every_decision():
    logits = draw(3, 40, 50)
    logits[:, 0] = 1e-9 * draw(3, 50, seed=5)
    logits[:, 1] = 0.0
    logits[:, 2] = 1e9
    logits[:, 3] = -1e9
    (decoded,), (labels,) = through(SigmoidCoding((3, 40, 50), "float16"), logits)
    assert torch.equal(decoded > 0, logits > 0)
    assert torch.equal(labels.bool(), logits > 0)
    usual = logits.abs() < 1e4
    error = (decoded - logits).abs()
    assert (error[usual] <= torch.maximum(logits.abs()[usual] / 2048, torch.tensor(6e-8))).all()
    assert error[usual].max() > 1e-4
    probabilities = (decoded.double().sigmoid() - logits.double().sigmoid()).abs()
    assert 5e-5 < probabilities.max() < 1.1e-4
    assert decoded.abs().max() == 65504


@pytest.mark.parametrize("direction", ["student_teacher", "teacher_student"])
def test_half_precision_changes_the_gradient_by_less_than_5e_4(direction):
    teacher, student = draw(3, 64, 64)[None], draw(3, 64, 64, seed=1, scale=2.0)[None]
    decoded, _ = through(SigmoidCoding((3, 64, 64), "float16"), teacher[0])
    gradients = []
    for target in (teacher, decoded):
        leaf = student.clone().requires_grad_()
        LogitsKLLoss(direction=direction, activation="sigmoid")(leaf, target).backward()
        gradients.append(leaf.grad)
    assert 0 < (gradients[1] - gradients[0]).norm() / gradients[0].norm() < 5e-4


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_labels_alone_decide_as_the_logits_do(channels):
    coding = SigmoidCoding((channels, 6, 7), "float16")
    logits = draw(channels, 6, 7)
    row = coding.encode(logits)
    stand_in = coding.logits_of(coding.decode_labels(row[None, coding.value_bytes :]))
    loss = AdaptiveAffinityLoss(activation="sigmoid")
    assert torch.equal(loss.labels(stand_in), loss.labels(logits[None]))
    scores = draw(channels, 6, 7, seed=3)[None]
    assert torch.equal(loss(scores, stand_in), loss(scores, logits[None]))


def test_sizes_are_those_worked_out_by_hand():
    pixels = 96**3
    assert SigmoidCoding((3, 96, 96, 96), "float16").row_bytes == 3 * 2 * pixels + 3 * pixels // 8
    assert SigmoidCoding((3, 96, 96, 96)).row_bytes == 3 * 4 * pixels + 3 * pixels // 8
    assert SigmoidCoding((3, 1, 3)).row_bytes == 40 + 8  # 36 bytes and 9 bits, each up to a multiple of 8


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_is_refused(value):
    logits = draw(2, 4, 4)
    logits[1, 0, 0] = value
    with pytest.raises(InputError, match="NaN or Inf"):
        SigmoidCoding((2, 4, 4)).encode(logits)
