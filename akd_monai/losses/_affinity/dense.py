# SPDX-License-Identifier: Apache-2.0
r"""Affinity loss pair by pair, without autograd: for ragged label maps.

With the weight of a pair :math:`g_{ij} = \partial L / \partial W_{ij}` (positive for equal labels, negative for
different labels below the margin, else 0),

.. math:: G_i = p_i \Big(D_i - \langle p_i, D_i \rangle + \sum_j g_{ji}\Big) - \sum_j g_{ji} p_j, \qquad
          D_i = \sum_j g_{ij} (l_i - l_j)

so that one visit of every pair gives value and gradient, and nothing but the gradient is kept. The sum of the ``p_j`` is
gathered in the place of the gradient.
"""

from __future__ import annotations

import torch
from torch import Tensor

from akd_monai.losses._affinity.pairs import LabelPairs

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
    margin, dtype, every = pairs.options.margin, scores.dtype, slice(None)
    channels = scores.shape[1]
    width = channels if scores.is_cuda else max(1, min(channels, _CPU_BLOCK * channels // scores.numel()))
    blocks = [slice(start, start + width) for start in range(0, channels, width)]
    log_p = torch.log_softmax(scores, 1)
    p = log_p.exp()
    d = torch.zeros_like(log_p)
    if out is not None:
        out.zero_()
    incoming = torch.zeros_like(log_p[:, 0])
    missing = log_p.new_zeros(())
    for k, (i, j) in enumerate(pairs.windows):
        different, at_i, at_j = pairs.different[k][chunk], (every, *i), (every, *j)
        forth, back = log_p.new_zeros(2, *different.shape)
        for block in blocks:
            difference = log_p[(every, block, *i)] - log_p[(every, block, *j)]
            forth += (p[(every, block, *i)] * difference).sum(1)
            back -= difference.mul_(p[(every, block, *j)]).sum(1)
        push_forth, push_back = different & (forth < margin), different & (back < margin)
        missing += (push_forth.sum() + push_back.sum()).to(dtype)
        pull = pairs.same(k, chunk).to(dtype) * weight[at_i]
        forth, back = pull - push_forth.to(dtype) * repel, pull - push_back.to(dtype) * repel
        if out is not None:
            incoming[at_i] += back
            incoming[at_j] += forth
        forth, back = forth.unsqueeze(1), back.unsqueeze(1)
        for block in blocks:
            there_i, there_j = (every, block, *i), (every, block, *j)
            difference = log_p[there_i] - log_p[there_j]
            d[there_i].addcmul_(difference, forth)
            d[there_j].addcmul_(difference, back, value=-1)
            if out is not None:
                out[there_i].addcmul_(p[there_j], back)
                out[there_j].addcmul_(p[there_i], forth)
    w = torch.mul(p, d, out=log_p).sum(1, keepdim=True)
    if out is not None:
        torch.sub(d.add_(incoming.unsqueeze(1) - w).mul_(p), out, out=out)
    return w.sum() + margin * repel * missing
