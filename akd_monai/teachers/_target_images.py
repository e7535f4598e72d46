# SPDX-License-Identifier: Apache-2.0
"""Training images, read before a training without disturbing it."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence, Sized
from typing import Any

import torch
from monai.data import MetaTensor
from monai.engines import SupervisedTrainer
from monai.transforms import Randomizable
from monai.utils.enums import CommonKeys as Keys
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
            drawn = _flat([_drawn(items, index) for index in chosen[start : start + size]])
            image = _image(trainer, collate(_alike(drawn) if len(items) > 1 else drawn))
        yield image.as_tensor() if isinstance(image, MetaTensor) else image


def _flat(drawn: Sequence[Any]) -> list[Any]:
    """Return samples one by one, of which a transform may take several of an item."""
    flat: list[Any] = []
    for item in drawn:
        is_several = isinstance(item, list) and bool(item) and isinstance(item[0], Mapping)
        flat += item if is_several else [item]
    return flat


def _alike(samples: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the image of each sample, since those without labels have other entries."""
    return [{Keys.IMAGE: sample[Keys.IMAGE]} for sample in samples]


def _image(trainer: SupervisedTrainer, batch: Any) -> Any:
    if isinstance(batch, Mapping) and set(batch) == {Keys.IMAGE}:
        return batch[Keys.IMAGE].to(trainer.state.device)
    return trainer.prepare_batch(batch, trainer.state.device, trainer.non_blocking)[0]


def _items(trainer: SupervisedTrainer) -> list[Any]:
    """Return the training's data set with a copy of its random transforms, and that of the images without labels."""
    loader = trainer.data_loader
    further = getattr(getattr(trainer, "unlabelled", None), "dataset", None)
    own = getattr(loader, "dataset", None)
    if own is None:
        raise InputError(
            f"teacher_norm 'target' needs a loader with a data set, got {type(loader).__name__}",
            remedy="give a torch DataLoader, or adapt the teacher yourself with akd_monai.teachers.adapt_batch_norm",
        )
    if isinstance(own, IterableDataset) or not isinstance(own, Sized):
        raise InputError(
            f"teacher_norm 'target' needs training data with a length, and {type(own).__name__} has none",
            remedy="use a data set with __len__ and __getitem__, or set teacher_norm to stored",
        )
    return [_with_own_transform(own), *([] if further is None else [further])]


def _with_own_transform(dataset: Any) -> Any:
    if not isinstance(getattr(dataset, "transform", None), Randomizable):
        return dataset
    own = copy.copy(dataset)
    own.transform = copy.deepcopy(dataset.transform)
    return own


def _drawn(datasets: list[Any], index: int) -> Any:
    """Return an item of the training's data set or, past its end, of the images without labels."""
    first = datasets[0]
    if index >= len(first):
        # those are drawn by round and index
        return datasets[1][(0, index - len(first))]
    if isinstance(getattr(first, "transform", None), Randomizable):
        first.transform.set_random_state(seed=random_key(_KEY, index))
    return first[index]
