# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch

from akd_monai.data.views import VIEWS, apply_view, find_view


def image(*shape: int) -> torch.Tensor:
    return torch.randperm(torch.Size(shape).numel(), generator=torch.Generator().manual_seed(0)).reshape(shape).float()


@pytest.mark.parametrize("view", range(VIEWS))
@pytest.mark.parametrize("shape", [(5, 5), (2, 4, 6), (2, 3, 7, 4)])
def test_a_view_is_a_flip_and_quarter_turns(view, shape):
    values = image(*shape)
    expected = torch.rot90(values.flip(-2) if view >= 4 else values, view % 4, (-2, -1))
    assert torch.equal(apply_view(values, view), expected)
    assert find_view(values, expected.contiguous()) == view


def test_the_views_differ_and_are_closed():
    values = image(3, 3)
    all_views = {tuple(apply_view(values, view).flatten().tolist()) for view in range(VIEWS)}
    assert len(all_views) == VIEWS
    for view in range(VIEWS):
        for again in range(VIEWS):
            assert find_view(values, apply_view(apply_view(values, view), again)) in range(VIEWS)


def test_the_first_of_equal_views_is_found():
    assert find_view(torch.ones(1, 4, 4), torch.ones(1, 4, 4)) == 0


@pytest.mark.parametrize("place", [(0, 0, 0), (0, 0, 2), (0, 2, 2)], ids=["corner", "first line", "last line"])
def test_one_changed_value_is_no_view(place):
    values = image(1, 3, 3)
    changed = values.clone()
    changed[place] += 0.5
    assert find_view(values, changed) == -1


def test_another_shape_is_no_view():
    assert find_view(image(1, 3, 3), image(1, 3, 4)) == find_view(image(1, 3, 3), image(2, 3, 3)) == -1
