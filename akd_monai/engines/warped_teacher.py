# SPDX-License-Identifier: Apache-2.0
"""Maps of unchanged slices that are changed as their images are: an approximation of a teacher."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from monai.engines import SupervisedTrainer

from akd_monai.cache import MapStore, image_tags, sample_key
from akd_monai.cache.teacher_cache import LOGITS
from akd_monai.engines.cached_teacher import CachedTeacher
from akd_monai.engines.online_teacher import Maps
from akd_monai.errors import InputError

TEACHER = "teacher"
# transforms of these modules leave every value where it is
_IN_PLACE = ("monai.transforms.intensity.", "monai.transforms.utility.")

logger = logging.getLogger(__name__)


@dataclass
class CleanMaps:
    """Read the logits of an unchanged slice, as an entry of the data."""

    store: MapStore

    def __call__(self, volume: str, position: int) -> dict[str, torch.Tensor]:
        """Return ``{"teacher": logits [K, H, W]}``."""
        found = self.store.find(sample_key(volume, position, 0))
        if found is None:
            raise InputError(
                f"the teacher cache {str(self.store.folder)!r} was emptied during the run: start it again."
            )
        return {TEACHER: self.store.get([found[0]])[0]}


class WarpedTeacher:
    """Serve the logits of unchanged slices, changed by the data set's random transforms as the image was.

    A network does not commute with rotations, scaling or noise: this is not what the teacher would say of the changed
    image. Before the first step the teacher looks at every slice that the cache lacks.

    Args:
        cached: where logits are kept, with ``clean_only``.
    """

    def __init__(self, cached: CachedTeacher) -> None:
        self.cached = cached
        if cached.teacher.layers:
            raise InputError(
                f"terms compare features of the teacher's layers {cached.teacher.layers}, which cannot be warped with "
                "the image: leave these terms out, or set cache_mode to 'exact'."
            )

    @property
    def computed(self) -> int:
        """Number of images that went through the network."""
        return self.cached.computed

    @property
    def served(self) -> int:
        """Number of maps that the batches brought."""
        return self.cached.served

    def shapes(self, input_shape: Sequence[int]) -> dict[str, tuple[int, ...]]:
        """Return the shapes of all maps, from the cache where it knows them."""
        return self.cached.shapes(input_shape)

    def start(self, trainer: SupervisedTrainer) -> None:
        """Fill the cache and hang it into the data set.

        Raises:
            InputError: if the data set cannot be served, or a transform would move the image without the maps.
        """
        self.cached.start(trainer)
        dataset = self.cached.dataset
        if not getattr(dataset, "volume_keys", None) or not hasattr(dataset, "clean_image"):
            raise InputError(
                "cache_mode 'warped' needs akd_monai.data.SliceDataset or SliceStore; use one, or leave out teacher_cache."
            )
        _check_transforms(dataset.random_transforms, dataset.keys[0])
        stores: dict[str, MapStore] = {}
        before = self.computed
        for number, (case, position) in enumerate(dataset.slices):
            image = dataset.clean_image(number)[None].to(self.cached.teacher.device)
            stores = self.cached.stores(image.shape[1:])
            key = sample_key(dataset.volume_keys[case], position, 0)
            if stores[LOGITS].find(key) is None:
                self.cached.make(stores, key, image_tags(image)[0], image)
        logger.info("the teacher looked at %d of %d slices", self.computed - before, len(dataset.slices))
        dataset.maps = CleanMaps(stores[LOGITS])

    def __call__(self, image: torch.Tensor, batch: Any) -> Maps:
        """Return the logits that the batch brings.

        Raises:
            InputError: if it brings none, or of another size.
        """
        maps = batch.get(TEACHER) if isinstance(batch, dict) else None
        if maps is None or maps.shape[2:] != image.shape[2:]:
            got = "no entry 'teacher'" if maps is None else f"maps {list(maps.shape)} for images {list(image.shape)}"
            raise InputError(f"the batch has {got}: list 'teacher' in the keys of each transform that moves the image.")
        self.cached.served += len(image)
        return torch.as_tensor(maps).to(image.device).float(), {}


def _check_transforms(transforms: Sequence[Any], image: str) -> None:
    for transform in transforms:
        keys = getattr(transform, "keys", ())
        if image in keys and TEACHER not in keys and not type(transform).__module__.startswith(_IN_PLACE):
            raise InputError(
                f"{type(transform).__name__} changes {image!r} but not 'teacher', which must move with it: add 'teacher' "
                "to its keys, with linear interpolation where it interpolates."
            )
