# SPDX-License-Identifier: Apache-2.0
"""Coding of a teacher's logits: what is exact, what rounding may change, and how many bytes it takes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from akd_monai.errors import InputError
from akd_monai.losses import AdaptiveAffinityLoss, LogitsKLLoss
from akd_monai.teachers._coding import FeatureCoding, LogitsCoding


def draw(classes, *size, scale=4.0, seed=0):
    return scale * torch.randn((classes, *size), generator=torch.Generator().manual_seed(seed))


def through(coding, *maps):
    rows = np.stack([coding.encode(m) for m in maps])
    values = np.ascontiguousarray(rows[:, : coding.value_bytes])
    return coding.decode(torch.from_numpy(values)), coding.decode_labels(rows[:, coding.value_bytes :])


@pytest.mark.parametrize("classes", [1, 2, 3, 9, 300])
@pytest.mark.parametrize("size", [(7, 5), (1, 1), (3, 5, 7)])
def test_float32_is_exact_and_labels_too(classes, size):
    maps = [draw(classes, *size, seed=seed) for seed in (1, 2)]
    logits, labels = through(LogitsCoding((classes, *size)), *maps)
    assert torch.equal(logits, torch.stack(maps))
    expected = logits[:, 0] > 0 if classes == 1 else logits.argmax(1)
    assert torch.equal(labels.long(), expected.long())


@pytest.mark.parametrize("classes", [1, 2, 3, 9])
def test_half_differences_keep_every_decision(classes):
    # a tenth of all pixels are so near to a tie that half precision cannot tell their classes apart
    logits = draw(classes, 40, 50)
    logits[:, :4] = 3.0 + 1e-7 * draw(classes, 4, 50, seed=5)
    logits[:, 4] = 0.0
    logits[:, 5] = 1e-9 * draw(classes, 50, seed=6)
    logits[-1, 6] = 1e9
    decoded, labels = through(LogitsCoding((classes, 40, 50), "float16"), logits)
    expected = logits[0] > 0 if classes == 1 else logits.argmax(0)
    got = decoded[0, 0] > 0 if classes == 1 else decoded[0].argmax(0)
    assert torch.equal(got, expected)
    assert torch.equal(labels[0].long(), expected.long())
    if classes > 1:
        exact = logits - logits[:1]
        usual = exact.abs() < 1000
        assert ((decoded[0] - exact).abs()[usual] <= 2**-10 * exact.abs()[usual] + 1e-6).all()


@pytest.mark.parametrize("direction", ["student_teacher", "teacher_student"])
def test_half_differences_change_the_gradient_by_less_than_5e_4(direction):
    teacher, student = draw(2, 64, 64)[None], draw(2, 64, 64, seed=1, scale=2.0)[None]
    decoded, _ = through(LogitsCoding((2, 64, 64), "float16"), teacher[0])
    exact, _ = through(LogitsCoding((2, 64, 64)), teacher[0])
    gradients = []
    for target in (teacher, decoded, exact):
        leaf = student.clone().requires_grad_()
        LogitsKLLoss(direction=direction)(leaf, target).backward()
        gradients.append(leaf.grad)
    assert (gradients[1] - gradients[0]).norm() / gradients[0].norm() < 5e-4
    assert torch.equal(gradients[2], gradients[0])


def test_labels_alone_decide_as_the_logits_do():
    for classes in (2, 5):
        coding = LogitsCoding((classes, 6, 7), "float16")
        logits = draw(classes, 6, 7)
        row = coding.encode(logits)
        stand_in = coding.logits_of(coding.decode_labels(row[None, coding.value_bytes :]))
        loss = AdaptiveAffinityLoss()
        assert torch.equal(loss.labels(stand_in), loss.labels(logits[None]))


@pytest.mark.parametrize("count", [1, 7, 8, 9, 63, 64, 65])
def test_bits_of_two_classes_come_back_at_any_length(count):
    logits = draw(2, 1, count)
    coding = LogitsCoding((2, 1, count))
    assert torch.equal(
        coding.decode_labels(coding.encode(logits)[None, coding.value_bytes :])[0], logits.argmax(0).byte()
    )
    assert coding.row_bytes - coding.value_bytes == -(-count // 64) * 8


def test_sizes_are_those_worked_out_by_hand():
    pixels = 384 * 384
    assert LogitsCoding((2, 384, 384), "float16").row_bytes == 2 * pixels + pixels // 8 == 313_344
    assert LogitsCoding((2, 384, 384)).row_bytes == 8 * pixels + pixels // 8
    assert LogitsCoding((4, 384, 384), "float16").row_bytes == 3 * 2 * pixels + pixels


@pytest.mark.fault(
    "Numbers",
    "a teacher returns NaN or infinity",
    injected="logits that are not finite",
    outcome="refused",
)
def test_what_is_not_finite_is_refused():
    logits = draw(2, 4, 4)
    logits[0, 0, 0] = float("nan")
    with pytest.raises(InputError, match="NaN or Inf"):
        LogitsCoding((2, 4, 4)).encode(logits)


@pytest.mark.parametrize("shape", [(3, 7, 5), (1, 1, 1), (2, 3, 5, 7)])
def test_features_come_back_exactly_or_rounded_to_half(shape):
    maps = [draw(*shape, seed=seed) for seed in (1, 2)]
    for dtype, expected in (("float32", torch.stack(maps)), ("float16", torch.stack(maps).half().float())):
        coding = FeatureCoding(shape, dtype, "body")
        rows = torch.from_numpy(np.stack([coding.encode(m) for m in maps]))
        assert torch.equal(coding.decode(rows), expected)


def test_features_that_half_precision_cannot_hold_are_refused():
    features = torch.full((1, 2, 2), 1e5)
    FeatureCoding((1, 2, 2), "float32", "body").encode(features)
    with pytest.raises(
        InputError, match=r"layer 'body' are NaN, Inf or too large for float16: set cache_dtype to float32"
    ):
        FeatureCoding((1, 2, 2), "float16", "body").encode(features)
    with pytest.raises(InputError, match="'body' are NaN, Inf or too large for float32"):
        FeatureCoding((1, 2, 2), "float32", "body").encode(features * float("inf"))
