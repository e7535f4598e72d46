# SPDX-License-Identifier: Apache-2.0
"""Slices in half precision, mapped from disk and taken out by whole batches, turned into the eight views."""

from __future__ import annotations

import os
import random
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from monai.transforms import Compose, MapTransform, Transform
from monai.transforms.traits import RandomizableTrait

from akd_monai.data.batch_affine import BatchAffine
from akd_monai.data.find_view import find_view
from akd_monai.data.slices import SliceDataset
from akd_monai.data.views import VIEWS, apply_view
from akd_monai.data.volume_cache import case_error, case_name
from akd_monai.errors import InputError
from akd_monai.keys import random_key

DTYPES = {"float16": torch.float16, "float32": torch.float32}


class CompactVolumesd(MapTransform):
    """Bring volumes to the types in which they are stored: a label to uint8, other numbers to ``dtype``.

    Args:
        keys: entries to convert; those that are missing are passed over.
        label_key: the entry that becomes uint8.
        dtype: ``"float16"`` or ``"float32"``.

    Raises:
        InputError: when called, if a label is no whole number of 0 to 255, or a value is too large for ``dtype``.

    Example:
        >>> volumes = CompactVolumesd(("image", "label"))({"image": torch.ones(1, 2, 2, 3), "label": torch.ones(1, 2, 2, 3)})
        >>> volumes["image"].dtype, volumes["label"].dtype
        (torch.float16, torch.uint8)
    """

    def __init__(self, keys: Sequence[str], label_key: str = "label", dtype: str = "float16") -> None:
        super().__init__(keys, allow_missing_keys=True)
        self.label_key, self.dtype = label_key, dtype

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Convert one case."""
        result = dict(data)
        for key in self.key_iterator(result):
            values = torch.as_tensor(result[key])
            if key == self.label_key:
                result[key] = values.to(torch.uint8)
                if not torch.equal(result[key].to(values.dtype), values):
                    raise InputError(
                        f"{key!r} holds values that are no whole numbers of 0 to 255, so that the slice store cannot keep"
                        " it as one byte; end the deterministic transforms with AsDiscreted."
                    )
            else:
                result[key] = values.to(DTYPES[self.dtype])
                if not torch.isfinite(result[key]).all() and torch.isfinite(values).all():
                    raise InputError(
                        f"{key!r} holds {values.abs().max():g}, above the 65504 of half precision;"
                        ' normalise it by a deterministic transform, or set dtype to "float32".'
                    )
        return result


class Pending(NamedTuple):
    """What is still to be done with a batch: first its views, then its affine changes.

    Attributes:
        views: ``[B]``, 0 to 7.
        affines: a matrix or ``None`` for each sample.
    """

    views: torch.Tensor
    affines: list[torch.Tensor | None]


class SliceStore(SliceDataset):
    r"""A :class:`~akd_monai.data.slices.SliceDataset` of small files that gives whole batches and the eight views.

    Volumes are prepared once and kept as ``dtype`` (labels: one byte) in ``cache_dir``, under a name that is a hash of
    the content of their files and of the deterministic transforms: never stale, written whole or not at all, shared by
    any number of runs. Slices are mapped, not read. Half precision changes a value by :math:`2^{-11}` of its size at
    most (5e-4); ``"float32"`` changes nothing and takes twice the room.

    The view of a slice, 0 to 7 as in :func:`~akd_monai.data.views.apply_view`, is a function of (seed, epoch, index)
    alone, and all are equally likely, as with a flip of probability 1/2 and a ``RandRotate90d`` of probability 3/4.
    Leave those two out of ``transform``. ``affine`` rotates, zooms and shifts after that, likewise keyed and a batch at a
    time. Other random transforms are run for each slice before its view is taken, at MONAI's price of some milliseconds.

    As a plain data set it gives finished items in float32. Through :class:`~akd_monai.data.slice_loader.SliceLoader` it
    gives batches that are turned and warped on the training device.

    Args:
        data: cases.
        transform: dictionary transforms, divided at the first random one as in ``SliceDataset``.
        seed: key of views, of random transforms and of the choice of background slices.
        keys: entries of an item; the first one must exist in every case.
        label_key: the entry that marks foreground.
        background_ratio: background slices kept for each slice with foreground; ``None`` keeps all.
        cache_dir: folder of the files; ``None`` keeps the volumes in memory, in the same types.
        dtype: ``"float16"`` or ``"float32"``.
        turn: whether to draw views; if not, every slice is in view 0.
        affine: :class:`~akd_monai.data.batch_affine.BatchAffine` or a mapping with its fields; ``None`` for none.
        num_workers: threads that prepare volumes kept in memory.
        progress: whether to show a bar while they are prepared.

    Raises:
        InputError: as ``SliceDataset``; for an unknown ``dtype``, a label that does not fit one byte, values that
            overflow, a transform that takes several samples of a slice, or slices to be turned that are not square.

    Example:
        >>> case = {"image": torch.rand(1, 8, 8, 5), "label": torch.ones(1, 8, 8, 5), "case_id": "A/Case00"}
        >>> store = SliceStore([case], Compose([]), seed=1)
        >>> batch, pending = store.gather([(0, 0), (0, 3), (1, 3)])
        >>> batch["image"].dtype, batch["image"].shape, batch["slice_index"]
        (torch.float16, torch.Size([3, 1, 8, 8]), tensor([0, 3, 3]))
        >>> torch.equal(store[(1, 3)]["image"], apply_view(batch["image"][2].float(), int(pending.views[2])))
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
        cache_dir: str | os.PathLike[str] | None = None,
        dtype: str = "float16",
        turn: bool = True,
        affine: BatchAffine | Mapping[str, Any] | None = None,
        num_workers: int = 1,
        progress: bool = False,
    ) -> None:
        if dtype not in DTYPES:
            raise InputError(f"dtype must be one of {', '.join(map(repr, DTYPES))}, got {dtype!r}.")
        names = (keys,) if isinstance(keys, str) else tuple(keys)
        self.turn, self.affine, self.label_key = turn, BatchAffine.read(affine), label_key
        self._open: dict[int, dict[str, torch.Tensor]] = {}
        super().__init__(
            data,
            _with_compact(transform, CompactVolumesd(names, label_key, dtype)),
            seed=seed,
            keys=names,
            label_key=label_key,
            background_ratio=background_ratio,
            cache_dir=cache_dir,
            num_workers=num_workers,
            progress=progress,
            identify=True,
        )
        self.views = VIEWS if turn or self.random_transforms else 1
        height, width = self._draw(0, 0, 0)[self.keys[0]].shape[-2:]
        if turn and height != width:
            raise InputError(
                f"slices of {height} x {width} pixels cannot be turned by a quarter: bring them to a square with Resized,"
                " or set turn to false."
            )

    def __getitem__(self, index: int | tuple[int, int]) -> dict[str, Any]:
        """Return one finished slice: float32 ``[C, H, W]`` in its view, and what :meth:`gather` says about it."""
        if isinstance(index, int) and not -len(self) <= index < len(self):
            raise IndexError(f"slice {index} of {len(self)}")
        place, key, view, matrix = self._place(index)
        item = self._taken(self._draw(*place, key), place, view)
        for name, value in item.items():
            if matrix is not None and isinstance(value, torch.Tensor):
                item[name] = self.warp(name, value[None], [matrix])[0]
        return item | self._about(place) | self._seen(item["view"], matrix)

    def gather(self, indices: Sequence[int | tuple[int, int]]) -> tuple[dict[str, Any], Pending]:
        """Return a batch of slices, and what is still to be done with its maps.

        Without random transforms the maps have the types in which they are stored. With some, they are in float32 and in
        their views, and the views that are left to take are 0.

        Returns:
            the maps ``[B, C, H, W]``; ``"view"``, which view of the stored image each image will be (-1 where random
            transforms or ``affine`` change it in another way), and ``"slice_index"``, integers ``[B]``; ``"volume_key"``,
            the hash of the stored image, and ``"case_id"``, lists of text.
        """
        places = [self._place(index) for index in indices]
        views = torch.tensor([view for _, _, view, _ in places])
        if self.random_transforms:
            items = [self._taken(self._draw(*place, key), place, view) for place, key, view, _ in places]
            views = torch.zeros_like(views)
        else:
            items = [self._stored(place) | {"view": view} for place, _, view, _ in places]
        items = [
            item | self._about(place) | self._seen(item["view"], matrix)
            for item, (place, _, _, matrix) in zip(items, places, strict=True)
        ]
        batch = {key: _together([item[key] for item in items]) for key in items[0]}
        return batch, Pending(views, [matrix for *_, matrix in places])

    def warp(self, name: str, maps: torch.Tensor, affines: Sequence[torch.Tensor | None]) -> torch.Tensor:
        """Return float32 maps ``[B, C, H, W]`` of an entry after their affine changes: labels by nearest, others linear."""
        if self.affine is None:
            return maps
        return self.affine.apply(maps, affines, "nearest" if name == self.label_key else "bilinear")

    def clean_image(self, number: int) -> torch.Tensor:
        """Return the image of an item, float32, before its random transforms and in view 0."""
        case_number, position = self.slices[number]
        return self._volume(case_number)[self.keys[0]][position].float()

    def __getstate__(self) -> dict[str, Any]:
        """Leave the mapped files out: a worker process maps them itself."""
        return {**self.__dict__, "_open": {}}

    def _place(self, index: int | tuple[int, int]) -> tuple[tuple[int, int], int, int, torch.Tensor | None]:
        """Return (case, slice), the key of the random transforms, the view and the affine change of an index."""
        epoch, number = (
            (int(part) for part in index) if isinstance(index, (tuple, list)) else (0, int(index) % len(self))
        )
        view = random.Random(random_key(self.seed, "view", epoch, number)).getrandbits(3) if self.turn else 0
        matrix = self.affine.draw(random_key(self.seed, "affine", epoch, number)) if self.affine else None
        return self.slices[number % len(self)], random_key(self.seed, epoch, number), view, matrix

    @staticmethod
    def _seen(view: int, matrix: torch.Tensor | None) -> dict[str, int]:
        return {"view": view if matrix is None else -1}

    def _about(self, place: tuple[int, int]) -> dict[str, Any]:
        case_number, position = place
        name, key = case_name(self.data[case_number]), self.volume_keys[case_number]
        return {"case_id": name, "slice": position, "volume_key": key, "slice_index": position}

    def _volume(self, case_number: int) -> dict[str, torch.Tensor]:
        # kept open: opening a file for each slice costs more than the slice
        if case_number not in self._open:
            self._open[case_number] = self._volumes[case_number]
        return self._open[case_number]

    def _stored(self, place: tuple[int, int]) -> dict[str, torch.Tensor]:
        case_number, position = place
        volume = self._volume(case_number)
        item = {key: volume[key][position] for key in self.keys if key in volume}
        if self.maps is not None:
            item.update(self.maps(self.volume_keys[case_number], position))
        return item

    def _draw(self, case_number: int, position: int, key: int) -> dict[str, Any]:
        """Return float32 maps of a slice after its random transforms, in view 0."""
        # a copy each: a transform, or the caller, may write into what it is given
        stored = self._stored((case_number, position))
        item = {name: values.to(torch.float32, copy=True) for name, values in stored.items()}
        if not self.random_transforms:
            return item
        self._random.set_random_state(seed=key)
        try:
            result = self._random(item)
        except Exception as error:
            raise case_error(self.data[case_number], error) from error
        if isinstance(result, list):
            raise InputError(
                "a random transform takes several samples of a slice, which the slice store cannot put into a batch:"
                " use SliceDataset, or let it take one sample."
            )
        return {name: torch.as_tensor(value).as_subclass(torch.Tensor) for name, value in result.items()}

    def _taken(self, item: dict[str, Any], place: tuple[int, int], view: int) -> dict[str, Any]:
        taken = {key: apply_view(value, view).contiguous() for key, value in item.items()}
        if self.random_transforms:
            view = find_view(self._stored(place)[self.keys[0]].float(), taken[self.keys[0]])
        return taken | {"view": view}


def _with_compact(transform: Compose, compact: CompactVolumesd) -> Compose:
    """Put ``compact`` behind the deterministic transforms."""
    flat = (transform if isinstance(transform, Compose) else Compose(transform)).flatten()
    first = flat.get_index_of_first(lambda t: isinstance(t, RandomizableTrait) or not isinstance(t, Transform))
    place = len(flat.transforms) if first is None else first
    parts = [*flat.transforms[:place], compact, *flat.transforms[place:]]
    return Compose(parts, map_items=flat.map_items, lazy=flat.lazy, overrides=flat.overrides)


def _together(values: list[Any]) -> Any:
    if isinstance(values[0], torch.Tensor):
        return torch.stack(values)
    return torch.tensor(values) if isinstance(values[0], int) else values
