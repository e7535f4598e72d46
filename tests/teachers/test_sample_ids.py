# SPDX-License-Identifier: Apache-2.0
"""What a batch says of its images."""

from __future__ import annotations

import pytest
import torch

from akd_monai.errors import InputError
from akd_monai.teachers._identity import sample_key
from akd_monai.teachers._sample_ids import SampleId, sample_ids


def batch(**changes):
    plain = {
        "volume_key": ["ab", "cd"],
        "slice_index": torch.tensor([3, 4]),
        "view": torch.tensor([0, 7]),
        "case_id": ["A/1", "B/2"],
    }
    return plain | changes


def test_each_image_has_volume_slice_view_and_name():
    assert sample_ids(batch(), 2) == [SampleId("ab", 3, 0, "case A/1"), SampleId("cd", 4, 7, "case B/2")]
    nameless = {key: value for key, value in batch().items() if key != "case_id"}
    assert [sample.name for sample in sample_ids(nameless, 2)] == ["volume ab", "volume cd"]


def test_each_part_belongs_to_the_key():
    one = SampleId("ab", 3, 0, "x")
    assert one.key == sample_key("ab", 3, 0) == SampleId("ab", 3, 0, "y").key
    others = [SampleId("abc", 3, 0, "x"), SampleId("ab", 4, 0, "x"), SampleId("ab", 3, 1, "x")]
    assert len({one.key, *(other.key for other in others)}) == 4
    assert len(one.key) == 16


@pytest.mark.parametrize(
    ("changes", "count", "message"),
    [
        ({}, 4, "a batch of 4 images names 2 volumes, 2 slices and 2 views; a transform that makes several samples"),
        ({"view": torch.tensor([0, -1])}, 2, "slice 4 of case B/2 was changed by more than flips and quarter turns"),
        ({"view": torch.tensor([8, 0])}, 2, "slice 3 of case A/1 was changed by more than flips and quarter turns"),
        ({"volume_key": torch.tensor([0, 1])}, 2, "'volume_key' of a batch must hold strings, .* got 0"),
    ],
)
def test_what_cannot_be_used_is_refused(changes, count, message):
    with pytest.raises(InputError, match=message):
        sample_ids(batch(**changes), count)
