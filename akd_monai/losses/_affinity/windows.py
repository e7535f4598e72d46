# SPDX-License-Identifier: Apache-2.0
"""Neighbouring pixels as pairs of regions of the image, and how their labels compare."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import torch
from torch import Tensor

from akd_monai.losses._affinity.options import AffinityOptions

__all__ = ["Region", "half_windows", "same_and_different", "valid_pixels"]

Region = tuple[slice, ...]


def half_windows(size: tuple[int, ...], options: AffinityOptions) -> Iterator[tuple[Region, Region]]:
    """Yield regions (of pixels i, of their neighbours j) of the image, one for each unordered pair of offsets.

    Every unordered pair of pixels appears once; swapping i and j gives the other half of the ordered pairs. Regions
    hold pixels inside the image only; offsets that fit nowhere are left out.
    """
    steps = range(-options.radius, options.radius + 1)
    for offset in itertools.product(steps, repeat=len(size)):
        shift = [options.dilation * o for o in offset]
        if offset > (0,) * len(size) and all(abs(s) < n for s, n in zip(shift, size, strict=True)):
            yield _region(size, [-s for s in shift]), _region(size, shift)


def _region(size: tuple[int, ...], shift: list[int]) -> Region:
    """Return the pixels that are still inside the image when they are moved by ``-shift``."""
    return tuple(slice(max(0, s), n + min(0, s)) for s, n in zip(shift, size, strict=True))


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
        same = same & both
        different = different & both
    return same, different
