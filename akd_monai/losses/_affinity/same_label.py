# SPDX-License-Identifier: Apache-2.0
"""The neighbours of equal label as a graph, whose sums are box sums less the few pairs at borders."""

from __future__ import annotations

import torch
from torch import Tensor

from akd_monai.losses._affinity.label_pairs import LabelPairs

__all__ = ["SameLabelGraph", "box_sum"]


def box_sum(values: Tensor, radius: int, dilation: int, dims: int) -> Tensor:
    """Sum over a window of ``2 * radius + 1`` entries, ``dilation`` apart, along each of the last ``dims`` axes.

    The result is a new tensor.

    Example:
        >>> box_sum(torch.ones(1, 4), radius=1, dilation=1, dims=1)
        tensor([[2., 3., 3., 2.]])
        >>> ones = torch.ones(1, 4)
        >>> box_sum(ones, radius=1, dilation=4, dims=1) is ones  # nothing to add, and still a copy
        False
    """
    total = values
    for axis in range(-dims, 0):
        n = values.shape[axis]
        shifts = [dilation * step for step in range(1, radius + 1) if dilation * step < n]
        if shifts:
            total = _axis_sum(total, axis, shifts)
    return values.clone() if total is values else total


def _axis_sum(values: Tensor, axis: int, shifts: list[int]) -> Tensor:
    """Return the sum of a map and of its copies shifted both ways along an axis."""
    n = values.shape[axis]
    total = torch.empty_like(values)
    first = shifts[0]
    # The first shift writes instead of adding to a copy: one pass over the memory less.
    torch.add(
        values.narrow(axis, first, n - first),
        values.narrow(axis, 0, n - first),
        out=total.narrow(axis, first, n - first),
    )
    total.narrow(axis, 0, first).copy_(values.narrow(axis, 0, first))
    total.narrow(axis, 0, n - first).add_(values.narrow(axis, first, n - first))
    for shift in shifts[1:]:
        total.narrow(axis, shift, n - shift).add_(values.narrow(axis, 0, n - shift))
        total.narrow(axis, 0, n - shift).add_(values.narrow(axis, shift, n - shift))
    return total


class SameLabelGraph:
    """The pixels of one sample, joined to their neighbours of equal label.

    Args:
        pairs: of the batch.
        border: numbers of the pixels i and of the pixels j of this sample's unordered pairs of different label.
        window: ``[*spatial]``, number of pixels that count in the window of each pixel, itself included.
        inside: ``[*spatial]``, 1 for the pixels that count and 0 for the others; ``None`` if all do.

    Attributes:
        here: number of the first pixel of each ordered pair of different label.
        there: number of the second one.
    """

    def __init__(
        self, pairs: LabelPairs, border: tuple[Tensor, Tensor], window: Tensor, inside: Tensor | None = None
    ) -> None:
        self.options = pairs.options
        self.inside = inside
        self.here = torch.cat(border)
        self.there = torch.cat(border[::-1])
        # Subtracting first: index_add_ with a factor takes many times as long.
        lost = torch.zeros_like(window)
        lost.flatten().index_add_(0, self.here, torch.ones_like(self.here, dtype=window.dtype))
        self.around = window - lost

    def centred_(self, values: Tensor) -> Tensor:
        """Take the mean off each channel of ``[C, *spatial]`` and clear the pixels that do not count, in place.

        A constant cancels in all differences; without it float32 keeps the small ones of smooth maps.
        """
        values -= values.mean(tuple(range(1, values.dim())), keepdim=True)
        return values if self.inside is None else values.mul_(self.inside)

    def spread(self, values: Tensor) -> Tensor:
        """Return the sum over a pixel's neighbours of equal label of their value less its own, ``[C, *spatial]``.

        Args:
            values: ``[C, *spatial]``, contiguous, 0 where a pixel does not count.
        """
        total = box_sum(values, self.options.radius, self.options.dilation, values.dim() - 1)
        total.addcmul_(values, self.around, value=-1)
        lost = values.flatten(1).index_select(1, self.there).neg_()
        total.flatten(1).index_add_(1, self.here, lost)
        return total
