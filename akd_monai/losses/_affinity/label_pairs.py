# SPDX-License-Identifier: Apache-2.0
"""Pairs of neighbouring pixels sorted by what their labels say, which the fast algorithms start from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from akd_monai.losses._affinity.class_weights import balanced_weights
from akd_monai.losses._affinity.options import AffinityOptions
from akd_monai.losses._affinity.windows import Region, half_windows

__all__ = ["LabelPairs"]

_EVERY = slice(None)


class LabelPairs:
    """The pairs of a label map, sorted into equal and different label, and their numbers.

    Args:
        labels: ``[B, *spatial]``, integers.
        options: the window.

    Attributes:
        windows: regions of the pixels i and of their neighbours j, from ``half_windows``.
        different: for each window a mask ``[B, *region]`` of the pairs of different label.
        valid: mask of the pixels that count, or ``None`` for all.
        n_same: number of ordered pairs of equal label.
        n_different: number of ordered pairs of different label.
    """

    def __init__(self, labels: Tensor, options: AffinityOptions) -> None:
        low, high = (int(value) for value in torch.stack(labels.aminmax()).tolist())
        ignored = options.ignore_index
        self.options = options
        self.labels = labels.to(_smallest_type(low, high))
        self.valid = torch.ne(self.labels, ignored) if ignored is not None and low <= ignored <= high else None
        self.windows = list(half_windows(tuple(labels.shape[1:]), options))
        self.different = [self._different(i, j) for i, j in self.windows]
        # Counted as integers: float32 loses single pairs above 2**24, which a batch of 384 x 384 maps exceeds.
        self.n_different = 2 * _count(self.different)
        self.n_same = 2 * self._count_pairs() - self.n_different

    def same(self, window: int, samples: slice) -> Tensor:
        """Return the mask of the pairs of equal label in one window of some samples."""
        mask = ~self.different[window][samples]
        if self.valid is None:
            return mask
        i, j = self.windows[window]
        return mask & self.valid[(samples, *i)] & self.valid[(samples, *j)]

    def borders(self) -> list[tuple[Tensor, Tensor]]:
        """Return for each sample the numbers of the pixels i and j of its unordered pairs of different label."""
        return [self._border(sample) for sample in range(len(self.labels))]

    def attract_weight(self, dtype: torch.dtype) -> Tensor:
        """Return the weight of a pixel's equal-label pairs: ``[]`` if one number for all, else ``[B, *spatial]``."""
        if self.options.class_balanced:
            return balanced_weights(self.labels, self.valid, self.options, dtype)
        return torch.tensor(1 / max(self.n_same, 1), dtype=dtype, device=self.labels.device)

    def _different(self, i: Region, j: Region) -> Tensor:
        mask = torch.ne(self.labels[(_EVERY, *i)], self.labels[(_EVERY, *j)])
        return mask if self.valid is None else mask.logical_and_(_both(self.valid, i, j))

    def _count_pairs(self) -> int:
        valid = self.valid
        if valid is None:
            return sum(mask.numel() for mask in self.different)
        return _count([_both(valid, i, j) for i, j in self.windows])

    def _border(self, sample: int) -> tuple[Tensor, Tensor]:
        none = torch.zeros(0, dtype=torch.int64, device=self.labels.device)
        first = [none]
        second = [none]
        for mask, (i, j) in zip(self.different, self.windows, strict=True):
            places = torch.unravel_index(_places(mask[sample]), mask.shape[1:])
            numbers = self._numbers(places, i)
            first.append(numbers)
            second.append(numbers + self._distance(i, j))
        return torch.cat(first), torch.cat(second)

    def _numbers(self, places: Sequence[Tensor], region: Region) -> Tensor:
        """Return the numbers in the image of pixels that are given by their places in a region."""
        numbers = torch.zeros_like(places[0])
        for place, part, length in zip(places, region, self.labels.shape[1:], strict=True):
            numbers = numbers.mul_(length).add_(place).add_(part.start)
        return numbers

    def _distance(self, i: Region, j: Region) -> int:
        """Return how far apart the numbers of a pixel and of its neighbour in a window are."""
        distance = 0
        for first, second, length in zip(i, j, self.labels.shape[1:], strict=True):
            distance = distance * length + second.start - first.start
        return distance


def _both(valid: Tensor, i: Region, j: Region) -> Tensor:
    return valid[(_EVERY, *i)] & valid[(_EVERY, *j)]


def _count(masks: Sequence[Tensor]) -> int:
    """Return how many entries of some masks are true, with one wait for the device."""
    if masks and masks[0].is_cpu:
        return sum(int(np.count_nonzero(mask.numpy())) for mask in masks)
    return int(torch.stack([mask.count_nonzero() for mask in masks]).sum()) if masks else 0


def _places(mask: Tensor) -> Tensor:
    """Return the numbers of the true entries of a mask, by NumPy on a CPU, where PyTorch takes eight times as long."""
    return torch.from_numpy(np.flatnonzero(mask.numpy())) if mask.is_cpu else mask.flatten().nonzero()[:, 0]


def _smallest_type(low: int, high: int) -> torch.dtype:
    """Return the type with the fewest bytes that holds all numbers from ``low`` to ``high``."""
    for dtype in (torch.uint8, torch.int16, torch.int32):
        limits = torch.iinfo(dtype)
        if limits.min <= low and high <= limits.max:
            return dtype
    return torch.int64
