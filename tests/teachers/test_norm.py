# SPDX-License-Identifier: Apache-2.0
"""Batch statistics of a teacher on other images: by hand, without labels, and without a trace in the training."""

from __future__ import annotations

import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from monai.data import CacheDataset, DataLoader, Dataset
from monai.transforms import Compose, RandGaussianNoised
from teacher_tools import Net, cases
from torch import nn
from torch.utils.data import DataLoader as TorchLoader

from akd_monai.data import SliceDataset
from akd_monai.errors import InputError
from akd_monai.teachers import adapt_batch_norm
from akd_monai.teachers._target_images import image_batches
from akd_monai.teachers._target_norm import TargetNorm


def images(count: int = 24) -> torch.Tensor:
    return torch.rand(count, 1, 11, 11, generator=torch.Generator().manual_seed(2)) * 3 + 1


def network() -> Net:
    torch.manual_seed(1)
    return Net(4, 2)


def test_statistics_are_the_mean_over_batches_by_hand():
    teacher = network()
    # as after a training
    teacher.body[1].running_mean.fill_(7)
    teacher.body[1].num_batches_tracked.fill_(100)
    before = {name: value.clone() for name, value in teacher.named_parameters()}
    assert adapt_batch_norm(teacher, images().split(8)) == 24
    with torch.no_grad():
        maps = teacher.body[0](images()).double().numpy()
    means = []
    variances = []
    for batch in np.split(maps, 3):
        pixels = batch.transpose(1, 0, 2, 3).reshape(4, -1)
        means.append(pixels.mean(1))
        variances.append(pixels.var(1, ddof=1))
    np.testing.assert_allclose(teacher.body[1].running_mean.double(), np.mean(means, 0), rtol=1e-5)
    np.testing.assert_allclose(teacher.body[1].running_var.double(), np.mean(variances, 0), rtol=1e-5)
    assert all(torch.equal(value, before[name]) for name, value in teacher.named_parameters())
    assert teacher.body[1].momentum == 0.1
    assert not any(module.training for module in teacher.modules())


def test_dropout_stays_off_so_that_two_estimates_are_equal():
    deep = nn.Sequential(nn.Dropout(0.5), nn.BatchNorm2d(1))
    adapt_batch_norm(deep, [images()])
    np.testing.assert_allclose(deep[1].running_mean.item(), images().mean().item(), rtol=1e-6)


@pytest.mark.parametrize(
    ("teacher", "batches", "message"),
    [
        (nn.Sequential(nn.InstanceNorm2d(1)), [images()], "Sequential has no batch normalisation with stored"),
        (nn.BatchNorm2d(1, track_running_stats=False), [images()], "set teacher_norm to stored"),
        (nn.BatchNorm2d(1), [], "there is no image to re-estimate batch statistics on"),
        (nn.BatchNorm2d(1), [torch.ones(1, 1, 1, 1)], r"cannot take statistics of a batch of shape \[1, 1, 1, 1\]"),
    ],
)
def test_what_has_no_statistics_is_refused_and_keeps_what_it_had(teacher, batches, message):
    if getattr(teacher, "running_mean", None) is not None:
        teacher.running_mean.fill_(5)
    with pytest.raises(InputError, match=message):
        adapt_batch_norm(teacher, batches)
    if getattr(teacher, "running_mean", None) is not None:
        assert teacher.running_mean.item() == 5
        assert teacher.momentum == 0.1


def prepared(batch, device, non_blocking):
    return batch["image"], None


def trainer_of(loader, **changes):
    about = {"data_loader": loader, "prepare_batch": prepared, "state": SimpleNamespace(device="cpu")}
    return SimpleNamespace(**{**about, "non_blocking": False, **changes})


def volumes(count: int = 20) -> list[dict]:
    return [{"image": one, "label": torch.full_like(one, 9)} for one in images(count)]


def shifted(item: dict) -> dict:
    """A transform that draws from NumPy's global generator."""
    return {**item, "image": item["image"] + np.random.rand()}


def noisy(kind=Dataset, workers: int = 0):
    transforms = Compose([RandGaussianNoised("image", prob=1.0, std=1.0, sample_std=False), shifted])
    dataset = kind(volumes(), transforms, **_options(kind))
    return dataset, trainer_of(DataLoader(dataset, batch_size=3, num_workers=workers, shuffle=True))


def _options(kind) -> dict:
    return {"progress": False} if kind is CacheDataset else {}


@pytest.mark.parametrize("kind", [Dataset, CacheDataset])
def test_images_are_the_same_however_they_are_loaded_and_disturb_nothing(kind):
    """Their noise is keyed: the training's own generators, and those of the process, stay where they were."""
    dataset, trainer = noisy(kind)
    dataset.transform.set_random_state(seed=4)
    np.random.seed(4)
    random.seed(4)
    torch.manual_seed(4)
    expected = (dataset[0]["image"], np.random.rand(), random.random(), torch.rand(1))
    # another state, which the images must not depend on
    np.random.seed(5)
    first = torch.cat(list(image_batches(trainer, 16)))
    dataset, other = noisy(kind, workers=4)
    dataset.transform.set_random_state(seed=4)
    np.random.seed(4)
    random.seed(4)
    torch.manual_seed(4)
    assert torch.equal(torch.cat(list(image_batches(other, 16))), first)
    assert first.shape == (16, 1, 11, 11)
    assert torch.equal(dataset[0]["image"], expected[0])
    assert (np.random.rand(), random.random(), torch.rand(1)) == expected[1:]
    clean = images(20).flatten(1)
    assert all((clean - one.flatten()).abs().mean(1).min() > 0.3 for one in first)


def test_no_label_is_read_of_what_is_drawn_and_images_without_labels_count():
    slices = SliceDataset(cases(), Compose([]), background_ratio=None)
    further = slices.of_images(cases(shift=50.0), seed=0)
    loader = TorchLoader(slices, batch_size=4)
    assert "label" not in further[0]
    batches = list(image_batches(trainer_of(loader, unlabelled=SimpleNamespace(dataset=further)), 100))
    # 8 slices with labels and 8 without, each once
    values = torch.cat(batches).flatten(1).mean(1)
    assert [len(batch) for batch in batches] == [8, 8]
    assert int((values > 40).sum()) == 8


def test_a_smaller_last_batch_is_left_out_and_too_little_data_is_refused():
    loader = TorchLoader(volumes(19), batch_size=4)
    assert [len(batch) for batch in image_batches(trainer_of(loader), 100)] == [8, 8]
    assert [len(batch) for batch in image_batches(trainer_of(loader), 3)] == [3]
    with pytest.raises(InputError, match="needs at least 2 training images, got 1; set it to stored"):
        list(image_batches(trainer_of(TorchLoader(volumes(1))), 100))
    with pytest.raises(InputError, match="needs a loader with a data set, got list"):
        list(image_batches(trainer_of([]), 100))


def test_statistics_that_were_saved_are_put_back_and_not_estimated_again():
    _, trainer = noisy()
    norm = TargetNorm([network()], 16)
    assert norm.state_dict() == {}
    norm.start(trainer)
    saved = norm.state_dict()
    teacher = network()
    resumed = TargetNorm([teacher], 16)
    resumed.load_state_dict(saved)
    # without a loader, it would fail if it read anything
    resumed.start(SimpleNamespace())
    assert torch.equal(teacher.body[1].running_mean, norm.networks[0].body[1].running_mean)
    assert not torch.equal(teacher.body[1].running_mean, network().body[1].running_mean)
    with pytest.raises(ValueError, match="statistics of another network"):
        TargetNorm([nn.Sequential(nn.BatchNorm2d(1), nn.BatchNorm2d(1))], 16).load_state_dict(saved)
