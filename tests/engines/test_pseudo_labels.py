# SPDX-License-Identifier: Apache-2.0
"""A teacher's logits as labels and as probabilities, against loops in NumPy float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from akd_monai.engines._pseudo_labels import confident_images, hard_labels, soft_loss
from akd_monai.errors import InputError


def maps(seed, *shape):
    return np.random.default_rng(seed).normal(0, 2, shape)


def softmax(z):
    e = np.exp(z - z.max())
    return e / e.sum()


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def soft_by_loops(student, teacher, activation, threshold):
    total = count = 0
    for b in range(len(student)):
        for place in np.ndindex(student.shape[2:]):
            ours = student[(b, slice(None), *place)]
            theirs = teacher[(b, slice(None), *place)]
            if activation == "softmax":
                p, q = softmax(theirs), softmax(ours)
                count += 1
                if threshold is None or p.max() >= threshold:
                    total += sum(p[c] * np.log(p[c] / q[c]) for c in range(len(p)))
            else:
                for z, t in zip(ours, theirs, strict=True):
                    p, q = sigmoid(t), sigmoid(z)
                    count += 1
                    if threshold is None or max(p, 1 - p) >= threshold:
                        total += p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))
    return total / count


@pytest.mark.parametrize("threshold", [None, 0.9, 0.0])
@pytest.mark.parametrize(
    ("activation", "shape"),
    [("softmax", (2, 3, 5, 4)), ("softmax", (1, 2, 4, 3, 2)), ("sigmoid", (2, 2, 3, 4)), ("sigmoid", (1, 1, 2, 3, 2))],
)
def test_soft_loss_is_that_of_loops(activation, shape, threshold):
    student, teacher = maps(1, *shape), maps(2, *shape)
    found = soft_loss(torch.tensor(student), torch.tensor(teacher), activation, threshold)
    np.testing.assert_allclose(found.item(), soft_by_loops(student, teacher, activation, threshold), rtol=1e-10)


def test_soft_loss_has_its_least_value_at_the_teacher_and_no_gradient_for_it():
    student = torch.tensor(maps(1, 1, 2, 3, 3), requires_grad=True)
    teacher = torch.tensor(maps(2, 1, 2, 3, 3), requires_grad=True)
    soft_loss(student, teacher, "softmax", None).backward()
    assert teacher.grad is None
    # of a softmax over N pixels it is (q - p) / N
    wanted = (student.softmax(1) - teacher.softmax(1)).detach() / 9
    torch.testing.assert_close(student.grad, wanted)


def test_soft_loss_is_finite_where_a_probability_is_0():
    student = torch.tensor([300.0, -300.0]).reshape(1, 2, 1, 1)
    assert soft_loss(student, -student, "softmax", None).item() == 600
    assert soft_loss(student, -student, "sigmoid", None).item() == 300


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_what_has_just_the_least_confidence_counts(activation):
    # a logit of 0 is a probability of exactly one half
    student, teacher = torch.ones(1, 2, 1, 1, dtype=torch.float64), torch.zeros(1, 2, 1, 1, dtype=torch.float64)
    student[:, 1] = -1.0
    expected = soft_loss(student, teacher, activation, None)
    assert soft_loss(student, teacher, activation, 0.5) == expected > 0
    assert soft_loss(student, teacher, activation, 0.5000001) == 0
    assert confident_images(teacher, activation, 0.5).tolist() == [True]


def confidence_by_loops(logits, activation):
    values = []
    for image in logits:
        sure, foreground = [], []
        for place in np.ndindex(image.shape[1:]):
            z = image[(slice(None), *place)]
            p = softmax(z) if activation == "softmax" else sigmoid(z)
            sure.append(p.max() if activation == "softmax" else np.mean([max(x, 1 - x) for x in p]))
            foreground.append(p.argmax() > 0 if activation == "softmax" else bool((z > 0).any()))
        chosen = [s for s, f in zip(sure, foreground, strict=True) if f] or sure
        values.append(np.mean(chosen))
    return np.array(values)


@pytest.mark.parametrize(
    ("activation", "shape"),
    [("softmax", (5, 3, 4, 4)), ("softmax", (3, 2, 2, 3, 2)), ("sigmoid", (5, 3, 4, 4)), ("sigmoid", (3, 1, 2, 3, 2))],
)
def test_images_count_by_their_mean_confidence_in_the_foreground(activation, shape):
    logits = maps(5, *shape)
    logits[0] = -3.0  # no foreground of a sigmoid
    logits[0, 0] += 0.5 if activation == "softmax" else 0
    wanted = confidence_by_loops(logits, activation)
    for threshold in sorted(wanted):
        for nudge in (-1e-9, 1e-9):
            found = confident_images(torch.tensor(logits), activation, threshold + nudge)
            assert found.tolist() == (wanted >= threshold + nudge).tolist()


LOGITS = torch.tensor([[[3.0, 0.0]], [[1.0, 2.0]], [[0.0, 1.0]]]).reshape(1, 3, 1, 2)  # classes 0 and 1


@pytest.mark.parametrize(
    ("like", "wanted"),
    [
        (torch.zeros(4, 1, 1, 2), [[[[0.0, 1.0]]]]),
        (torch.zeros(4, 1, 2, dtype=torch.long), [[[0, 1]]]),
        (torch.zeros(4, 3, 1, 2, dtype=torch.uint8), [[[[1, 0]], [[0, 1]], [[0, 0]]]]),
        (None, [[[[0, 1]]]]),
    ],
    ids=["one channel", "no channel", "one-hot", "no labels"],
)
def test_decisions_have_the_form_and_type_of_the_labels(like, wanted):
    found = hard_labels(LOGITS, "softmax", like)
    assert found.tolist() == wanted
    assert found.dtype == (torch.long if like is None else like.dtype)


def test_decisions_of_sigmoid_channels_may_overlap():
    found = hard_labels(LOGITS, "sigmoid", torch.zeros(2, 3, 1, 2))
    assert found.tolist() == [[[[1.0, 0.0]], [[1.0, 1.0]], [[0.0, 1.0]]]]
    # present is what is more likely than not, a logit above 0
    assert hard_labels(torch.tensor([[[[0.1, -0.1]]]]), "sigmoid", None).tolist() == [[[[1.0, 0.0]]]]


@pytest.mark.parametrize(
    ("activation", "like", "words"),
    [
        (
            "sigmoid",
            torch.zeros(2, 1, 1, 2),
            r"labels are of shape \[2, 1, 1, 2\], and the teacher's logits are \[1, 3",
        ),
        ("softmax", torch.zeros(2, 2, 1, 2), r"labels are of shape \[2, 2, 1, 2\]"),
        ("softmax", torch.zeros(2, 1, 2, 2), r"labels are of shape \[2, 1, 2, 2\], another size"),
        ("softmax", [torch.zeros(2, 1, 1, 2)], "labels are a list, no tensor"),
    ],
)
def test_labels_of_another_form_are_refused(activation, like, words):
    with pytest.raises(InputError, match=words + ".*set pseudo_labels to 'soft'"):
        hard_labels(LOGITS, activation, like)


def test_logits_of_other_classes_are_refused():
    with pytest.raises(InputError, match=r"differ in shape: \[1, 3, 1, 2\] and \[1, 2, 1, 2\]"):
        soft_loss(LOGITS, LOGITS[:, :2], "softmax", None)
