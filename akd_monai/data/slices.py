# SPDX-License-Identifier: Apache-2.0
"""Slices for training: a volume is read and prepared once, and slices are drawn from it."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, Transform
from monai.transforms.traits import RandomizableTrait
from torch.utils.data import Dataset

from akd_monai.data.find_view import find_view
from akd_monai.data.views import VIEWS
from akd_monai.data.volume_cache import FOREGROUND, CaseTransform, case_error, volume_source
from akd_monai.errors import InputError
from akd_monai.identity import volume_key
from akd_monai.keys import random_key
from akd_monai.names import case_name

_LOGGER = logging.getLogger(__name__)


class SliceDataset(Dataset):
    """Axial slices ``[C, H, W]`` of volumes; what is random about a slice is a function of (seed, epoch, index).

    ``transform`` is divided at its first random transform. What stands before is run once a volume, on
    ``[C, H, W, D]``, and kept; what stands from there on is run for each slice, on ``[C, H, W]``. An index is a number
    (epoch 0), or a pair (epoch, number) as :class:`~akd_monai.data.sampler.KeyedSampler` yields it; numbers behind the
    end begin again at the first slice under another key. The same index gives the same item in any process.

    Slices with foreground are all kept, and for each case ``background_ratio`` times as many without, chosen by
    (seed, case).

    Args:
        data: cases, for example of :func:`~akd_monai.data.splits.datalist`; ``"image"`` and ``"label"`` are enough.
        transform: dictionary transforms; nested ``Compose`` are taken apart.
        seed: key of the random transforms and of the choice of background slices.
        keys: entries of an item; the first one must exist in every case.
        label_key: the entry whose values above 0 are foreground. Cases without it keep all slices.
        background_ratio: background slices kept for each slice with foreground, at least 0; ``None`` keeps all.
        cache_rate: share of the volumes kept in memory; the others are prepared anew for each slice.
        num_workers: threads that prepare volumes when the data set is made.
        cache_dir: a folder to keep the volumes in instead of memory. Replaced files and changed parameters are noticed.
        progress: whether to show a bar while volumes are prepared.
        identify: also say in each item which image it is, as a teacher cache needs it: ``"volume_key"``, a hash of the
            prepared volume, ``"slice_index"``, and ``"view"``, which of the eight flips and quarter turns the random
            transforms made (:func:`~akd_monai.data.views.apply_view`), -1 where they changed the image in another way.

    Attributes:
        data: the cases, as given.
        slices: (number of the case, number of the slice along the last axis) for each item.
        volume_keys: the hash of each case's volume; empty unless ``identify``.
        views: how many views of a slice there may be: 1 without transforms from the first random one on, else 8.

    Raises:
        InputError: for an empty list, a case that cannot be prepared (naming case and file), cases with and without
            label side by side, or cases whose slices differ in size and cannot be put into one batch.

    Example:
        >>> from monai.transforms import EnsureTyped, RandFlipd
        >>> case = {"image": torch.rand(1, 8, 8, 5), "label": torch.ones(1, 8, 8, 5), "case_id": "A/Case00"}
        >>> slices = SliceDataset([case], Compose([EnsureTyped(("image", "label")), RandFlipd("image", prob=0.5)]))
        >>> len(slices), slices[3]["image"].shape, slices[3]["case_id"], slices[3]["slice"]
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
        if background_ratio is not None and not 0 <= background_ratio < float("inf"):
            raise InputError(f"background_ratio must be 0 or more, or null to keep all slices, got {background_ratio}.")
        self.data = data
        self.seed = seed
        self.keys = (keys,) if isinstance(keys, str) else tuple(keys)
        self._check_cases(label_key)
        fixed, self._random = _divide(transform, self.keys, label_key)
        self._volumes = volume_source(
            data, fixed, cache_dir=cache_dir, cache_rate=cache_rate, num_workers=num_workers, progress=progress
        )
        self.identify = identify
        self.volume_keys: list[str] = []
        self.views = VIEWS if self.random_transforms else 1
        shapes: dict[torch.Size, int] = {}
        marked = []
        for number in range(len(data)):
            volume = self._volumes[number]
            marked.append(volume[FOREGROUND].numpy().copy())
            shapes.setdefault(volume[self.keys[0]].shape[1:], number)
            if identify:
                self.volume_keys.append(volume_key(volume[self.keys[0]]))
        self.slices = self._choose(marked, background_ratio)
        self._check_shapes(list(shapes.values()))

    def __len__(self) -> int:
        return len(self.slices)

    def __getitem__(self, index: int | tuple[int, int]) -> Any:
        """Return ``{"image", "label", "case_id", "slice"}``; tensors are plain and belong to the caller."""
        if isinstance(index, (tuple, list)):
            epoch, number = (int(part) for part in index)
        else:
            epoch, number = 0, int(index)
            if not -len(self) <= number < len(self):
                raise IndexError(f"slice {number} of {len(self)}")
            number %= len(self)
        case_number, position = self.slices[number % len(self)]
        return self._draw(case_number, position, random_key(self.seed, epoch, number))

    def identify_slices(self) -> None:
        """Say in each item from now on which image it is, as ``identify`` does from the start."""
        if not self.identify:
            numbers = range(len(self.data))
            self.volume_keys = [volume_key(self._volumes[number][self.keys[0]]) for number in numbers]
            self.identify = True

    @property
    def random_transforms(self) -> list[Any]:
        """The transforms from the first random one on, which are run for each slice."""
        return list(self._random.transforms)

    def _draw(self, case_number: int, position: int, key: int) -> Any:
        volume, case = self._volumes[case_number], self.data[case_number]
        item = {name: volume[name][position].clone() for name in self.keys if name in volume}
        self._random.set_random_state(seed=key)
        try:
            result = self._random(item)
        except Exception as error:
            raise case_error(case, error) from error
        about = {"case_id": case_name(case), "slice": position}
        if self.identify:
            about |= {"volume_key": self.volume_keys[case_number], "slice_index": position}
        before = volume[self.keys[0]][position]
        # a transform that takes several samples of a slice returns a list
        if isinstance(result, list):
            return [self._described(_plain(r) | about, before) for r in result]
        return self._described(_plain(result) | about, before)

    def _described(self, item: dict[str, Any], before: torch.Tensor) -> dict[str, Any]:
        # compared, not concluded from the transforms' names: what counts is that no value has changed
        return item | {"view": find_view(before, item[self.keys[0]])} if self.identify else item

    def _check_cases(self, label_key: str) -> None:
        if not len(self.data):
            raise InputError("there is no case to take slices from; check dataset_dir, sites and part.")
        without = [case for case in self.data if label_key not in case]
        if label_key in self.keys and 0 < len(without) < len(self.data):
            raise InputError(
                f"case {case_name(without[0])} has no {label_key!r}, other cases have one;"
                " a batch cannot hold both: add the mask or leave the case out."
            )

    def _choose(self, marked: Sequence[np.ndarray], ratio: float | None) -> list[tuple[int, int]]:
        if ratio is not None and not any(flags.any() for flags in marked):
            _LOGGER.warning("no slice of %d cases holds foreground; all slices are kept as background.", len(marked))
            ratio = None
        chosen = []
        for number, flags in enumerate(marked):
            kept = np.ones_like(flags) if ratio is None else flags.copy()
            background = np.flatnonzero(~flags)
            if ratio is not None and len(background):
                count = min(len(background), round(ratio * int(flags.sum())))
                generator = np.random.default_rng(random_key(self.seed, "background", case_name(self.data[number])))
                kept[generator.choice(background, size=count, replace=False)] = True
            chosen += [(number, int(position)) for position in np.flatnonzero(kept)]
        return chosen

    def _check_shapes(self, numbers: Sequence[int]) -> None:
        if len(numbers) < 2:
            return
        # drawn, not computed: a random crop may well bring different sizes to one
        drawn = [self._draw(number, 0, 0) for number in numbers]
        shapes = [list((d[0] if isinstance(d, list) else d)[self.keys[0]].shape) for d in drawn]
        for number, shape in zip(numbers, shapes, strict=True):
            if shape != shapes[0]:
                first, other = case_name(self.data[numbers[0]]), case_name(self.data[number])
                raise InputError(
                    f"slices of case {first} are {shapes[0]}, those of case {other} {shape}, and cannot share a batch;"
                    " bring them to one size with Resized or a crop."
                )


def _divide(transform: Compose, keys: Sequence[str], label_key: str) -> tuple[CaseTransform, Compose]:
    flat = (transform if isinstance(transform, Compose) else Compose(transform)).flatten()
    first = flat.get_index_of_first(lambda t: isinstance(t, RandomizableTrait) or not isinstance(t, Transform))
    settings = {"map_items": flat.map_items, "lazy": flat.lazy, "overrides": flat.overrides}
    fixed, random = flat.transforms[:first], flat.transforms[first:] if first is not None else ()
    return CaseTransform(fixed, keys, label_key, **settings), Compose(random, **settings)


def _plain(item: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value.as_tensor() if isinstance(value, MetaTensor) else value for key, value in item.items()}
