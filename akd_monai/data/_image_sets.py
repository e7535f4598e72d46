# SPDX-License-Identifier: Apache-2.0
"""Data sets of images without labels, prepared and augmented as those of a training, and drawn by key."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from monai.data import CacheDataset, SmartCacheDataset
from monai.data import Dataset as MonaiDataset
from monai.transforms import Randomizable
from monai.utils.enums import CommonKeys as Keys
from torch.utils.data import Dataset

from akd_monai.data._without_label import without_labels
from akd_monai.data.slices import SliceDataset
from akd_monai.errors import InputError, one_line
from akd_monai.keys import random_key
from akd_monai.names import case_name

__all__ = ["KeyedImages", "image_set"]

Transforms = Callable[..., Any] | Sequence[Callable[..., Any]]

_REMEDY = "give unlabelled_transform, the transforms of such an image, as a list or a Compose"


class KeyedImages(Dataset[Any]):
    """Items of a data set of MONAI, whose random transforms are a function of (seed, round, index).

    Args:
        dataset: the images; its transform must be reachable as ``transform``.
        seed: of the random transforms.

    Attributes:
        data: the cases.
    """

    def __init__(self, dataset: MonaiDataset, seed: int) -> None:
        self.dataset = dataset
        self.data = dataset.data
        self.seed = seed

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: tuple[int, int]) -> Any:
        """Return item ``index[1]`` as it is drawn in round ``index[0]``; no other random numbers are touched."""
        key = random_key(self.seed, *index)
        if isinstance(self.dataset.transform, Randomizable):
            self.dataset.transform.set_random_state(seed=key)
        with _globally_seeded(key):
            return self.dataset[index[1]]


def image_set(
    dataset: Any, images: Sequence[Mapping[str, Any]], *, seed: int, transform: Transforms | None = None
) -> Dataset[Any]:
    """Return ``images`` as a data set like that of a training, but without labels.

    Its index is a pair (round, number). Volumes are cached where those of the training are.

    Args:
        dataset: of the training: a :class:`~akd_monai.data.SliceDataset`, or a data set of MONAI.
        images: cases; their entry ``"label"``, if they have one, is not passed on.
        seed: of the random transforms.
        transform: in place of the training's own, whose label keys may be missing.

    Raises:
        InputError: if the transforms of the training cannot be applied to an image without label, or are not known.
    """
    bare = [{key: value for key, value in case.items() if key != Keys.LABEL} for case in images]
    if isinstance(dataset, SliceDataset):
        return dataset.of_images(bare, seed=seed, transform=transform)
    own = getattr(dataset, "transform", None)
    if transform is None and not (isinstance(dataset, MonaiDataset) and callable(own)):
        raise InputError(
            f"the student's data set {type(dataset).__name__} does not say how an image is prepared", remedy=_REMEDY
        )
    chosen = without_labels(own) if transform is None else transform
    try:
        keyed = KeyedImages(_stored(dataset, bare, chosen), seed)
        # what cannot be prepared is said before the run begins
        keyed[0, 0]
    except Exception as error:
        raise _refusal(bare[0], error, is_own=transform is None) from error
    return keyed


def _stored(dataset: Any, images: list[dict[str, Any]], transform: Any) -> MonaiDataset:
    if not isinstance(dataset, CacheDataset) or isinstance(dataset, SmartCacheDataset) or not dataset.cache_num:
        return MonaiDataset(images, transform)
    return CacheDataset(images, transform, num_workers=dataset.num_workers, progress=False)


def _refusal(case: Mapping[str, Any], error: Exception, *, is_own: bool) -> InputError:
    cause: BaseException = error
    while cause.__cause__ is not None and not isinstance(cause, InputError):
        cause = cause.__cause__
    whose = "the student's training transforms" if is_own else "unlabelled_transform"
    return InputError(
        f"unlabelled image {case_name(case)} cannot be prepared by {whose} ({type(cause).__name__}: {one_line(cause, 150)})",
        remedy=_REMEDY,
    )


@contextmanager
def _globally_seeded(key: int) -> Iterator[None]:
    """Seed the generators that transforms may share with the labelled images, and give them back as they were."""
    numpy_state = np.random.get_state()
    python_state = random.getstate()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(key)
        np.random.seed(key)
        random.seed(key)
        try:
            yield
        finally:
            np.random.set_state(numpy_state)
            random.setstate(python_state)
