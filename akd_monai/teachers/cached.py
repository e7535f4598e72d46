# SPDX-License-Identifier: Apache-2.0
"""A teacher that looks at each view of each slice at most once, in any run."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from monai.engines import SupervisedTrainer

from akd_monai.errors import InputError
from akd_monai.teachers.cache import LOGITS, MapStore, TeacherCache
from akd_monai.teachers.identity import image_tags, sample_key
from akd_monai.teachers.online import Maps, OnlineTeacher
from akd_monai.teachers.sample_ids import SampleId, sample_ids

logger = logging.getLogger(__name__)


class CachedTeacher:
    """Serve maps from a :class:`~akd_monai.teachers.cache.TeacherCache`, and let the teacher make those that are missing.

    The batch says which volume, slice and view each image is (:func:`~akd_monai.teachers.sample_ids.sample_ids`), and a
    checksum of each image is compared with that of the image the teacher saw. Missing maps are made one image at a
    time, so that they do not depend on the batch in which they were first wanted, and what is used is what was stored:
    a run that is killed and resumed, or started beside another one, sees the same numbers.

    Args:
        teacher: makes what is missing.
        cache: where maps are kept.
        labels_only: whether no more than the teacher's decision is wanted of its logits.

    Attributes:
        dataset: what the slices of the run are drawn from.
        served: number of images whose maps were returned.
    """

    def __init__(self, teacher: OnlineTeacher, cache: TeacherCache, labels_only: bool = False) -> None:
        self.teacher = teacher
        self.cache = cache
        self.labels_only = labels_only
        self.served = 0
        self._stores: dict[tuple[int, ...], dict[str, MapStore]] = {}
        self.dataset: Any = None
        self._draws: int | None = None
        self._identity: dict[str, Any] | None = None
        self._announced: set[tuple[int, ...]] = set()

    @property
    def computed(self) -> int:
        """Number of images that went through the network."""
        return self.teacher.computed

    def start(self, trainer: SupervisedTrainer) -> None:
        """Get ready for a run: the teacher's weights are looked at anew."""
        self.teacher.start(trainer)
        self._stores, self._identity, self._announced = {}, None, set()
        loader = trainer.data_loader
        self.dataset = getattr(loader, "dataset", None)
        if hasattr(self.dataset, "identify_slices"):
            self.dataset.identify_slices()
        length, size = trainer.state.epoch_length, getattr(trainer.data_loader, "batch_size", None)
        self._draws = trainer.state.max_epochs * length * size if length and size and trainer.state.max_epochs else None

    def stores(self, input_shape: Sequence[int]) -> dict[str, MapStore]:
        """Return the stores of the logits, ``""``, and of each tapped layer, for images ``(C, *spatial)``."""
        shape = tuple(input_shape)
        if shape not in self._stores:
            if self._identity is None:
                self._identity = self.teacher.identity()
            layers = [LOGITS, *self.teacher.layers]
            self._stores[shape] = {layer: self.cache.maps(self._identity, layer, shape) for layer in layers}
        return self._stores[shape]

    def shapes(self, input_shape: Sequence[int]) -> dict[str, tuple[int, ...]]:
        """Return the shapes of all maps, from the cache where it knows them."""
        known = {layer: store.shape for layer, store in self.stores(input_shape).items()}
        found = {layer: shape for layer, shape in known.items() if shape is not None}
        return found if len(found) == len(known) else self.teacher.shapes(input_shape)

    def __call__(self, image: torch.Tensor, batch: Any) -> Maps:
        """Return logits and features for images, as :class:`OnlineTeacher` does.

        Raises:
            InputError: if the batch does not say what its images are, they are no views of their slices, differ from
                those the teacher saw, or there is no room.
        """
        ids, tags = sample_ids(batch, len(image), self.dataset), image_tags(image)
        stores = self.stores(image.shape[1:])
        rows: dict[str, list[int]] = {layer: [] for layer in stores}
        for number, (sample, tag) in enumerate(zip(ids, tags, strict=True)):
            key = sample_key(sample.volume, sample.position, sample.view)
            found = self._find(stores, key) or self.make(stores, key, tag, image[number : number + 1])
            for layer, (row, seen) in found.items():
                if seen != tag:
                    raise InputError(_other_image(sample))
                rows[layer].append(row)
        self.served += len(image)
        maps = {
            layer: store.get(rows[layer], labels_only=self.labels_only and layer == LOGITS, device=image.device)
            for layer, store in stores.items()
        }
        return maps.pop(LOGITS), maps

    @staticmethod
    def _find(stores: dict[str, MapStore], key: bytes) -> dict[str, tuple[int, int]] | None:
        found = {layer: store.find(key) for layer, store in stores.items()}
        return None if None in found.values() else {layer: row for layer, row in found.items() if row is not None}

    def make(
        self, stores: dict[str, MapStore], key: bytes, tag: int, image: torch.Tensor
    ) -> dict[str, tuple[int, int]]:
        """Let the teacher look at one image ``[1, C, *spatial]``, keep what it makes of it and return where.

        Raises:
            InputError: if there is no room.
        """
        logits, features = self.teacher(image, None)
        made = {LOGITS: logits, **features}
        for layer, store in stores.items():
            store.set_shape(made[layer].shape[1:])
        self._announce(stores, image.shape[1:])
        for layer, store in stores.items():
            if store.find(key) is None:
                store.put(key, tag, made[layer][0])
            else:
                store.describe()
        found = self._find(stores, key)
        if found is None:
            raise InputError(f"the teacher cache {str(self.cache.cache_dir)!r} loses what is written: check the disk.")
        return found

    def _announce(self, stores: dict[str, MapStore], shape: Sequence[int]) -> None:
        """Tell the size before anything is written, and refuse what the disk cannot hold."""
        if tuple(shape) in self._announced:
            return
        self._announced.add(tuple(shape))
        keys = _keys(self.dataset, getattr(self.dataset, "views", 8))
        draws = self._draws
        limits = [n for n in (draws, len(keys) if keys else None) if n is not None]
        each = sum(store.row_bytes for store in stores.values())
        free = shutil.disk_usage(_existing(self.cache.cache_dir)).free
        told = f"teacher cache {str(self.cache.cache_dir)!r}: {_size(each)} for each view of a slice"
        if limits:
            missing = [min(limits[0], len(keys) - s.count(keys)) if keys else limits[0] for s in stores.values()]
            needed = sum(n * store.row_bytes for n, store in zip(missing, stores.values(), strict=True))
            told += f", at most {max(missing)} of them to come, {_size(needed)}"
            if needed > free:
                raise InputError(
                    f"{told}, but {_size(free)} are free: make room, give another folder, set cache_dtype to "
                    "float16, or leave terms out that compare features."
                )
        logger.info("%s; %s are free", told, _size(free))


def _keys(dataset: Any, views: int) -> list[bytes]:
    """Return the keys of the first views of all slices of a data set that tells them."""
    volumes = getattr(dataset, "volume_keys", None)
    if not volumes or not hasattr(dataset, "slices"):
        return []
    return [sample_key(str(volumes[int(c)]), int(p), view) for c, p in dataset.slices for view in range(views)]


def _size(count: float) -> str:
    """Return bytes with three digits.

    Example:
        >>> _size(313_344), _size(12), _size(7.5e12)
        ('313 kB', '12 B', '7.5e+03 GB')
    """
    for limit, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= limit:
            return f"{count / limit:.3g} {unit}"
    return f"{count} B"


def _existing(folder: Path) -> Path:
    return next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())


def _other_image(sample: SampleId) -> str:
    return (
        f"slice {sample.position} of {sample.name} in view {sample.view} is not the image that the teacher saw: a random "
        "transform changes more than its place in the volume and its view tell. Leave out every random transform but flips "
        "and quarter turns, or leave out teacher_cache."
    )
