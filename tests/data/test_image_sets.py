# SPDX-License-Identifier: Apache-2.0
"""Images without labels by the transforms of a training, and the stream in which they come."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest
import torch
from monai.data import CacheDataset, Dataset, list_data_collate
from monai.transforms import (
    Compose,
    CropForegroundd,
    EnsureTyped,
    RandCropByPosNegLabeld,
    RandFlipd,
    RandGaussianNoised,
    RandLambdad,
    Resized,
)
from torch.utils.data import DataLoader, TensorDataset
from unlabelled_tools import BOTH, cases

from akd_monai.data import SliceDataset, unlabelled_images
from akd_monai.data._image_sets import image_set
from akd_monai.data._image_stream import ImageStream
from akd_monai.data._without_label import without_labels
from akd_monai.errors import InputError

FLIP = RandFlipd(BOTH, spatial_axis=0, prob=0.5)
IMAGES = cases(3, first=7, labels=False)
LABELLED = cases(3, first=7)


def test_slices_are_those_of_the_labelled_data_set():
    """The same cases with labels, under the same seed: the images are the same, down to the augmentation."""
    resized = Compose(
        [Resized(BOTH, (6, 6, -1), mode=("trilinear", "nearest")), FLIP, RandGaussianNoised("image", prob=1.0)]
    )
    training = SliceDataset(LABELLED[:1], resized, seed=3)
    wanted = SliceDataset(LABELLED, resized, seed=5, background_ratio=None)
    found = image_set(training, LABELLED, seed=5)
    assert len(found) == len(wanted) == 9
    for index in [(0, 0), (4, 8), (9, 5)]:
        assert found[index].keys() == wanted[index].keys() - {"label"}
        torch.testing.assert_close(found[index]["image"], wanted[index]["image"], rtol=0, atol=0)


class Forbidden:
    """A label that nobody may touch."""

    def __getattribute__(self, name):
        raise AssertionError(f"a label was touched: {name}")


@pytest.mark.parametrize("kind", [SliceDataset, Dataset, CacheDataset])
def test_labels_are_never_touched(kind):
    training = kind(LABELLED, Compose([EnsureTyped(BOTH), FLIP]))
    touched = [{**case, "label": Forbidden()} for case in IMAGES]
    found = image_set(training, touched, seed=0)
    assert "label" not in found[0, 0]


@pytest.mark.parametrize("kind", [Dataset, CacheDataset])
def test_items_of_a_data_set_of_monai_are_a_function_of_their_index(kind):
    def shifted(value):
        return value + np.random.rand() + random.random() + torch.rand(())

    transform = Compose(
        [EnsureTyped(BOTH), FLIP, RandGaussianNoised("image", prob=1.0), RandLambdad("image", shifted, prob=1.0)]
    )
    keyed = image_set(kind(LABELLED, transform), IMAGES, seed=4)
    first = keyed[3, 1]["image"]
    assert not torch.equal(first, keyed[4, 1]["image"])
    torch.manual_seed(8)
    np.random.seed(8)
    random.seed(8)
    before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    assert torch.equal(first, keyed[3, 1]["image"])
    after = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    assert torch.equal(before[0], after[0])
    assert before[1:] == after[1:]


def test_crops_by_the_label_are_drawn_anywhere(caplog):
    crop = RandCropByPosNegLabeld(BOTH, label_key="label", spatial_size=(4, 4, 2), num_samples=3)
    with caplog.at_level("INFO"):
        keyed = image_set(Dataset(LABELLED, Compose([EnsureTyped(BOTH), crop])), IMAGES, seed=0)
    assert [item["image"].shape for item in keyed[0, 0]] == [(1, 4, 4, 2)] * 3
    assert "RandCropByPosNegLabeld crops anywhere, not by the label" in caplog.text
    assert isinstance(crop, RandCropByPosNegLabeld)


def test_the_students_own_transforms_are_not_changed():
    transform = Compose([EnsureTyped(BOTH), Compose([FLIP])])
    changed = without_labels(transform)
    assert not any(t.allow_missing_keys for t in transform.flatten().transforms)
    assert all(t.allow_missing_keys for t in changed.flatten().transforms)


def test_transforms_that_need_a_label_are_refused_unless_others_are_given():
    training = Dataset(LABELLED, Compose([EnsureTyped(BOTH), CropForegroundd(BOTH, source_key="label")]))
    words = (
        r"unlabelled image A/7 cannot be prepared by the student's training transforms \(KeyError: "
        r".*label.*give unlabelled_transform"
    )
    with pytest.raises(InputError, match=words):
        image_set(training, IMAGES, seed=0)
    with pytest.raises(InputError, match=words):
        image_set(CacheDataset(LABELLED, training.transform, progress=False), IMAGES, seed=0)
    found = image_set(training, IMAGES, seed=0, transform=[EnsureTyped("image")])
    torch.testing.assert_close(found[0, 2]["image"], IMAGES[2]["image"])
    with pytest.raises(InputError, match="cannot be prepared by unlabelled_transform"):
        image_set(training, IMAGES, seed=0, transform=[EnsureTyped("picture")])


def test_a_data_set_that_says_nothing_of_its_transforms_is_refused():
    with pytest.raises(
        InputError, match="data set TensorDataset does not say how an image is prepared; give unlabelled_transform"
    ):
        image_set(TensorDataset(torch.zeros(3)), IMAGES, seed=0)


def stream_of(size, batch_size, seed=1, workers=0):
    loader = DataLoader(TensorDataset(torch.zeros(3)), num_workers=workers, collate_fn=list_data_collate)
    return ImageStream(Numbers(size), batch_size, seed, loader)


class Numbers(torch.utils.data.Dataset):
    def __init__(self, size):
        self.size = size

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        return torch.tensor(index)


def test_each_round_holds_every_image_once():
    stream = stream_of(5, 3)
    drawn = [tuple(pair) for iteration in range(1, 11) for pair in stream.batch(iteration).tolist()]
    assert len(drawn) == 30
    assert [turn for turn, _ in drawn] == sorted(turn for turn, _ in drawn)
    assert Counter(drawn) == {(turn, number): 1 for turn in range(6) for number in range(5)}
    orders = {tuple(number for turn, number in drawn if turn == wanted) for wanted in range(6)}
    assert len(orders) > 1


@pytest.mark.parametrize("workers", [0, 2])
def test_the_stream_starts_anywhere_with_any_number_of_workers(workers):
    wanted = stream_of(7, 4)
    batches = [wanted.batch(iteration).tolist() for iteration in range(1, 7)]
    found = stream_of(7, 4, workers=workers)
    assert [found.batch(iteration).tolist() for iteration in (4, 5, 1, 6)] == [batches[n - 1] for n in (4, 5, 1, 6)]
    found.close()


def test_processes_share_an_iteration():
    alone = stream_of(6, 4)
    shared = [stream_of(6, 2), stream_of(6, 2)]
    for iteration in (1, 2, 3):
        parts = [stream.batch(iteration, rank, 2).tolist() for rank, stream in enumerate(shared)]
        assert parts[0] + parts[1] == alone.batch(iteration).tolist()


def test_loading_draws_no_random_number_of_the_training():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    stream_of(6, 2).batch(1)
    assert torch.equal(before, torch.get_rng_state())


def test_images_are_given_as_a_list_a_file_or_a_folder(tmp_path):
    for name in ("a.nii.gz", "b.nii.gz", "b_segmentation.nii.gz"):
        (tmp_path / name).touch()
    listed = tmp_path / "list.json"
    listed.write_text('[{"image": "a.nii.gz", "label": "x.nii.gz", "site": "HK"}, "other/c.nii.gz"]')
    placed = [{"image": str(tmp_path / "a.nii.gz"), "site": "HK"}, {"image": "other/c.nii.gz"}]
    assert unlabelled_images(str(listed)) == placed
    assert unlabelled_images(tmp_path) == [{"image": str(tmp_path / name)} for name in ("a.nii.gz", "b.nii.gz")]
    assert unlabelled_images(None) == []


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("no/such", "unlabelled_data 'no/such' does not exist; give a list of cases or paths, a JSON file"),
        (5, "unlabelled_data must be a path, got 5"),
        ([5], "entry 0 of unlabelled_data is a int; give a list"),
        (["a", {"label": "b"}], "entry 1 of unlabelled_data holds no image; give it an entry 'image'"),
    ],
)
def test_what_names_no_images_is_refused(given, words):
    with pytest.raises(InputError) as caught:
        unlabelled_images(given)
    assert words in str(caught.value)
