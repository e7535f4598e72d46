# SPDX-License-Identifier: Apache-2.0
"""The affinity module: labels that the teacher decides, options, mistakes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from akd_monai.errors import InputError
from akd_monai.losses import AdaptiveAffinityLoss, affinity_loss

ALGORITHMS = ["reference", "box", "dense", "auto"]


def random_case(*shape, classes=3, dtype=torch.float32, seed=0):
    rng = torch.Generator().manual_seed(seed)
    scores = torch.randn(shape, dtype=dtype, generator=rng)
    return scores, torch.randint(0, classes, (shape[0], *shape[2:]), generator=rng)


def test_inside_torch_compile():
    scores, labels = random_case(1, 3, 8, 8)
    module = AdaptiveAffinityLoss()
    teacher = torch.nn.functional.one_hot(labels, 3).movedim(-1, 1).float()
    leaf = scores.clone().requires_grad_()
    loss = torch.compile(lambda x: 2 * module(2 * x, teacher), backend="eager", fullgraph=True)(leaf)
    torch.testing.assert_close(loss, 2 * affinity_loss(2 * scores, labels))
    assert torch.autograd.grad(loss, leaf)[0].abs().sum() > 0


def test_the_teacher_decides_labels_and_gets_no_gradient():
    scores, labels = random_case(2, 5, 6, 6, classes=3)
    logits = torch.nn.functional.one_hot(labels, 3).movedim(-1, 1).float().requires_grad_()
    scores.requires_grad_()
    loss = AdaptiveAffinityLoss(margin=2.0)(scores, logits)
    torch.testing.assert_close(loss, affinity_loss(scores, labels, margin=2.0))
    loss.backward()
    assert logits.grad is None
    assert scores.grad is not None


def test_a_softmax_teacher_of_one_channel_is_refused_with_the_remedy():
    with pytest.raises(InputError, match=r"softmax over one channel decides nothing .*set activation to 'sigmoid'"):
        AdaptiveAffinityLoss()(torch.zeros(1, 2, 6, 6), torch.zeros(1, 1, 6, 6))


@pytest.mark.parametrize("classes", [2, 3])
def test_equal_logits_are_decided_for_the_first_class(classes):
    rng = torch.Generator().manual_seed(0)
    logits = torch.randint(-1, 2, (2, classes, 9, 9), generator=rng).float()
    np.testing.assert_array_equal(AdaptiveAffinityLoss().labels(logits), np.argmax(logits.numpy(), axis=1))


def test_teacher_logits_of_full_resolution_serve_a_small_map():
    scores, _ = random_case(1, 4, 3, 3)
    logits = torch.randn(1, 2, 24, 24, generator=torch.Generator().manual_seed(5))
    expected = affinity_loss(scores, logits.argmax(1)[:, 4::8, 4::8])
    torch.testing.assert_close(AdaptiveAffinityLoss()(scores, logits), expected)


def test_options_of_the_module_reach_the_loss():
    scores, labels = random_case(1, 3, 7, 7)
    logits = torch.nn.functional.one_hot(labels, 3).movedim(-1, 1).float()
    options = {"kernel": 5, "dilation": 2, "margin": 0.6, "ignore_index": 1, "class_balanced": True}
    for algorithm in ALGORITHMS:
        found = AdaptiveAffinityLoss(**options, algorithm=algorithm)(scores, logits)
        torch.testing.assert_close(found, affinity_loss(scores, labels, **options, algorithm="reference"))


def test_a_teacher_with_more_classes_than_the_void_label():
    with pytest.raises(InputError, match=r"teacher has 300 classes.*ignore_index 255.*set ignore_index to None"):
        AdaptiveAffinityLoss()(torch.zeros(1, 2, 2, 2), torch.zeros(1, 300, 2, 2))
