# SPDX-License-Identifier: Apache-2.0
"""The fast algorithms give one result in any division of the map, and on any type of labels."""

from __future__ import annotations

import pytest
import torch

from akd_monai.losses import affinity_loss
from akd_monai.losses._affinity import AffinityOptions, box
from akd_monai.losses._affinity.dense import _some_samples
from akd_monai.losses._affinity.label_pairs import LabelPairs


def random_case(*shape, classes=3, dtype=torch.float32, seed=0):
    rng = torch.Generator().manual_seed(seed)
    scores = torch.randn(shape, dtype=dtype, generator=rng)
    return scores, torch.randint(0, classes, (shape[0], *shape[2:]), generator=rng)


def test_dense_gives_one_result_in_any_chunks():
    scores, labels = random_case(5, 3, 4, 4)
    labels[0] = 255
    expected = affinity_loss(scores, labels, algorithm="dense", class_balanced=True)
    pairs = LabelPairs(labels, AffinityOptions(class_balanced=True))
    for step in (2, 3, 5):
        chunks = [slice(start, start + step) for start in range(0, 5, step)]
        weight = pairs.attract_weight(torch.float32)
        values = [_some_samples(scores[c], pairs, c, weight[c], 1 / pairs.n_different, None) for c in chunks]
        torch.testing.assert_close(sum(values), expected)


@pytest.mark.parametrize("channels", [2, 3, 7])
@pytest.mark.parametrize(("kept", "block"), [(0, 1), (0, 100), (0, 10**6), (10**6, 1)])
def test_box_gives_one_result_in_any_blocks(monkeypatch, channels, kept, block):
    scores, labels = random_case(2, channels, 6, 7)
    labels[1, :2] = 255
    leaf = scores.double().requires_grad_()
    expected = affinity_loss(leaf, labels, algorithm="reference", class_balanced=True)
    (by_scores,) = torch.autograd.grad(expected, leaf)
    monkeypatch.setattr(box, "_KEPT", kept)
    monkeypatch.setattr(box, "_BLOCK", block)
    found = affinity_loss(leaf, labels, algorithm="box", class_balanced=True)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(torch.autograd.grad(found, leaf)[0], by_scores, rtol=1e-10, atol=1e-14)
    with torch.no_grad():
        value = affinity_loss(leaf, labels, algorithm="box", class_balanced=True)
    torch.testing.assert_close(value, expected.detach(), rtol=1e-12, atol=0)


@pytest.mark.parametrize("dtype", [torch.int8, torch.int16, torch.int32, torch.int64])
@pytest.mark.parametrize("algorithm", ["box", "dense"])
def test_labels_that_need_the_whole_range_of_their_type(algorithm, dtype):
    scores, labels = random_case(2, 3, 6, 7)
    limits = torch.iinfo(dtype)
    far = torch.tensor([limits.min, 1, limits.max], dtype=dtype)[labels]
    expected = affinity_loss(scores, labels, ignore_index=1, algorithm="reference")
    torch.testing.assert_close(affinity_loss(scores, far, ignore_index=1, algorithm=algorithm), expected)
    alike = torch.tensor([-1, 1, 255], dtype=torch.int64)[labels]  # -1 and 255 are one byte
    torch.testing.assert_close(affinity_loss(scores, alike, ignore_index=1, algorithm=algorithm), expected)
