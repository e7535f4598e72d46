# SPDX-License-Identifier: Apache-2.0
"""What makes a data set one that identifies its slices."""

from __future__ import annotations

import pytest
import torch
from monai.transforms import Compose, RandFlipd

from akd_monai.data import IdentifiedSlices, SliceDataset
from akd_monai.data.identified import SLICE_INDEX, VIEW, VOLUME_KEY, missing_members
from akd_monai.identity import volume_key


def slices(**options) -> SliceDataset:
    cases = [{"image": torch.rand(1, 6, 6, 3), "label": torch.ones(1, 6, 6, 3)} for _ in range(2)]
    return SliceDataset(cases, Compose([RandFlipd("image", prob=0.5)]), **options)


def test_slices_of_the_package_are_identified_once_that_is_asked_for():
    dataset = slices()
    assert isinstance(dataset, IdentifiedSlices)
    assert VOLUME_KEY not in dataset[0]
    dataset.identify_slices()
    item = dataset[4]
    assert item[VOLUME_KEY] == dataset.volume_keys[1]
    assert item[SLICE_INDEX] == 1
    assert 0 <= item[VIEW] < dataset.views == 8
    assert dataset.volume_keys == slices_keys(dataset)


def slices_keys(dataset: SliceDataset) -> list[str]:
    return [volume_key(torch.as_tensor(case["image"])[..., :].movedim(-1, 0)) for case in dataset.data]


@pytest.mark.parametrize("gone", ["identify_slices", "slices", "views", "volume_keys"])
def test_each_member_is_needed(gone):
    members = {"identify_slices": lambda self: None, "slices": (), "views": 1, "volume_keys": ()}
    complete = type("Own", (), members)()
    lacking = type("Own", (), {name: value for name, value in members.items() if name != gone})()
    assert isinstance(complete, IdentifiedSlices)
    assert missing_members(complete) == []
    assert not isinstance(lacking, IdentifiedSlices)
    assert missing_members(lacking) == [gone]
