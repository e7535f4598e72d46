# SPDX-License-Identifier: Apache-2.0
"""Pairs of neighbouring pixels: options, windows, and what the labels alone decide about them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from numbers import Integral

import torch
from torch import Tensor

from akd_monai.errors import InputError, check_number

Region = tuple[slice, ...]
# Masks in one number of 64 bits.
_WORD = 8


@dataclass(frozen=True)
class AffinityOptions:
    """What defines the affinity loss, checked once.

    Args:
        kernel: side of the window in pixels, odd, at least 3.
        dilation: distance of neighbouring pixels of the window, at least 1.
        margin: Kullback-Leibler divergence in nats that pairs of different label should reach, above 0.
        ignore_index: label of pixels that belong to no pair; ``None`` for none.
        class_balanced: average the attraction over classes instead of over pairs.

    Raises:
        InputError: if a value is out of its range.
    """

    kernel: int = 3
    dilation: int = 1
    margin: float = 3.0
    ignore_index: int | None = 255
    class_balanced: bool = False

    def __post_init__(self) -> None:
        if not _is_int(self.kernel) or self.kernel < 3 or self.kernel % 2 == 0:
            raise InputError(f"kernel must be an odd whole number of at least 3, got {self.kernel!r}.")
        if not _is_int(self.dilation) or self.dilation < 1:
            raise InputError(f"dilation must be a whole number of at least 1, got {self.dilation!r}.")
        check_number("margin", self.margin, above=0)
        if self.ignore_index is not None and not _is_int(self.ignore_index):
            raise InputError(f"ignore_index must be a whole number or None, got {self.ignore_index!r}.")

    @property
    def radius(self) -> int:
        """Number of neighbours on each side along one axis."""
        return self.kernel // 2


def _is_int(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def half_windows(size: tuple[int, ...], options: AffinityOptions) -> Iterator[tuple[Region, Region]]:
    """Yield regions (of pixels i, of their neighbours j) of the image, one for each unordered pair of offsets.

    Every unordered pair of pixels appears once; swapping i and j gives the other half of the ordered pairs. Regions
    hold pixels inside the image only; offsets that fit nowhere are left out.
    """
    steps = range(-options.radius, options.radius + 1)
    for offset in itertools.product(steps, repeat=len(size)):
        shift = [options.dilation * o for o in offset]
        if offset > (0,) * len(size) and all(abs(s) < n for s, n in zip(shift, size, strict=True)):
            yield (
                tuple(slice(max(0, -s), n - max(0, s)) for s, n in zip(shift, size, strict=True)),
                tuple(slice(max(0, s), n + min(0, s)) for s, n in zip(shift, size, strict=True)),
            )


def valid_pixels(labels: Tensor, ignore_index: int | None) -> Tensor | None:
    """Return a mask of the pixels that count, or ``None`` where the labels' type cannot hold ``ignore_index``."""
    if ignore_index is None:
        return None
    limits = torch.iinfo(labels.dtype)
    return labels != ignore_index if limits.min <= ignore_index <= limits.max else None


def same_and_different(labels: Tensor, valid: Tensor | None, i: Region, j: Region) -> tuple[Tensor, Tensor]:
    """Return masks of the pairs of equal and of different label between two regions of ``labels`` ``[B, *spatial]``."""
    same = labels[(slice(None), *i)] == labels[(slice(None), *j)]
    different = ~same
    if valid is not None:
        both = valid[(slice(None), *i)] & valid[(slice(None), *j)]
        same, different = same & both, different & both
    return same, different


def resize_labels(labels: Tensor, size: tuple[int, ...], first_axis: int = 1) -> Tensor:
    """Resize ``[B, *spatial]`` labels by nearest-exact: output r takes input ``floor((r + 0.5) * n_in / n_out)``.

    Done on indices, so that it is exact for every type and size. ``first_axis`` is that of the first entry of ``size``.

    Example:
        >>> resize_labels(torch.arange(8).reshape(1, 1, 8), (1, 2))
        tensor([[[2, 6]]])
    """
    for axis, n_out in enumerate(size, start=first_axis):
        n_in = labels.shape[axis]
        if n_in != n_out:
            rows = (2 * torch.arange(n_out, device=labels.device) + 1) * n_in // (2 * n_out)
            labels = labels.index_select(axis, rows)
    return labels


def balanced_weights(labels: Tensor, valid: Tensor | None, options: AffinityOptions, dtype: torch.dtype) -> Tensor:
    """Return the weight of the equal-label pairs of each pixel that makes every class with such a pair count alike.

    Args:
        labels: ``[B, *spatial]``, integers.
        valid: mask of the pixels that count, or ``None`` for all.
        options: the window.
        dtype: of the weights.

    Returns:
        ``[B, *spatial]``: ``1 / (classes with pairs * ordered pairs of the pixel's class)``; over all ordered
        pairs the weights sum to 1, and to 0 where there is no pair.
    """
    pairs = torch.zeros_like(labels, dtype=torch.int64)
    for i, j in half_windows(tuple(labels.shape[1:]), options):
        same, _ = same_and_different(labels, valid, i, j)
        pairs[(slice(None), *i)] += same
        pairs[(slice(None), *j)] += same
    classes, index = labels.unique(return_inverse=True)
    counts = torch.zeros_like(classes, dtype=torch.int64).index_add_(0, index.flatten(), pairs.flatten())
    present = counts > 0
    weights = present.to(dtype) / (present.sum() * counts).clamp(min=1)
    return weights[index]


class LabelPairs:
    """The pairs of a label map, sorted into equal and different label, and their numbers.

    Args:
        labels: ``[B, *spatial]``, integers.
        options: the window.

    Attributes:
        windows: regions of the pixels i and of their neighbours j, from :func:`half_windows`.
        different: for each window a mask ``[B, *region]`` of the pairs of different label.
        valid: mask of the pixels that count, or ``None`` for all.
        n_same: number of ordered pairs of equal label.
        n_different: number of ordered pairs of different label.
    """

    def __init__(self, labels: Tensor, options: AffinityOptions) -> None:
        low, high = (int(value) for value in torch.stack(labels.aminmax()).tolist())
        labels = labels.to(_smallest_type(low, high))
        ignored = options.ignore_index
        self.labels, self.options = labels, options
        self.valid = torch.ne(labels, ignored) if ignored is not None and low <= ignored <= high else None
        self.windows = list(half_windows(tuple(labels.shape[1:]), options))
        every = slice(None)
        shapes = [labels[(every, *i)].shape for i, _ in self.windows]
        # Every window starts at a multiple of eight, so that eight masks can be read as one number.
        ends = itertools.accumulate((-(-shape.numel() // _WORD) * _WORD for shape in shapes), initial=0)
        *self._starts, size = ends
        self._masks = labels.new_zeros(size, dtype=torch.bool)
        self.different, counted = [], []
        for start, shape, (i, j) in zip(self._starts, shapes, self.windows, strict=True):
            mask = self._masks[start : start + shape.numel()].view(shape)
            torch.ne(labels[(every, *i)], labels[(every, *j)], out=mask)
            if self.valid is not None:
                both = self.valid[(every, *i)] & self.valid[(every, *j)]
                mask &= both
                counted.append(both.count_nonzero())
            self.different.append(mask)
        # Counted as integers: float32 loses single pairs above 2**24, which a batch of 384 x 384 maps exceeds.
        self.n_different = 2 * int(self._in_words()[1].count_nonzero())
        pairs = int(torch.stack(counted).sum()) if counted else sum(mask.numel() for mask in self.different)
        self.n_same = 2 * pairs - self.n_different

    def _in_words(self) -> tuple[Tensor, Tensor]:
        """Return the numbers of the words that are not 0, few on a decided segmentation, and their masks ``[n, 8]``."""
        words = self._masks.view(torch.int64).nonzero()[:, 0]
        return words, self._masks.view(len(self._masks) // _WORD, _WORD)[words]

    def same(self, window: int, samples: slice) -> Tensor:
        """Return the mask of the pairs of equal label in one window of some samples."""
        mask = ~self.different[window][samples]
        if self.valid is None:
            return mask
        i, j = self.windows[window]
        return mask & self.valid[(samples, *i)] & self.valid[(samples, *j)]

    def borders(self) -> list[tuple[Tensor, Tensor]]:
        """Return for each sample the numbers of the pixels i and j of its unordered pairs of different label."""
        batch, size = len(self.labels), self.labels.shape[1:]
        strides = [size[axis + 1 :].numel() for axis in range(len(size))]
        words, masks = self._in_words()
        rows, places = masks.nonzero(as_tuple=True)
        found = words[rows].mul_(_WORD).add_(places)
        regions = [mask[0].numel() for mask in self.different]
        # They are sorted by window and, within one, by sample.
        bounds = [start + b * n for start, n in zip(self._starts, regions, strict=True) for b in range(batch + 1)]
        cuts = torch.searchsorted(found, found.new_tensor(bounds)).tolist()
        parts: list[list[tuple[Tensor, Tensor]]] = [[] for _ in range(batch)]
        for k, (i, j) in enumerate(self.windows):
            here = cuts[k * (batch + 1) : (k + 1) * (batch + 1)]
            rest = found[here[0] : here[-1]] - self._starts[k]
            number = torch.zeros_like(rest)
            for part, stride in zip(reversed(i), reversed(strides), strict=True):
                length = part.stop - part.start
                number += (rest % length).add_(part.start).mul_(stride)
                rest = rest // length
            shift = sum((b.start - a.start) * stride for a, b, stride in zip(i, j, strides, strict=True))
            for b in range(batch):
                mine = number[here[b] - here[0] : here[b + 1] - here[0]]
                parts[b].append((mine, mine + shift))
        empty = found[:0]
        return [
            (torch.cat([empty, *(first for first, _ in part)]), torch.cat([empty, *(second for _, second in part)]))
            for part in parts
        ]

    def attract_weight(self, dtype: torch.dtype) -> Tensor:
        """Return the weight of a pixel's equal-label pairs: ``[]`` if one number for all, else ``[B, *spatial]``."""
        if self.options.class_balanced:
            return balanced_weights(self.labels, self.valid, self.options, dtype)
        return torch.tensor(1 / max(self.n_same, 1), dtype=dtype, device=self.labels.device)


def _smallest_type(low: int, high: int) -> torch.dtype:
    """Return the type with the fewest bytes that holds all numbers from ``low`` to ``high``."""
    for dtype in (torch.uint8, torch.int16, torch.int32):
        limits = torch.iinfo(dtype)
        if limits.min <= low and high <= limits.max:
            return dtype
    return torch.int64
