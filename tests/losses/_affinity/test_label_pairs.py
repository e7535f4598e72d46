# SPDX-License-Identifier: Apache-2.0
"""The pairs of a label map against loops over its pixels, on a CPU and as they are found elsewhere."""

from __future__ import annotations

import itertools

import pytest
import torch

from akd_monai.losses._affinity import AffinityOptions
from akd_monai.losses._affinity.label_pairs import LabelPairs


class Elsewhere(torch.Tensor):
    """Labels that say they are not on a CPU, where NumPy cannot read them."""

    is_cpu = False


def pairs_by_loops(labels, kernel, dilation, ignored):
    """Return (ordered pairs of equal label, set of unordered pairs of different label) of one sample."""
    size = labels.shape
    pixels = list(itertools.product(*map(range, size)))
    number = {pixel: count for count, pixel in enumerate(pixels)}
    steps = [dilation * step for step in range(-(kernel // 2), kernel // 2 + 1)]
    same, different = 0, set()
    for i in pixels:
        for shift in itertools.product(steps, repeat=len(size)):
            j = tuple(a + s for a, s in zip(i, shift, strict=True))
            if j == i or j not in number or ignored in (labels[i].item(), labels[j].item()):
                continue
            if labels[i] == labels[j]:
                same += 1
            else:
                different.add(frozenset((number[i], number[j])))
    return same, different


@pytest.mark.parametrize("where", [torch.Tensor, Elsewhere])
@pytest.mark.parametrize("size", [(5, 6), (1, 7), (1, 1), (3, 2, 4)])
@pytest.mark.parametrize(("kernel", "dilation", "ignored"), [(3, 1, 255), (5, 1, 2), (3, 2, None)])
def test_numbers_and_borders(where, size, kernel, dilation, ignored):
    labels = torch.randint(0, 3, (2, *size), generator=torch.Generator().manual_seed(0))
    found = LabelPairs(labels.as_subclass(where), AffinityOptions(kernel, dilation, ignore_index=ignored))
    expected = [pairs_by_loops(sample, kernel, dilation, ignored) for sample in labels]
    assert found.n_same == sum(same for same, _ in expected)
    assert found.n_different == 2 * sum(len(different) for _, different in expected)
    for (first, second), (_, different) in zip(found.borders(), expected, strict=True):
        listed = [frozenset(pair) for pair in zip(first.tolist(), second.tolist(), strict=True)]
        assert len(listed) == len(different)
        assert set(listed) == different
