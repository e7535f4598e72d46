# SPDX-License-Identifier: Apache-2.0
"""A teacher whose outputs are computed once for each view of each slice, in any run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from monai.engines import SupervisedTrainer

from akd_monai.data.identified import IdentifiedSlices
from akd_monai.errors import InputError
from akd_monai.teachers._folders import create_store, open_store
from akd_monai.teachers._identity import image_tags, sample_key
from akd_monai.teachers._sample_ids import SampleId, sample_ids
from akd_monai.teachers._space import Demand, check_space
from akd_monai.teachers._store import LOGITS, OutputStore, coding_for
from akd_monai.teachers.cache import TeacherCache
from akd_monai.teachers.online import OnlineTeacher, TeacherOutputs

__all__ = ["CachedTeacher"]


class CachedTeacher:
    """Provide a teacher's outputs from a :class:`TeacherCache`; those that are missing are computed and stored.

    The batch says which volume, slice and view each image is
    (:class:`~akd_monai.data.IdentifiedSlices`), and a checksum of each image is compared with that of the
    image that the outputs were computed from. Missing outputs are computed one image at a time, so that they do not depend
    on the batch that needed them first, and what a step uses is always what was stored: a run that is killed and
    resumed, or started beside another one, sees the same numbers.

    Args:
        teacher: computes what is missing.
        cache: where outputs are stored.
        labels_only: whether no more than the teacher's decision is needed of its logits. Logits are then returned that
            have the same arg-max or, of sigmoid channels, the same signs, and mean nothing else.

    Attributes:
        served: number of images for which outputs were returned.

    Example:
        >>> import tempfile
        >>> from torch import nn
        >>> from akd_monai.teachers import TeacherOptions
        >>> batch = {"volume_key": ["5f2c"], "slice_index": [3], "view": [0]}
        >>> device, image = torch.device("cpu"), torch.ones(1, 1, 4, 4)
        >>> online = OnlineTeacher(nn.Conv2d(1, 2, 1).eval(), [], TeacherOptions(), device)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     cached = CachedTeacher(online, TeacherCache(folder))
        ...     for _ in range(3):
        ...         logits, features = cached(image, batch)
        >>> cached.computed, cached.served, logits.shape
        (1, 3, torch.Size([1, 2, 4, 4]))
    """

    def __init__(self, teacher: OnlineTeacher, cache: TeacherCache, labels_only: bool = False) -> None:
        self.teacher = teacher
        self.cache = cache
        self.labels_only = labels_only
        self.served = 0
        self._dataset: Any = None
        # images without labels
        self._further: Any = None
        self._draws: int | None = None
        self._identity: dict[str, Any] | None = None
        self._stores: dict[tuple[int, ...], dict[str, OutputStore]] = {}
        self._announced: set[tuple[int, ...]] = set()

    @property
    def computed(self) -> int:
        """Number of images that went through the network."""
        return self.teacher.computed

    def start(self, trainer: SupervisedTrainer) -> None:
        """Prepare for a run: the teacher's weights are hashed again, and the data set identifies its slices."""
        self.teacher.start(trainer)
        self._identity = None
        self._stores = {}
        self._announced = set()
        self._dataset = getattr(trainer.data_loader, "dataset", None)
        self._draws = _draws(trainer)
        self._further = getattr(getattr(trainer, "unlabelled", None), "dataset", None)
        for dataset in (self._dataset, self._further):
            if isinstance(dataset, IdentifiedSlices):
                dataset.identify_slices()

    def shapes(self, input_shape: Sequence[int]) -> dict[str, tuple[int, ...]]:
        """Return the shapes of all outputs, as :meth:`OnlineTeacher.shapes` does, from the cache where it knows them."""
        stores = self._opened(tuple(input_shape))
        if self._missing_layers(stores):
            return self.teacher.shapes(input_shape)
        return {layer: store.shape for layer, store in stores.items()}

    def __call__(self, image: torch.Tensor, batch: Any) -> TeacherOutputs:
        """Return logits and features for images, as :class:`OnlineTeacher` does.

        Raises:
            InputError: if the batch does not say what its images are, they are no views of their slices, they differ from
                those that the stored outputs were computed from, or the disk is full.
        """
        samples = sample_ids(batch, len(image), self._dataset)
        stores = self._opened(tuple(image.shape[1:]))
        for sample, tag, one in zip(samples, image_tags(image), image.split(1), strict=True):
            if not self._has(stores, sample.key):
                self._compute(stores, sample.key, tag, one)
            _check_same_image(stores, sample, tag)
        self.served += len(image)
        return self._read(stores, [sample.key for sample in samples], image.device)

    def _opened(self, input_shape: tuple[int, ...]) -> dict[str, OutputStore]:
        """Return the stores for images of one shape by layer; a layer for which nothing was stored yet has none."""
        if input_shape not in self._stores:
            self._stores[input_shape] = {}
        stores = self._stores[input_shape]
        for layer in self._missing_layers(stores):
            store = open_store(self.cache, self._facts(), layer, input_shape)
            if store is not None:
                stores[layer] = store
        return stores

    def _missing_layers(self, stores: Mapping[str, OutputStore]) -> list[str]:
        return [layer for layer in (LOGITS, *self.teacher.layers) if layer not in stores]

    def _facts(self) -> dict[str, Any]:
        if self._identity is None:
            self._identity = self.teacher.identity()
        return self._identity

    def _has(self, stores: Mapping[str, OutputStore], key: bytes) -> bool:
        if self._missing_layers(stores):
            return False
        return all(store.find(key) is not None for store in stores.values())

    def _compute(self, stores: dict[str, OutputStore], key: bytes, tag: int, image: torch.Tensor) -> None:
        """Run the teacher on one image ``[1, C, *spatial]`` and store its outputs where they are missing."""
        logits, features = self.teacher(image, None)
        outputs = {layer: output[0] for layer, output in {LOGITS: logits, **features}.items()}
        self._prepare(stores, tuple(image.shape[1:]), outputs)
        for layer, store in stores.items():
            if store.find(key) is None:
                store.append(key, tag, outputs[layer])
        if not self._has(stores, key):
            raise InputError(f"the teacher cache {str(self.cache.cache_dir)!r} loses what is written: check the disk.")

    def _prepare(
        self, stores: dict[str, OutputStore], input_shape: tuple[int, ...], outputs: Mapping[str, torch.Tensor]
    ) -> None:
        """Check once that there is space for what may come, then create the stores that are missing."""
        if input_shape not in self._announced:
            self._announced.add(input_shape)
            keys = _all_keys(self._dataset) + _all_keys(self._further)
            demands = [self._demand(stores.get(layer), layer, output, keys) for layer, output in outputs.items()]
            check_space(self.cache.cache_dir, demands)
        for layer in self._missing_layers(stores):
            stores[layer] = create_store(self.cache, self._facts(), layer, input_shape, outputs[layer].shape)

    def _demand(self, store: OutputStore | None, layer: str, output: torch.Tensor, keys: list[bytes]) -> Demand:
        missing = self._draws
        if keys:
            still = len(keys) - (0 if store is None else store.count(keys))
            missing = still if missing is None else min(missing, still)
        coding = coding_for(layer, output.shape, self.cache.dtype, self.teacher.output.activation)
        return Demand(coding.row_bytes, missing)

    def _read(self, stores: Mapping[str, OutputStore], keys: list[bytes], device: torch.device) -> TeacherOutputs:
        logits_store = stores[LOGITS]
        read_logits = logits_store.read_decisions if self.labels_only else logits_store.read
        features = {layer: stores[layer].read(keys, device) for layer in self.teacher.layers}
        return read_logits(keys, device), features


def _draws(trainer: SupervisedTrainer) -> int | None:
    """Return how many images a run draws, None where that is unknown."""
    size = getattr(trainer.data_loader, "batch_size", None)
    unlabelled = getattr(trainer, "unlabelled", None)
    if size and unlabelled is not None:
        size += unlabelled.options.batch_size
    length = trainer.state.epoch_length
    epochs = trainer.state.max_epochs
    return epochs * length * size if epochs and length and size else None


def _all_keys(dataset: Any) -> list[bytes]:
    """Return the keys of all views of all slices of a data set that identifies them."""
    if not isinstance(dataset, IdentifiedSlices):
        return []
    keys = []
    for volume, position in dataset.slices:
        name = dataset.volume_keys[int(volume)]
        keys += [sample_key(name, int(position), view) for view in range(dataset.views)]
    return keys


def _check_same_image(stores: Mapping[str, OutputStore], sample: SampleId, tag: int) -> None:
    if any(store.find(sample.key) != tag for store in stores.values()):
        raise InputError(
            f"slice {sample.position} of {sample.name} in view {sample.view} is not the image that the teacher's stored "
            "outputs were computed from: a random transform changes more than its place in the volume and its view tell. "
            "Leave out every random transform but flips and quarter turns, or leave out teacher_cache."
        )
