# SPDX-License-Identifier: Apache-2.0
"""Volumes one after another, of which a bad one costs itself alone."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from monai.data import IterableDataset
from monai.transforms import apply_transform
from torch.utils.data import get_worker_info

from akd_monai.errors import InputError, one_line

__all__ = ["VolumeStream"]

logger = logging.getLogger(__name__)

_MOST_NAMES = 10
_Item = Mapping[str, Any]


class VolumeStream(IterableDataset):
    """Data set for MONAI's ``DataLoader`` that skips what cannot be loaded, says so, and counts it.

    Each item whose transforms raise an error is logged with its file and the cause, in one line. :meth:`report` ends the
    run with an error if there were any. Worker processes share the items.

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

    def report(self) -> None:
        """Log how many volumes were loaded.

        Raises:
            InputError: if some failed, naming them with their reasons.
        """
        failed = self._failed.nonzero().flatten().tolist()
        total = len(self._items)
        counted = f"{total - len(failed)} of {total} volumes segmented"
        if not failed:
            logger.info("%s.", counted)
            return
        names = self._short_names()
        listed = [f"{names[index]} ({self.reasons.get(index, 'see above')})" for index in failed[:_MOST_NAMES]]
        more = f" and {len(failed) - _MOST_NAMES} more" if len(failed) > _MOST_NAMES else ""
        raise InputError(f"{counted}; failed: {', '.join(listed)}{more}.", code="failed-volumes")

    def _record(self, index: int, error: BaseException) -> None:
        file = os.fspath(self._items[index][self.key])
        expected = isinstance(error, InputError)
        words = one_line(error) if expected else f"{type(error).__name__}: {one_line(error)}"
        message = words if Path(file).name in words else f"{file}: {words}"
        logger.error("not segmented: %s", message)
        logger.debug("while %s was loaded", file, exc_info=error)
        self.reasons[index] = one_line(error.what, 120) if isinstance(error, InputError) else words[:120]
        self._failed[index] = True

    def _short_names(self) -> list[str]:
        files = [os.path.abspath(item[self.key]) for item in self._items]
        shared = os.path.commonpath([os.path.dirname(file) for file in files])
        return [os.path.relpath(file, shared) for file in files]


def _cause(error: BaseException) -> BaseException:
    """Return the mistake or, without one, the first error; MONAI wraps it once for each transform around it."""
    while not isinstance(error, InputError) and error.__cause__ is not None:
        error = error.__cause__
    return error
