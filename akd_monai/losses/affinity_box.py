# SPDX-License-Identifier: Apache-2.0
r"""Affinity loss by box sums: for label maps with few borders.

With ``l = log softmax`` and ``p = exp l``, the equal-label pairs of pixel i add to the loss and to its gradient

.. math:: w_i = \langle p_i, D_i \rangle, \qquad G_i = p_i (D_i - w_i + n_i) - S_i, \qquad
          D_i = n_i l_i - \sum_{j \sim i} l_j, \qquad S_i = \sum_{j \sim i} p_j

where ``j ~ i`` are the ``n_i`` neighbours of equal label. The sums over *all* neighbours are separable box sums, whose
cost hardly depends on the kernel; only the pairs of different label, rare on a smooth map, are visited one by one, to
take them out of these sums and to form their hinge.

Memory: the gradient, which first holds the probabilities, and temporaries of a few channels of one sample.
"""

from __future__ import annotations

import torch
from torch import Tensor

from akd_monai.losses.affinity_pairs import LabelPairs

# Numbers in one temporary on a CPU: 512 KiB in float32, so that the few that are alive at once stay in the cache.
_BLOCK = 2**17


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
    given = values
    for axis in range(-dims, 0):
        n = values.shape[axis]
        shifts = [dilation * step for step in range(1, radius + 1) if dilation * step < n]
        if not shifts:
            continue
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
        values = total
    return values.clone() if values is given else values


def box_affinity(
    scores: Tensor, pairs: LabelPairs, attract: float, repel: float, want_gradient: bool
) -> tuple[Tensor, Tensor | None]:
    """Return ``attract * L+ + repel * L-`` and, if wanted, its gradient with respect to ``scores``.

    Args:
        scores: ``[B, C, *spatial]``, float32 or float64.
        pairs: the pairs of the label map of the same size.
        attract: factor of the first term.
        repel: factor of the second term.
        want_gradient: compute the gradient?
    """
    options, size = pairs.options, scores.shape[2:]
    inside = scores.new_ones(1, *size) if pairs.valid is None else pairs.valid.to(scores.dtype)
    window = box_sum(inside, options.radius, options.dilation, len(size)).mul_(inside)
    weight = pairs.attract_weight(scores.dtype) * attract
    value = scores.new_zeros(())
    gradient = torch.empty_like(scores, memory_format=torch.contiguous_format) if want_gradient else None
    for b in range(len(scores)):
        sample = _Sample(scores[b], pairs, b, None if gradient is None else gradient[b])
        mine = None if pairs.valid is None else inside[b]
        if attract:
            value += sample.attract(window[b if len(window) > 1 else 0], weight[b] if weight.dim() else weight, mine)
        elif gradient is not None:
            gradient[b].zero_()
        if repel:
            value += sample.repel(options.margin, repel / max(pairs.n_different, 1))
    return value, gradient


class _Sample:
    """One sample: its probabilities, its pairs of different label, and the gradient to be written.

    ``out`` ``[C, *spatial]`` holds the probabilities until the gradient takes their place.
    """

    def __init__(self, scores: Tensor, pairs: LabelPairs, number: int, out: Tensor | None) -> None:
        self.scores, self.out, self.options = scores, out, pairs.options
        channels, pixels = len(scores), scores[0].numel()
        step = channels if scores.is_cuda else max(1, min(channels, _BLOCK // pixels))
        self.blocks = [slice(start, start + step) for start in range(0, channels, step)]
        top = scores.amax(0)
        self.p = torch.sub(scores, top, out=out) if out is not None else scores - top
        total = self.p.exp_().sum(0)
        self.p.div_(total)
        self.log_sum = top.add_(total.log_())
        self.i, self.j = pairs.border(number)
        flat, log_sum = scores.flatten(1), self.log_sum.flatten()
        self.l_i, self.l_j = (flat[:, index].sub_(log_sum[index]) for index in (self.i, self.j))
        self.p_i, self.p_j = (self.p.flatten(1)[:, index] for index in (self.i, self.j))

    def attract(self, window: Tensor, weight: Tensor, inside: Tensor | None) -> Tensor:
        """Return the first term and write its gradient.

        Args:
            window: number of pixels in the window of each pixel, itself included.
            weight: of the equal-label pairs, one number or one a pixel.
            inside: 1 for the pixels that count, 0 for the others; ``None`` if all do.
        """
        axes = tuple(range(-window.dim(), 0))
        one = torch.ones_like(self.i, dtype=window.dtype)
        around = window.flatten().index_add(0, self.i, one, alpha=-1).index_add_(0, self.j, one, alpha=-1)
        around = around.view_as(window)
        weight = weight if inside is None else weight * inside
        w = torch.zeros_like(window)
        for block in self.blocks:
            log_p, p = self._log_p(block), self.p[block]
            # A constant per channel cancels in all differences; without it float32 keeps the small ones of smooth maps.
            shift = log_p.mean(axes, keepdim=True)
            log_p -= shift
            if inside is not None:
                log_p *= inside
                p.mul_(inside)
            d = self._less_window(log_p, around)
            shift = shift.flatten(1)
            self._add_border(d, self.l_i[block] - shift, self.l_j[block] - shift)
            w += (p * d).sum(0)
            if self.out is not None:
                d.add_(around).mul_(p).sub_(self._window_sum(p))
                torch.mul(self._add_border(d, self.p_i[block], self.p_j[block]), weight, out=p)
        w *= weight
        if self.out is not None:
            for block in self.blocks:
                # The probabilities a second time: cheaper than a place to keep them.
                self.out[block].addcmul_(self._log_p(block).exp_(), w, value=-1)
        return w.sum()

    def repel(self, margin: float, factor: float) -> Tensor:
        """Return the second term, both directions of each pair, and add its gradient."""
        difference = self.l_i - self.l_j
        forth, back = (self.p_i * difference).sum(0), -(self.p_j * difference).sum(0)
        if self.out is not None:
            # Scaling a Boolean mask by a float would make it float32 in a float64 graph.
            g_forth = (forth < margin).to(forth.dtype) * -factor
            g_back = (back < margin).to(back.dtype) * -factor
            step, flat = self.p_j - self.p_i, self.out.flatten(1)
            flat.index_add_(1, self.i, (difference - forth).mul_(g_forth).mul_(self.p_i).sub_(g_back * step))
            flat.index_add_(1, self.j, difference.add_(back).mul_(-g_back).mul_(self.p_j).add_(step.mul_(g_forth)))
        return factor * ((margin - forth).relu().sum() + (margin - back).relu().sum())

    def _log_p(self, block: slice) -> Tensor:
        return (self.scores[block] - self.log_sum).contiguous()

    def _window_sum(self, values: Tensor) -> Tensor:
        return box_sum(values, self.options.radius, self.options.dilation, values.dim() - 1)

    def _less_window(self, values: Tensor, around: Tensor) -> Tensor:
        """Turn ``values`` into ``around * values`` less their sum over the window; a function, to free the sum."""
        total = self._window_sum(values)
        return values.mul_(around).sub_(total)

    def _add_border(self, target: Tensor, at_i: Tensor, at_j: Tensor) -> Tensor:
        """Add to each pixel the values of its neighbours of different label."""
        target.flatten(1).index_add_(1, self.i, at_j).index_add_(1, self.j, at_i)
        return target
