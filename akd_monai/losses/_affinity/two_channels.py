# SPDX-License-Identifier: Apache-2.0
r"""Affinity loss of two channels by box sums: everything depends on the difference of the two scores.

With :math:`\delta = f_1 - f_0`, :math:`p = \sigma(\delta)` and ``s`` as in :mod:`~akd_monai.losses._affinity.box`, the
equal-label pairs, whose weights are symmetric, add

.. math:: w_i = -p_i \, s(\delta)_i, \qquad G_{1i} = -p_i (1 - p_i) \, s(\delta)_i - s(p)_i, \qquad G_0 = -G_1

to loss and gradient: two maps of one channel instead of four. Here ``w`` is what a pixel adds once the parts that
cancel in the sum over a pair are left out.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from akd_monai.losses._affinity.same_label import SameLabelGraph

__all__ = ["two_channels"]


def two_channels(scores: Tensor, graph: SameLabelGraph, weight: Tensor, factor: float, out: Tensor | None) -> Tensor:
    """Return the value of one sample ``[2, *spatial]`` and write its gradient to ``out``.

    Args:
        scores: of the sample, contiguous.
        graph: its neighbours of equal label.
        weight: of the equal-label pairs of each pixel, 0 where a pixel does not count.
        factor: of the pairs of different label.
        out: place for the gradient, ``[2, *spatial]``, contiguous, or ``None``.
    """
    delta = (scores[1] - scores[0]).unsqueeze(0)
    p = delta.sigmoid()
    missing, at_first, at_second = _repel(delta.flatten(), p.flatten(), graph, factor)
    steep = graph.spread(graph.centred_(delta)).mul_(weight)
    del delta
    centred = graph.centred_(p.clone())
    value = missing - (centred * steep).sum()
    if out is None:
        return value
    flow = graph.spread(centred).mul_(weight).add_(torch.ops.aten.sigmoid_backward(steep, p))
    flow.flatten().index_add_(0, graph.here, at_first.neg_()).index_add_(0, graph.there, at_second.neg_())
    out[0] = flow[0]
    torch.neg(flow[0], out=out[1])
    return value


def _repel(delta: Tensor, p: Tensor, graph: SameLabelGraph, factor: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return the value of the ordered pairs of different label, and its slopes by delta at their two pixels."""
    margin = graph.options.margin
    d_here = delta.index_select(0, graph.here)
    d_there = delta.index_select(0, graph.there)
    here = p.index_select(0, graph.here)
    there = p.index_select(0, graph.there)
    difference = d_here - d_there
    w = F.logsigmoid(-d_here) - F.logsigmoid(-d_there) + here * difference
    slope = (w < margin).to(w.dtype) * -factor
    at_first = here * (1 - here) * difference * slope
    return factor * (margin - w).relu_().sum(), at_first, (there - here) * slope
