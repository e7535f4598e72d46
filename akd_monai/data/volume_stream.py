# SPDX-License-Identifier: Apache-2.0
"""Volumes one after another, of which a bad one costs itself alone."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from monai.data import IterableDataset, MetaTensor
from monai.transforms import apply_transform
from torch.utils.data import get_worker_info

from akd_monai.data._failures import described_failure, failures_error
from akd_monai.errors import InputError

__all__ = ["VolumeStream"]

logger = logging.getLogger(__name__)

_Item = Mapping[str, Any]


class VolumeStream(IterableDataset):
    """Data set for MONAI's ``DataLoader`` that skips what cannot be loaded, says so, and counts it.

    Each item whose transforms raise an error is logged with its file and the cause, in one line; so is one whose mask
    cannot be made or written, where :meth:`guarded_inferer` stands around the inferer and :meth:`guarded` around
    postprocessing. :meth:`report` ends the run with an
    error if there were any. Worker processes share the items.

    Args:
        data: items whose ``key`` holds the path of the volume.
        transform: what loads and prepares an item.
        key: entry of the volume.

    Example:
        >>> def load(item):
        ...     if item["image"] == "b.nii.gz":
        ...         raise InputError("has 0 bytes", where="b.nii.gz", remedy="copy it again")
        ...     return item
        >>> stream = VolumeStream([{"image": "a.nii.gz"}, {"image": "b.nii.gz"}], load)
        >>> list(stream)
        [{'image': 'a.nii.gz'}]
        >>> stream.report()
        Traceback (most recent call last):
        ...
        akd_monai.errors.InputError: 1 of 2 volumes segmented; failed: b.nii.gz (has 0 bytes).
    """

    def __init__(self, data: Sequence[_Item], transform: Callable[..., Any], *, key: str = "image") -> None:
        super().__init__(data, transform)
        self.key = key
        self._items = list(data)
        self._load = transform
        self.reasons: dict[int, str] = {}
        self._faults: set[int] = set()
        # worker processes write to the same memory
        self._failed = torch.zeros(len(data), dtype=torch.bool).share_memory_()

    def __iter__(self) -> Iterator[Any]:
        """Yield the items that can be loaded, in order; of several workers, each takes its share."""
        worker = get_worker_info()
        first, step = (0, 1) if worker is None else (worker.id, worker.num_workers)
        for index in range(first, len(self._items), step):
            try:
                item = apply_transform(self._load, dict(self._items[index]))
            except Exception as error:  # whatever is wrong with one volume, the others are done
                self._record(index, _cause(error))
                continue
            yield item

    def guarded(self, transform: Callable[..., Any]) -> Callable[[_Item], Any]:
        """Return ``transform``, of which a failure costs the item alone: it is returned as it was.

        Args:
            transform: postprocessing; its items hold the volume at ``key``, a ``MetaTensor`` that names its file.

        Example:
            >>> def broken(item):
            ...     raise InputError("has no mask", where="a.nii.gz")
            >>> stream = VolumeStream([{"image": "a.nii.gz"}], dict)
            >>> volume = MetaTensor(torch.zeros(1), meta={"filename_or_obj": "a.nii.gz"})
            >>> stream.guarded(broken)({"image": volume})["image"] is volume
            True
            >>> stream.reasons
            {0: 'has no mask'}
        """
        return partial(self._finish, transform)

    def guarded_inferer(self, inferer: Callable[..., Any]) -> Callable[..., Any]:
        """Return ``inferer``, of which a failure costs the volumes of its batch alone; no mask is made of them.

        Args:
            inferer: called with a batch of volumes, a ``MetaTensor`` that names its files, and the network.

        Example:
            >>> def broken(inputs, network):
            ...     raise InputError("does not fit the network")
            >>> stream = VolumeStream([{"image": "a.nii.gz"}], dict)
            >>> batch = MetaTensor(torch.zeros(1, 1, 8, 8), meta={"filename_or_obj": ["a.nii.gz"]})
            >>> stream.guarded_inferer(broken)(batch, None).shape
            torch.Size([1, 1, 8, 8])
            >>> stream.reasons
            {0: 'does not fit the network'}
        """
        return partial(self._infer, inferer)

    def _infer(self, inferer: Callable[..., Any], inputs: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return inferer(inputs, *args, **kwargs)
        except Exception as error:  # whatever is wrong with one volume, the others are done
            files = inputs.meta.get("filename_or_obj") if isinstance(inputs, MetaTensor) else None
            indices = [self._index_of_file(file) for file in (files if isinstance(files, list) else [files])]
            known = [index for index in indices if index is not None]
            if len(known) < len(indices):
                raise
            for index in known:
                self._record(index, _cause(error))
            # something of the right length; postprocessing leaves it alone
            return inputs

    def _finish(self, transform: Callable[..., Any], item: _Item) -> Any:
        index = self._index_of(item)
        if index in self.reasons:
            return item
        try:
            return apply_transform(transform, item)
        except Exception as error:  # whatever is wrong with one volume, the others are done
            if index is None:
                raise
            self._record(index, _cause(error))
            return item

    def _index_of(self, item: _Item) -> int | None:
        volume = item.get(self.key)
        return self._index_of_file(volume.meta.get("filename_or_obj") if isinstance(volume, MetaTensor) else None)

    def _index_of_file(self, file: Any) -> int | None:
        files = [os.fspath(known[self.key]) for known in self._items]
        return files.index(os.fspath(file)) if file is not None and os.fspath(file) in files else None

    def report(self) -> None:
        """Log how many volumes were segmented.

        Raises:
            InputError: if some failed, naming them with their reasons; its code is ``"machine-fault"`` where memory or disk
                were the reason of all.
        """
        failed = self._failed.nonzero().flatten().tolist()
        files = [os.fspath(item[self.key]) for item in self._items]
        if failed:
            raise failures_error(files, failed, self.reasons, self._faults)
        logger.info("%d of %d volumes segmented.", len(files), len(files))

    def _record(self, index: int, error: BaseException) -> None:
        file = os.fspath(self._items[index][self.key])
        failure = described_failure(file, error)
        if failure.is_fault:
            self._faults.add(index)
        logger.error("not segmented: %s", failure.message)
        logger.debug("while %s was segmented", file, exc_info=error)
        self.reasons[index] = failure.reason
        self._failed[index] = True


def _cause(error: BaseException) -> BaseException:
    """Return the mistake or, without one, the first error; MONAI wraps it once for each transform around it."""
    while not isinstance(error, InputError) and error.__cause__ is not None:
        error = error.__cause__
    return error
