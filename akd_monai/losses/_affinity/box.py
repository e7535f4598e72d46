# SPDX-License-Identifier: Apache-2.0
r"""Affinity loss by box sums: for label maps with few borders.

With ``l = log softmax``, ``p = exp l`` and, for any map v, :math:`s(v)_i = \sum_{j \sim i} (v_j - v_i)` over the
neighbours of equal label, these pairs add to the loss and to its gradient

.. math:: w_i = -\langle p_i, s(l)_i \rangle, \qquad G_i = -p_i (s(l)_i + w_i) - s(p)_i

The sums over *all* neighbours are separable box sums, whose cost hardly depends on the kernel; only the pairs of
different label, rare on a smooth map, are visited one by one, to take them out of these sums and to form their hinge.

A neighbour that is subtracted again leaves its rounding error in the sum. Where scores range so widely that this could be
seen in a float32 result, as on saturated logits, a sample is computed in float64.

Memory: the gradient, which first holds the probabilities, and temporaries of a few channels of one sample, or of all
channels where these are few.
"""

from __future__ import annotations

import torch
from torch import Tensor

from akd_monai.losses._affinity.label_pairs import LabelPairs
from akd_monai.losses._affinity.same_label import SameLabelGraph, box_sum
from akd_monai.losses._affinity.two_channels import two_channels

__all__ = ["box_affinity"]

# Numbers in one temporary on a CPU: 512 KiB in float32, so that the few that are alive at once stay in the cache.
_BLOCK = 2**17
# Numbers in a sample up to which both its logarithms and its probabilities are kept: 1.5 MiB each in float32. Beyond,
# the logarithms are computed from the scores where they are needed, and the probabilities twice.
_KEPT = 3 * 2**17
# Range of scores, times window pairs over equal-label pairs, up to which float32 keeps a value to 1e-5: rounding is
# 6e-8 of a sum, and its terms deviate from their mean by at most twice the range.
_FLOAT32_RANGE = 64.0


def box_affinity(
    scores: Tensor, pairs: LabelPairs, attract: float, repel: float, want_gradient: bool
) -> tuple[Tensor, Tensor | None]:
    """Return ``attract * L+ + repel * L-`` and, if wanted, its gradient with respect to ``scores``.

    Args:
        scores: ``[B, C, *spatial]``, float32 or float64.
        pairs: the pairs of the label map of the same size.
        attract: factor of the first term.
        repel: factor of the second term.
        want_gradient: whether the gradient is computed.
    """
    options, size = pairs.options, scores.shape[2:]
    inside = scores.new_ones(1, *size) if pairs.valid is None else pairs.valid.to(scores.dtype)
    window = box_sum(inside, options.radius, options.dilation, len(size)).mul_(inside)
    weight = (pairs.attract_weight(scores.dtype) * attract).expand(len(scores), *size)
    # Weight of the sums over complete windows; the sums over neighbours of equal label that remain of them weigh 1.
    load = (weight * window).sum().item()
    factor = repel / max(pairs.n_different, 1)
    value = scores.new_zeros(())
    gradient = torch.empty_like(scores, memory_format=torch.contiguous_format) if want_gradient else None
    compute = two_channels if scores.shape[1] == 2 else _many_channels
    for b, border in enumerate(pairs.borders()):
        # Border pixels are written through flat views, which only contiguous maps have.
        sample = scores[b].contiguous()
        dtype = _wide_enough(sample, load)
        valid = None if pairs.valid is None else inside[b].to(dtype)
        graph = SameLabelGraph(pairs, border, window[b if len(window) > 1 else 0].to(dtype), valid)
        mine = weight[b].to(dtype) if valid is None else weight[b] * valid
        # A view where the types agree, else memory of its own.
        out = None if gradient is None else gradient[b].to(dtype)
        value += compute(sample.to(dtype), graph, mine, factor, out)
        if gradient is not None and out is not None and dtype != scores.dtype:
            gradient[b] = out
    return value, gradient


def _wide_enough(scores: Tensor, load: float) -> torch.dtype:
    """Return the type in which the sums over the windows of a sample are exact enough."""
    low, high = torch.stack(scores.aminmax()).tolist()
    return scores.dtype if (high - low) * abs(load) <= _FLOAT32_RANGE else torch.float64


def _many_channels(scores: Tensor, graph: SameLabelGraph, weight: Tensor, factor: float, out: Tensor | None) -> Tensor:
    """Return the value of one sample ``[C, *spatial]`` and write its gradient to ``out``.

    Args:
        scores: of the sample, contiguous.
        graph: its neighbours of equal label.
        weight: of the equal-label pairs of each pixel, 0 where a pixel does not count.
        factor: of the pairs of different label.
        out: place for the gradient, ``[C, *spatial]``, contiguous, or ``None``.
    """
    small = scores.numel() <= _KEPT
    log_p = torch.log_softmax(scores, 0, out=None if small else out)
    log_sum = scores[0] - log_p[0]
    p = torch.exp(log_p, out=out) if small else log_p.exp_()
    missing, pushes = _repel(scores, p, log_sum, graph, factor)
    w = torch.zeros_like(log_sum)
    blocks = [slice(None)] if small or scores.is_cuda else _blocks(scores)
    for block in blocks:
        values = log_p[block] if small else scores[block] - log_sum
        q = p[block]
        if graph.inside is not None:
            q.mul_(graph.inside)
        d = graph.spread(graph.centred_(values)).mul_(q)
        w += d.sum(0)
        if out is not None:
            torch.add(d, graph.spread(q), out=values if small else q)
    if out is not None:
        for block in blocks:
            # The probabilities have lost their place to the gradient where the map is large.
            rest = log_p if small else out[block]
            again = p if small else (scores[block] - log_sum).exp_()
            torch.addcmul(rest, again, w, value=-1, out=out[block]).mul_(-weight)
        out.flatten(1).index_add_(1, graph.here, pushes[0]).index_add_(1, graph.there, pushes[1])
    return missing - (w * weight).sum()


def _blocks(scores: Tensor) -> list[slice]:
    """Return runs of channels, equally long, of about ``_BLOCK`` numbers."""
    channels = len(scores)
    step = -(-channels // min(channels, -(-scores.numel() // _BLOCK)))
    return [slice(start, start + step) for start in range(0, channels, step)]


def _repel(
    scores: Tensor, p: Tensor, log_sum: Tensor, graph: SameLabelGraph, factor: float
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Return the value of the ordered pairs of different label, and their gradient at the first and second pixels."""
    margin = graph.options.margin
    flat = scores.flatten(1)
    sums = log_sum.flatten()
    log_p = flat.index_select(1, graph.here).sub_(sums.index_select(0, graph.here))
    difference = log_p.sub_(flat.index_select(1, graph.there).sub_(sums.index_select(0, graph.there)))
    here = p.flatten(1).index_select(1, graph.here)
    there = p.flatten(1).index_select(1, graph.there)
    w = (here * difference).sum(0)
    # Scaling a Boolean mask by a float would make it float32 in a float64 graph.
    slope = (w < margin).to(w.dtype) * -factor
    at_second = (there - here).mul_(slope)
    at_first = difference.sub_(w).mul_(here).mul_(slope)
    return factor * (margin - w).relu_().sum(), (at_first, at_second)
