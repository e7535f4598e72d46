# SPDX-License-Identifier: Apache-2.0
"""Batches of a slice store, finished on the training device."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from akd_monai.data.slice_store import SliceStore
from akd_monai.data.views import apply_views
from akd_monai.errors import InputError


class SliceLoader(DataLoader):
    """Loader that takes whole batches out of a store and flips, turns, widens and warps them on ``device``.

    Batches cross to the device in the types of the store, a third of the bytes of float32, from pinned memory on CUDA.
    They hold the maps in float32 on ``device``, and what :meth:`~akd_monai.data.slice_store.SliceStore.gather` says
    about them on the CPU. The maps equal those of a plain loader over the same store bit by bit.

    Args:
        dataset: a :class:`~akd_monai.data.slice_store.SliceStore`.
        device: where batches are finished: the device of the training.
        kwargs: what :class:`torch.utils.data.DataLoader` takes, less ``collate_fn``; ``pin_memory`` is on for CUDA.

    Raises:
        InputError: if the data set is no slice store.

    Example:
        >>> from monai.transforms import Compose
        >>> case = {"image": torch.rand(1, 8, 8, 5), "label": torch.ones(1, 8, 8, 5)}
        >>> loader = SliceLoader(SliceStore([case], Compose([])), batch_size=2, drop_last=True)
        >>> batch = next(iter(loader))
        >>> len(loader), batch["image"].shape, batch["label"].dtype, batch["slice_index"]
        (2, torch.Size([2, 1, 8, 8]), torch.float32, tensor([0, 1]))
    """

    def __init__(self, dataset: SliceStore, *, device: torch.device | str = "cpu", **kwargs: Any) -> None:
        if not isinstance(dataset, SliceStore):
            raise InputError(f"SliceLoader needs a SliceStore, got {type(dataset).__name__}: use DataLoader for it.")
        self.store, self.target = dataset, torch.device(device)
        kwargs.setdefault("pin_memory", self.target.type == "cuda")
        super().__init__(_Batches(dataset), collate_fn=_as_it_is, **kwargs)

    def __iter__(self) -> Iterator[dict[str, Any]]:  # type: ignore[override]
        """Return an iterator over finished batches."""
        return map(self._finish, super().__iter__())

    def _finish(self, gathered: Sequence[Any]) -> dict[str, Any]:
        batch, pending = gathered
        views = pending.views.tolist()
        finished = dict(batch)
        for key, value in batch.items():
            if isinstance(value, torch.Tensor) and value.dim() == 4:
                taken = apply_views(value.to(self.target, non_blocking=True), views, torch.float32)
                finished[key] = self.store.warp(key, taken, pending.affines)
        return finished


class _Batches(Dataset):
    """The store with the method by which PyTorch's loader asks for a whole batch."""

    def __init__(self, store: SliceStore) -> None:
        self.store = store

    def __len__(self) -> int:
        return len(self.store)

    def __getitem__(self, index: Any) -> Any:
        return self.store.gather([index])

    def __getitems__(self, indices: Sequence[Any]) -> Any:
        return self.store.gather(indices)


def _as_it_is(batch: Any) -> Any:
    return batch
