# SPDX-License-Identifier: Apache-2.0
"""Which volume, slice and view each image of a batch is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from akd_monai.data.identified import SLICE_INDEX, VIEW, VOLUME_KEY, missing_members
from akd_monai.data.views import VIEWS
from akd_monai.errors import InputError
from akd_monai.names import case_names
from akd_monai.teachers._identity import sample_key

__all__ = ["SampleId", "sample_ids"]


@dataclass(frozen=True)
class SampleId:
    """Identity of one image.

    Attributes:
        volume: hash of the prepared volume.
        position: index of the slice in its volume.
        view: which of the eight flips and quarter turns of the slice the image is.
        name: of the case, for messages.
    """

    volume: str
    position: int
    view: int
    name: str

    @property
    def key(self) -> bytes:
        """The key under which outputs for this image are stored."""
        return sample_key(self.volume, self.position, self.view)


def sample_ids(batch: Any, count: int, dataset: object = None) -> list[SampleId]:
    """Return what a batch says of its images under ``"volume_key"``, ``"slice_index"`` and ``"view"``.

    Args:
        batch: what the loader gave.
        count: number of images.
        dataset: what the loader draws from, for messages.

    Raises:
        InputError: if the batch does not identify its images, does not fit ``count``, or an image is none of the eight
            views.

    Example:
        >>> sample_ids({"volume_key": ["ab"], "slice_index": torch.tensor([3]), "view": torch.tensor([0])}, 1)
        [SampleId(volume='ab', position=3, view=0, name='volume ab')]
        >>> sample_ids({"image": 0}, 1)
        Traceback (most recent call last):
        ...
        akd_monai.errors.InputError: a teacher cache needs 'volume_key', 'slice_index' and 'view' in each batch; ...
    """
    if not isinstance(batch, Mapping) or any(key not in batch for key in (VOLUME_KEY, SLICE_INDEX, VIEW)):
        raise InputError(_not_identified(dataset))
    volumes = _listed(batch[VOLUME_KEY])
    positions = _listed(batch[SLICE_INDEX])
    views = _listed(batch[VIEW])
    if not len(volumes) == len(positions) == len(views) == count:
        raise InputError(
            f"a batch of {count} images names {len(volumes)} volumes, {len(positions)} slices and {len(views)} views; "
            "a transform that makes several samples of a slice cannot be used with a teacher cache."
        )
    names = case_names(batch)
    ids = []
    for number, (volume, position, view) in enumerate(zip(volumes, positions, views, strict=True)):
        name = f"case {names[number]}" if len(names) == count else f"volume {volume}"
        ids.append(_checked(SampleId(volume, int(position), int(view), name)))
    return ids


def _listed(values: Any) -> list[Any]:
    return values.tolist() if isinstance(values, torch.Tensor) else list(values)


def _checked(sample: SampleId) -> SampleId:
    if not isinstance(sample.volume, str):
        raise InputError(
            f"'volume_key' of a batch must hold strings, the hash of each image's volume, got {sample.volume!r}."
        )
    if not 0 <= sample.view < VIEWS:
        raise InputError(
            f"slice {sample.position} of {sample.name} was changed by more than flips and quarter turns, so that the "
            "teacher's outputs for it cannot be cached: leave the other random transforms out, put fixed ones before the "
            "first random one, or leave out teacher_cache."
        )
    return sample


def _not_identified(dataset: object) -> str:
    needed = f"a teacher cache needs {VOLUME_KEY!r}, {SLICE_INDEX!r} and {VIEW!r} in each batch"
    remedy = "use akd_monai.data.SliceDataset or leave out teacher_cache"
    if dataset is None:
        return f"{needed}; {remedy}."
    lacking = missing_members(dataset)
    kind = type(dataset).__name__
    if not lacking:
        return f"{needed}, which {kind} does not give although identify_slices was called; {remedy}."
    return (
        f"{needed}, and data set {kind} cannot give them, because it lacks {', '.join(lacking)} of "
        f"akd_monai.data.IdentifiedSlices; add what it lacks, {remedy}."
    )
