# SPDX-License-Identifier: Apache-2.0
r"""Affinity loss by box sums: for label maps with few borders.

With ``l = log softmax`` and ``p = exp l``, the equal-label pairs of pixel i add to the loss and to its gradient

.. math:: w_i = \langle p_i, D_i \rangle, \qquad G_i = p_i (D_i - w_i + n_i) - S_i, \qquad
          D_i = n_i l_i - \sum_{j \sim i} l_j, \qquad S_i = \sum_{j \sim i} p_j

where ``j ~ i`` are the ``n_i`` neighbours of equal label. The sums over *all* neighbours are separable box sums, whose
cost hardly depends on the kernel; only the pairs of different label, rare on a smooth map, are visited one by one, to
take them out of these sums and to form their hinge.
"""

from __future__ import annotations

import torch
from torch import Tensor

from akd_monai.losses.affinity_pairs import AffinityOptions, LabelPairs


def box_sum(values: Tensor, radius: int, dilation: int, dims: int) -> Tensor:
    """Sum over a window of ``2 * radius + 1`` entries, ``dilation`` apart, along each of the last ``dims`` axes.

    Example:
        >>> box_sum(torch.ones(1, 4), radius=1, dilation=1, dims=1)
        tensor([[2., 3., 3., 2.]])
    """
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
    return values


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
    pixels = torch.arange(size.numel(), device=scores.device).view(size)
    inside = scores.new_ones(1, *size) if pairs.valid is None else pairs.valid.to(scores.dtype)
    neighbours = (box_sum(inside, options.radius, options.dilation, len(size)) - 1).mul_(inside)
    weight = pairs.attract_weight(scores.dtype) * attract * inside
    value = scores.new_zeros(())
    gradient = torch.empty_like(scores, memory_format=torch.contiguous_format) if want_gradient else None
    # One sample at a time: the temporaries are as large as one map and stay in the cache.
    for b in range(len(scores)):
        log_p = torch.log_softmax(scores[b].contiguous(), 0)
        p = log_p.exp()
        # A constant per channel cancels in all differences; without it float32 keeps the small ones of smooth maps.
        log_p -= log_p.mean(tuple(range(1, log_p.dim())), keepdim=True)
        border = _Border(log_p, p, *_border_pixels(pairs, b, pixels))
        out = None if gradient is None else gradient[b].flatten(1)
        if attract:
            if pairs.valid is not None:
                log_p, p = log_p * inside[b], p * inside[b]
            around, share = (x[b if len(x) > 1 else 0].flatten() for x in (neighbours, weight))
            value += _attract(log_p, p, border, around, share, options, out)
        elif out is not None:
            out.zero_()
        value += _repel(border, options.margin, repel / max(pairs.n_different, 1), out)
    return value, gradient


def _border_pixels(pairs: LabelPairs, sample: int, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the numbers of the pixels i and j of the unordered pairs of different label."""
    first, second = [pixels.new_empty(0)], [pixels.new_empty(0)]
    start = (0,) * pixels.dim()
    for (i, j), mask in zip(pairs.windows, pairs.different, strict=True):
        first.append(pixels[i].masked_select(mask[sample]))
        second.append(first[-1] + (pixels[j][start] - pixels[i][start]))
    return torch.cat(first), torch.cat(second)


class _Border:
    """Log-probabilities and probabilities of both pixels of the pairs of different label, ``[C, pairs]`` each."""

    def __init__(self, log_p: Tensor, p: Tensor, i: Tensor, j: Tensor) -> None:
        self.i, self.j = i, j
        flat_l, flat_p = log_p.flatten(1), p.flatten(1)
        self.l_i, self.l_j, self.p_i, self.p_j = flat_l[:, i], flat_l[:, j], flat_p[:, i], flat_p[:, j]


def _attract(
    log_p: Tensor,
    p: Tensor,
    border: _Border,
    neighbours: Tensor,
    weight: Tensor,
    options: AffinityOptions,
    out: Tensor | None,
) -> Tensor:
    """Return the first term of one sample and write its gradient to ``out`` ``[C, pixels]``; ``log_p`` is used up."""
    dims, i, j = log_p.dim() - 1, border.i, border.j
    box = box_sum(log_p, options.radius, options.dilation, dims).flatten(1)
    flat_l, flat_p = log_p.flatten(1), p.flatten(1)
    one = torch.ones_like(i, dtype=p.dtype)
    same = neighbours.index_add(0, i, one, alpha=-1).index_add_(0, j, one, alpha=-1)
    d = flat_l.mul_(same + 1).sub_(box)
    d.index_add_(1, i, border.l_j).index_add_(1, j, border.l_i)
    w = (flat_p * d).sum(0)
    if out is not None:
        box = box_sum(p, options.radius, options.dilation, dims).flatten(1)
        d.add_(same + 1 - w).mul_(flat_p).sub_(box)
        d.index_add_(1, i, border.p_j).index_add_(1, j, border.p_i)
        torch.mul(d, weight, out=out)
    return (w * weight).sum()


def _repel(border: _Border, margin: float, factor: float, out: Tensor | None) -> Tensor:
    """Return the second term of one sample, both directions of each pair, and add its gradient to ``out``."""
    difference = border.l_i - border.l_j
    forth, back = (border.p_i * difference).sum(0), -(border.p_j * difference).sum(0)
    if out is not None:
        # Scaling a Boolean mask by a float would make it float32 in a float64 graph.
        g_forth = (forth < margin).to(forth.dtype) * -factor
        g_back = (back < margin).to(back.dtype) * -factor
        step = border.p_j - border.p_i
        out.index_add_(1, border.i, border.p_i * (g_forth * (difference - forth)) - g_back * step)
        out.index_add_(1, border.j, border.p_j * (g_back * (-difference - back)) + g_forth * step)
    return factor * ((margin - forth).relu().sum() + (margin - back).relu().sum())
