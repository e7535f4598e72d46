# SPDX-License-Identifier: Apache-2.0
"""Slices for training: a volume is read and prepared once, and slices are drawn from it."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, Transform
from monai.transforms.traits import RandomizableTrait
from numpy.typing import NDArray
from torch.utils.data import Dataset

from akd_monai.data._case_transform import FOREGROUND, CaseTransform, case_error
from akd_monai.data._prepared_volumes import prepared_volumes
from akd_monai.data._without_label import without_labels
from akd_monai.data.identified import SLICE_INDEX, VIEW, VOLUME_KEY
from akd_monai.data.views import VIEWS, find_view
from akd_monai.errors import InputError
from akd_monai.identity import volume_key
from akd_monai.keys import random_key
from akd_monai.names import case_name

__all__ = ["SliceDataset"]

logger = logging.getLogger(__name__)

Flags = NDArray[np.bool_]


class SliceDataset(Dataset[Any]):
    """Axial slices ``[C, H, W]`` of volumes, whose random transforms are a function of (seed, epoch, index).

    ``transform`` is divided at its first random transform. The part before it is run once a volume, on
    ``[C, H, W, D]``, and kept; the rest is run for each slice, on ``[C, H, W]``. An index is an integer (epoch 0), or a
    pair (epoch, integer) as :class:`~akd_monai.data.sampler.KeyedSampler` yields it; indices past the end wrap around
    to the same slices with another seed. The same index gives the same item in any process.

    Slices with foreground are all kept, and for each case ``background_ratio`` times as many without, chosen by
    (seed, case).

    Args:
        data: cases, for example of :func:`~akd_monai.data.datalist`; ``"image"`` and ``"label"`` are enough.
        transform: dictionary transforms; nested ``Compose`` are flattened.
        seed: seed of the random transforms and of the choice of background slices.
        keys: entries of an item; the first one must exist in every case.
        label_key: the entry whose values above 0 are foreground. Cases without it keep all slices.
        background_ratio: background slices kept for each slice with foreground, at least 0; ``None`` keeps all.
        cache_rate: share of the volumes kept in memory; the others are prepared again for each slice.
        num_workers: threads that prepare volumes when the data set is made.
        cache_dir: a folder to keep the volumes in instead of memory. Replaced files and changed parameters are noticed.
        progress: whether to show a bar while volumes are prepared.
        identify: also say in each item which image it is, as a teacher cache needs it: ``"volume_key"``, a hash of the
            prepared volume, and ``"view"``, which of the eight flips and quarter turns the random transforms made
            (:func:`~akd_monai.data.views.apply_view`), -1 where they changed the image in another way.

    Attributes:
        data: the cases, as given.
        slices: (index of the case, index of the slice along the last axis) for each item.
        volume_keys: the hash of each case's volume; empty unless slices are identified.
        views: how many views of a slice there may be: 1 without random transforms, else 8.

    Raises:
        InputError: for an empty list, a case that cannot be prepared (naming case and file), cases with and without
            label in one list, or cases whose slices differ in size and cannot be put into one batch.

    Example:
        >>> from monai.transforms import EnsureTyped, RandFlipd
        >>> case = {"image": torch.rand(1, 8, 8, 5), "label": torch.ones(1, 8, 8, 5), "case_id": "A/Case00"}
        >>> slices = SliceDataset([case], Compose([EnsureTyped(("image", "label")), RandFlipd("image", prob=0.5)]))
        >>> len(slices), slices[3]["image"].shape, slices[3]["case_id"], slices[3]["slice_index"]
        (5, torch.Size([1, 8, 8]), 'A/Case00', 3)
        >>> torch.equal(slices[(7, 3)]["image"], slices[(7, 3)]["image"])
        True
    """

    def __init__(
        self,
        data: Sequence[Mapping[str, Any]],
        transform: Compose,
        *,
        seed: int = 0,
        keys: Sequence[str] = ("image", "label"),
        label_key: str = "label",
        background_ratio: float | None = 0.25,
        cache_rate: float = 1.0,
        num_workers: int = 1,
        cache_dir: str | os.PathLike[str] | None = None,
        progress: bool = False,
        identify: bool = False,
    ) -> None:
        self.data = data
        self._made_with: dict[str, Any] = {
            "transform": transform,
            "seed": seed,
            "label_key": label_key,
            "cache_rate": cache_rate,
            "num_workers": num_workers,
            "cache_dir": cache_dir,
            "progress": progress,
        }
        self.seed = seed
        self.keys = (keys,) if isinstance(keys, str) else tuple(keys)
        _check_ratio(background_ratio)
        _check_cases(data, self.keys, label_key)
        fixed, self._random = _divide(transform, self.keys, label_key)
        self.views = VIEWS if self._random.transforms else 1
        self._volumes = prepared_volumes(
            data, fixed, cache_dir=cache_dir, cache_rate=cache_rate, num_workers=num_workers, progress=progress
        )
        self.identify = identify
        facts = [self._facts(case_index) for case_index in range(len(data))]
        self.volume_keys = [fact.volume_id for fact in facts if fact.volume_id is not None]
        self.slices = self._choose([fact.foreground for fact in facts], background_ratio)
        self._check_shapes([fact.shape for fact in facts])

    def __len__(self) -> int:
        return len(self.slices)

    def __getitem__(self, index: int | tuple[int, int]) -> Any:
        """Return ``{"image", "label", "case_id", "slice_index"}``; tensors are plain and belong to the caller."""
        if isinstance(index, (tuple, list)):
            epoch, number = (int(part) for part in index)
        else:
            epoch = 0
            number = int(index)
            if not -len(self) <= number < len(self):
                raise IndexError(f"slice {number} of {len(self)}")
            number %= len(self)
        case_index, position = self.slices[number % len(self)]
        return self._draw(case_index, position, random_key(self.seed, epoch, number))

    def of_images(self, data: Sequence[Mapping[str, Any]], *, seed: int, transform: Any | None = None) -> SliceDataset:
        """Return the slices of images without labels, prepared, augmented and cached as those of this data set.

        All slices of a volume are kept, since nothing says which hold foreground.

        Args:
            data: cases; a label that they have is not read.
            seed: of the random transforms.
            transform: in place of this data set's own, whose label keys may be missing.

        Raises:
            InputError: as for this data set.
        """
        made = dict(self._made_with)
        label_key = made["label_key"]
        made["seed"] = seed
        made["transform"] = without_labels(made["transform"]) if transform is None else transform
        images = [{key: value for key, value in case.items() if key != label_key} for case in data]
        keys = [key for key in self.keys if key != label_key]
        return SliceDataset(images, keys=keys, background_ratio=None, **made)

    def identify_slices(self) -> None:
        """Say in each item from now on which image it is, as ``identify`` does from the start."""
        if not self.identify:
            volumes = (self._volumes[case_index] for case_index in range(len(self.data)))
            self.volume_keys = [volume_key(volume[self.keys[0]]) for volume in volumes]
            self.identify = True

    def _facts(self, case_index: int) -> _Facts:
        # all at once: a volume that is not kept is prepared for it
        volume = self._volumes[case_index]
        image = volume[self.keys[0]]
        return _Facts(
            foreground=volume[FOREGROUND].numpy().copy(),
            shape=image.shape[1:],
            volume_id=volume_key(image) if self.identify else None,
        )

    def _choose(self, foreground: Sequence[Flags], ratio: float | None) -> list[tuple[int, int]]:
        if ratio is not None and not any(flags.any() for flags in foreground):
            logger.warning("no slice of %d cases holds foreground; all slices are kept as background.", len(foreground))
            ratio = None
        chosen = []
        for case_index, flags in enumerate(foreground):
            kept = np.ones_like(flags)
            if ratio is not None:
                kept = _with_background(flags, ratio, self.seed, case_name(self.data[case_index]))
            chosen += [(case_index, int(position)) for position in np.flatnonzero(kept)]
        return chosen

    def _check_shapes(self, shapes: Sequence[torch.Size]) -> None:
        first_of_shape = sorted(shapes.index(shape) for shape in set(shapes))
        if len(first_of_shape) < 2:
            return
        # drawn, not computed: a random crop may well bring different sizes to one
        drawn = {case_index: self._shape_drawn(case_index) for case_index in first_of_shape}
        for case_index, shape in drawn.items():
            if shape != drawn[0]:
                first = case_name(self.data[0])
                other = case_name(self.data[case_index])
                raise InputError(
                    f"slices of case {first} are {drawn[0]}, those of case {other} {shape}, and cannot share a batch;"
                    " bring them to one size with Resized or a crop."
                )

    def _shape_drawn(self, case_index: int) -> list[int]:
        drawn = self._draw(case_index, 0, 0)
        item = drawn[0] if isinstance(drawn, list) else drawn
        return list(item[self.keys[0]].shape)

    def _draw(self, case_index: int, position: int, key: int) -> Any:
        volume = self._volumes[case_index]
        case = self.data[case_index]
        item = {name: volume[name][position].clone() for name in self.keys if name in volume}
        self._random.set_random_state(seed=key)
        try:
            result = self._random(item)
        except Exception as error:
            raise case_error(case, error) from error
        about = {"case_id": case_name(case), SLICE_INDEX: position}
        if self.identify:
            about[VOLUME_KEY] = self.volume_keys[case_index]
        before = volume[self.keys[0]][position]
        # a transform that takes several samples of a slice returns a list
        if isinstance(result, list):
            return [self._described(sample, about, before) for sample in result]
        return self._described(result, about, before)

    def _described(self, sample: Mapping[str, Any], about: Mapping[str, Any], before: torch.Tensor) -> dict[str, Any]:
        item = {**_plain(sample), **about}
        if self.identify:
            # compared, not concluded from the transforms' names: what counts is that no value has changed
            item[VIEW] = find_view(before, item[self.keys[0]])
        return item


@dataclass(frozen=True)
class _Facts:
    """Facts about a prepared volume: which slices have foreground, ``[C, H, W]`` of a slice, the hash if wanted."""

    foreground: Flags
    shape: torch.Size
    volume_id: str | None


def _check_ratio(ratio: float | None) -> None:
    if ratio is not None and not 0 <= ratio < float("inf"):
        raise InputError(f"background_ratio must be 0 or more, or null to keep all slices, got {ratio}.")


def _check_cases(data: Sequence[Mapping[str, Any]], keys: Sequence[str], label_key: str) -> None:
    if not len(data):
        raise InputError("there is no case to take slices from; check dataset_dir, sites and part.")
    without = [case for case in data if label_key not in case]
    if label_key in keys and 0 < len(without) < len(data):
        raise InputError(
            f"case {case_name(without[0])} has no {label_key!r}, other cases have one;"
            " a batch cannot hold both: add the mask or leave the case out."
        )


def _divide(transform: Compose, keys: Sequence[str], label_key: str) -> tuple[CaseTransform, Compose]:
    """Divide a composition before its first transform that is random or not known to be deterministic."""
    flat = (transform if isinstance(transform, Compose) else Compose(transform)).flatten()
    first = flat.get_index_of_first(lambda t: isinstance(t, RandomizableTrait) or not isinstance(t, Transform))
    if first is None:
        first = len(flat.transforms)
    settings = {"map_items": flat.map_items, "lazy": flat.lazy, "overrides": flat.overrides}
    fixed = CaseTransform(flat.transforms[:first], keys, label_key, **settings)
    return fixed, Compose(flat.transforms[first:], **settings)


def _with_background(foreground: Flags, ratio: float, seed: int, name: str) -> Flags:
    """Return which slices are kept: all with foreground, and ``ratio`` times as many of the others."""
    kept = foreground.copy()
    background = np.flatnonzero(~foreground)
    if len(background):
        count = min(len(background), round(ratio * int(foreground.sum())))
        generator = np.random.default_rng(random_key(seed, "background", name))
        kept[generator.choice(background, size=count, replace=False)] = True
    return kept


def _plain(item: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value.as_tensor() if isinstance(value, MetaTensor) else value for key, value in item.items()}
