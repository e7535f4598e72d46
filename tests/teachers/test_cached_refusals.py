# SPDX-License-Identifier: Apache-2.0
"""What a teacher cache asks of data sets and transforms, and refuses where it is not given."""

from __future__ import annotations

import pytest
from monai.transforms import Compose, RandAffined, RandGaussianNoised
from teacher_tools import BOTH, VIEWS, cases, run
from torch.utils.data import Dataset

from akd_monai.data import SliceDataset
from akd_monai.data.identified import IdentifiedSlices, missing_members
from akd_monai.data.views import apply_view
from akd_monai.errors import InputError
from akd_monai.identity import volume_key


class Images(Dataset):
    """A data set that knows nothing of this package: images and labels."""

    def __init__(self) -> None:
        self.cases = cases()

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index):
        _, number = index
        case = self.cases[number % 8 // 4]
        return {key: case[key][..., number % 4] for key in BOTH}


class Own(Images):
    """The same, saying which slices its images are; every second draw of a slice is turned."""

    views = 8

    def __init__(self) -> None:
        super().__init__()
        self.slices = [(number // 4, number % 4) for number in range(8)]
        self.volume_keys: list[str] = []

    def identify_slices(self) -> None:
        self.volume_keys = [volume_key(case["image"]) for case in self.cases]

    def __getitem__(self, index):
        item = super().__getitem__(index)
        view = 5 * (index[0] % 2)
        about = {"case_id": f"B/{index[1] % 8 // 4}", "slice_index": index[1] % 4, "view": view}
        if self.volume_keys:
            about["volume_key"] = self.volume_keys[index[1] % 8 // 4]
        return {key: apply_view(value, view).contiguous() for key, value in item.items()} | about


def test_a_data_set_of_ones_own_is_served(tmp_path):
    online = run(dataset=Own(), steps=20)
    filling = run(tmp_path, dataset=Own(), steps=20)
    assert isinstance(Own(), IdentifiedSlices)
    assert online.terms == filling.terms
    assert filling.images - 1 == 16  # eight slices in two views
    assert run(tmp_path, dataset=Own(), steps=20).images == 0


def test_slices_are_identified_by_the_data_set_alone(tmp_path):
    """Nothing is put into the data set from outside."""
    dataset = SliceDataset(cases(), Compose(list(VIEWS)), background_ratio=None)
    before = set(vars(dataset))
    run(tmp_path, dataset=dataset, steps=5)
    assert set(vars(dataset)) == before
    assert dataset.volume_keys == [volume_key(dataset._volumes[number]["image"]) for number in range(2)]


@pytest.mark.parametrize(
    "transform",
    [RandGaussianNoised("image", prob=1.0), RandAffined(BOTH, prob=1.0, rotate_range=0.3)],
    ids=["noise", "rotation"],
)
def test_other_random_transforms_are_refused(tmp_path, transform):
    with pytest.raises(InputError, match=r"slice \d of case A/\d was changed by more than flips and quarter turns"):
        run(tmp_path, transforms=(*VIEWS, transform))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("gone", "named"),
    [
        (["identify_slices", "slices", "views", "volume_keys"], "identify_slices, slices, views, volume_keys"),
        (["views"], "views"),
    ],
)
def test_what_a_data_set_lacks_is_named(tmp_path, gone, named):
    dataset = Images()
    kept = {"slices": [], "volume_keys": [], "views": 8, "identify_slices": lambda: None}
    for name, value in kept.items():
        if name not in gone:
            setattr(dataset, name, value)
    assert missing_members(dataset) == gone
    with pytest.raises(InputError) as caught:
        run(tmp_path, dataset=dataset)
    assert f"data set Images cannot give them, because it lacks {named} of akd_monai.data.IdentifiedSlices" in str(
        caught.value
    )
    assert not list(tmp_path.iterdir())


def test_a_data_set_that_identifies_nothing_is_told_so(tmp_path):
    class Silent(Own):
        def identify_slices(self) -> None:
            """Promise more than is kept."""

    with pytest.raises(InputError, match="which Silent does not give although identify_slices was called"):
        run(tmp_path, dataset=Silent())


def test_an_image_that_is_not_what_its_view_says_is_refused(tmp_path):
    class Liar(SliceDataset):
        def __getitem__(self, index):
            item = super().__getitem__(index)
            return item | {"image": item["image"] + index[0]}

    liar = Liar(cases(), Compose(list(VIEWS)), background_ratio=None, identify=True)
    with pytest.raises(
        InputError, match=r"slice \d of case A/\d in view \d is not the image that the teacher's stored outputs"
    ):
        run(tmp_path, dataset=liar)


def test_a_view_turned_the_wrong_way_is_refused(tmp_path):
    class Wrong(Own):
        def __getitem__(self, index):
            return super().__getitem__(index) | {"view": 0}

    with pytest.raises(InputError, match=r"slice \d of case B/\d in view 0 is not the image"):
        run(tmp_path, dataset=Wrong(), steps=20)
