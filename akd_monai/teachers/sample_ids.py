# SPDX-License-Identifier: Apache-2.0
"""Which volume, slice and view each image of a batch is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from akd_monai.errors import InputError

VOLUME, SLICE, VIEW = "volume_key", "slice_index", "view"


@dataclass(frozen=True)
class SampleId:
    """One image: hash of its volume, number of its slice, its view, and a name for messages."""

    volume: str
    position: int
    view: int
    name: str


def sample_ids(batch: Any, count: int, dataset: Any = None) -> list[SampleId]:
    """Return what a batch says of its images, under ``"volume_key"``, ``"slice_index"`` and ``"view"``.

    Args:
        batch: what the loader gave. Volume keys are texts, or numbers of ``dataset.volume_keys``.
        count: number of images.
        dataset: what the loader draws from.

    Raises:
        InputError: if the batch says nothing, does not fit ``count``, or an image is none of the eight views.

    Example:
        >>> sample_ids({"volume_key": ["ab"], "slice_index": torch.tensor([3]), "view": torch.tensor([0])}, 1)
        [SampleId(volume='ab', position=3, view=0, name='volume ab')]
        >>> sample_ids({"image": 0}, 1)
        Traceback (most recent call last):
        ...
        akd_monai.errors.InputError: a teacher cache needs 'volume_key', 'slice_index' and 'view' in each batch, ...
    """
    keys = (VOLUME, SLICE, VIEW)
    if not isinstance(batch, Mapping) or any(key not in batch for key in keys):
        raise InputError(
            "a teacher cache needs 'volume_key', 'slice_index' and 'view' in each batch, which this data set does not "
            "give: use akd_monai.data.SliceDataset or SliceStore, or leave out teacher_cache."
        )
    volumes, positions, views = (_listed(batch[key]) for key in keys)
    if not len(volumes) == len(positions) == len(views) == count:
        raise InputError(
            f"a batch of {count} images names {len(volumes)} volumes, {len(positions)} slices and {len(views)} views; "
            "a transform that makes several samples of a slice cannot be used with a teacher cache."
        )
    names = _listed(batch.get("case_id", []))
    ids = []
    for number, (volume, position, view) in enumerate(zip(volumes, positions, views, strict=True)):
        key = volume if isinstance(volume, str) else _look_up(int(volume), dataset)
        name = f"case {names[number]}" if len(names) == count else f"volume {key}"
        if not 0 <= int(view) <= 7:
            raise InputError(
                f"slice {int(position)} of {name} was changed by more than flips and quarter turns, so that what the "
                "teacher makes of it cannot be kept: leave the other random transforms out, put fixed ones before "
                "the first random one, or leave out teacher_cache."
            )
        ids.append(SampleId(key, int(position), int(view), name))
    return ids


def _listed(values: Any) -> list[Any]:
    return values.tolist() if isinstance(values, torch.Tensor) else list(values)


def _look_up(number: int, dataset: Any) -> str:
    known = getattr(dataset, "volume_keys", None)
    if not known:
        raise InputError(
            "the batch numbers its volumes, but its data set has no volume_keys that say what they are: give the hash "
            "of each volume under 'volume_key'."
        )
    return str(known[number])
