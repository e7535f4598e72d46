# SPDX-License-Identifier: Apache-2.0
r"""Affinity loss pair by pair, without autograd: for ragged label maps.

With the weight of a pair :math:`g_{ij} = \partial L / \partial W_{ij}` (positive for equal labels, negative for
different labels below the margin, else 0),

.. math:: G_i = p_i \Big(D_i - \langle p_i, D_i \rangle + \sum_j g_{ji}\Big) - \sum_j g_{ji} p_j, \qquad
          D_i = \sum_j g_{ij} (l_i - l_j)

so that one visit of every pair gives value and gradient, and nothing but the gradient is kept. The sum of the ``p_j`` is
gathered in the memory of the gradient.
"""

from __future__ import annotations

import torch
from torch import Tensor

from akd_monai.losses._affinity.label_pairs import LabelPairs
from akd_monai.losses._affinity.windows import Region

__all__ = ["dense_affinity"]

_EVERY = slice(None)
# Numbers in one temporary on a GPU, where many small steps cost more than memory: 128 MiB in float32.
_GPU_CHUNK = 2**25
# Numbers in a temporary on a CPU beside the three maps of a sample: 1 MiB in float32.
_CPU_BLOCK = 2**18


def dense_affinity(
    scores: Tensor, pairs: LabelPairs, attract: float, repel: float, want_gradient: bool
) -> tuple[Tensor, Tensor | None]:
    """Return ``attract * L+ + repel * L-`` and, if wanted, its gradient; arguments as in ``box_affinity``."""
    weight = (pairs.attract_weight(scores.dtype) * attract).expand(len(scores), *scores.shape[2:])
    value = scores.new_zeros(())
    gradient = torch.empty_like(scores, memory_format=torch.contiguous_format) if want_gradient else None
    # On a CPU no more samples at a time than have maps that stay in the cache.
    step = max(1, (_GPU_CHUNK if scores.is_cuda else _CPU_BLOCK) // scores[0].numel())
    for start in range(0, len(scores), step):
        chunk = slice(start, start + step)
        out = None if gradient is None else gradient[chunk]
        value += _some_samples(scores[chunk], pairs, chunk, weight[chunk], repel / max(pairs.n_different, 1), out)
    return value, gradient


def _some_samples(
    scores: Tensor, pairs: LabelPairs, chunk: slice, weight: Tensor, repel: float, out: Tensor | None
) -> Tensor:
    """Return the value of some samples ``[n, C, *spatial]`` and write their gradient to ``out``."""
    blocks = _blocks(scores)
    log_p = torch.log_softmax(scores, 1)
    p = log_p.exp()
    d = torch.zeros_like(log_p)
    if out is not None:
        out.zero_()
    incoming = torch.zeros_like(log_p[:, 0])
    missing = log_p.new_zeros(())
    for k, (i, j) in enumerate(pairs.windows):
        forth, back = _divergences(log_p, p, i, j, blocks)
        push_forth = pairs.different[k][chunk] & (forth < pairs.options.margin)
        push_back = pairs.different[k][chunk] & (back < pairs.options.margin)
        missing += (push_forth.sum() + push_back.sum()).to(log_p.dtype)
        pull = pairs.same(k, chunk).to(log_p.dtype) * weight[(_EVERY, *i)]
        # From here on they hold the slopes g_ij and g_ji.
        forth = pull - push_forth.to(log_p.dtype) * repel
        back = pull - push_back.to(log_p.dtype) * repel
        if out is not None:
            incoming[(_EVERY, *i)] += back
            incoming[(_EVERY, *j)] += forth
        _gather(log_p, p, (i, j), (forth.unsqueeze(1), back.unsqueeze(1)), blocks, d, out)
    w = torch.mul(p, d, out=log_p).sum(1, keepdim=True)
    if out is not None:
        torch.sub(d.add_(incoming.unsqueeze(1) - w).mul_(p), out, out=out)
    return w.sum() + pairs.options.margin * repel * missing


def _blocks(scores: Tensor) -> list[slice]:
    """Return runs of channels: all of them on a GPU, on a CPU as many as the cache holds."""
    channels = scores.shape[1]
    width = channels if scores.is_cuda else max(1, min(channels, _CPU_BLOCK * channels // scores.numel()))
    return [slice(start, start + width) for start in range(0, channels, width)]


def _divergences(log_p: Tensor, p: Tensor, i: Region, j: Region, blocks: list[slice]) -> tuple[Tensor, Tensor]:
    """Return ``W_ij`` and ``W_ji`` of one window."""
    forth, back = log_p.new_zeros(2, *log_p[:, 0][(_EVERY, *i)].shape)
    for block in blocks:
        difference = log_p[(_EVERY, block, *i)] - log_p[(_EVERY, block, *j)]
        forth += (p[(_EVERY, block, *i)] * difference).sum(1)
        back -= difference.mul_(p[(_EVERY, block, *j)]).sum(1)
    return forth, back


def _gather(
    log_p: Tensor,
    p: Tensor,
    window: tuple[Region, Region],
    slopes: tuple[Tensor, Tensor],
    blocks: list[slice],
    d: Tensor,
    out: Tensor | None,
) -> None:
    """Add the pairs of one window to ``d`` (the sums D) and to ``out`` (the sums of the neighbours' ``g p``)."""
    i, j = window
    forth, back = slopes
    for block in blocks:
        at_i = (_EVERY, block, *i)
        at_j = (_EVERY, block, *j)
        difference = log_p[at_i] - log_p[at_j]
        d[at_i].addcmul_(difference, forth)
        d[at_j].addcmul_(difference, back, value=-1)
        if out is not None:
            out[at_i].addcmul_(p[at_j], back)
            out[at_j].addcmul_(p[at_i], forth)
