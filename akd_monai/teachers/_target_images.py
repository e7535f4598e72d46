# SPDX-License-Identifier: Apache-2.0
"""Training images, read before a training without disturbing it."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sized
from typing import Any

import torch
from monai.data import MetaTensor
from monai.engines import SupervisedTrainer
from monai.transforms import Randomizable
from torch import Tensor
from torch.utils.data import IterableDataset, default_collate

from akd_monai.errors import InputError
from akd_monai.keys import random_key
from akd_monai.teachers._kept_random import kept_random_states

__all__ = ["image_batches"]

# items of one batch, enough for the mean and variance of a layer that pools its input to one pixel
_ITEMS = 8
_KEY = "teacher_norm"


def image_batches(trainer: SupervisedTrainer, count: int) -> Iterator[Tensor]:
    """Yield batches of at most ``count`` training images ``[B, C, *spatial]``, and none of their labels.

    They are drawn from the data sets themselves, those without labels included, by a permutation that depends on their
    length alone, and are augmented by transforms seeded by the index: the same ones whatever the loader's workers,
    sampler and state are, which stay as they were. Batches have eight items; a smaller last one is left out.

    Raises:
        InputError: for data that have no length, or a single image.
    """
    items = _items(trainer)
    total = sum(len(dataset) for dataset in items)
    if total < 2:
        raise InputError(
            f"teacher_norm 'target' needs at least 2 training images, got {total}", remedy="set it to stored"
        )
    generator = torch.Generator().manual_seed(random_key(_KEY, total))
    chosen = torch.randperm(total, generator=generator)[:count].tolist()
    size = min(_ITEMS, len(chosen))
    collate = getattr(trainer.data_loader, "collate_fn", None) or default_collate
    for start in range(0, len(chosen) - size + 1, size):
        with kept_random_states(random_key(_KEY, total, start)):
            drawn = [_drawn(items, index) for index in chosen[start : start + size]]
            image = trainer.prepare_batch(collate(drawn), trainer.state.device, trainer.non_blocking)[0]
        yield image.as_tensor() if isinstance(image, MetaTensor) else image


def _items(trainer: SupervisedTrainer) -> list[Any]:
    """Return data sets whose random transforms are copies of those of the training."""
    loader = trainer.data_loader
    further = getattr(getattr(trainer, "unlabelled", None), "dataset", None)
    datasets = [dataset for dataset in (getattr(loader, "dataset", None), further) if dataset is not None]
    for dataset in datasets:
        if isinstance(dataset, IterableDataset) or not isinstance(dataset, Sized):
            raise InputError(
                f"teacher_norm 'target' needs training data with a length, and {type(dataset).__name__} has none",
                remedy="use a data set with __len__ and __getitem__, or set teacher_norm to stored",
            )
    if not datasets:
        raise InputError(
            f"teacher_norm 'target' needs a loader with a data set, got {type(loader).__name__}",
            remedy="give a torch DataLoader, or adapt the teacher yourself with akd_monai.teachers.adapt_batch_norm",
        )
    return [_with_own_transform(dataset) for dataset in datasets]


def _with_own_transform(dataset: Any) -> Any:
    if not isinstance(getattr(dataset, "transform", None), Randomizable):
        return dataset
    own = copy.copy(dataset)
    own.transform = copy.deepcopy(dataset.transform)
    return own


def _drawn(datasets: list[Any], index: int) -> Any:
    for dataset in datasets:
        if index < len(dataset):
            if isinstance(getattr(dataset, "transform", None), Randomizable):
                dataset.transform.set_random_state(seed=random_key(_KEY, index))
            return dataset[index]
        index -= len(dataset)
    raise IndexError(index)
