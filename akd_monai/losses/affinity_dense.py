# SPDX-License-Identifier: Apache-2.0
r"""Affinity loss pair by pair, without autograd: for ragged label maps.

With the weight of a pair :math:`g_{ij} = \partial L / \partial W_{ij}` (positive for equal labels, negative for
different labels below the margin, else 0),

.. math:: G_i = p_i \Big(D_i - \langle p_i, D_i \rangle + \sum_j g_{ji}\Big) - \sum_j g_{ji} p_j, \qquad
          D_i = \sum_j g_{ij} (l_i - l_j)

so that one visit of every pair gives value and gradient, and nothing but the gradient is kept.
"""

from __future__ import annotations

import torch
from torch import Tensor

from akd_monai.losses.affinity_pairs import LabelPairs

# Numbers in one temporary on a GPU, where many small steps cost more than memory: 128 MiB in float32.
_GPU_CHUNK = 2**25


def dense_affinity(
    scores: Tensor, pairs: LabelPairs, attract: float, repel: float, want_gradient: bool
) -> tuple[Tensor, Tensor | None]:
    """Return ``attract * L+ + repel * L-`` and, if wanted, its gradient; arguments as in ``box_affinity``."""
    weight = (pairs.attract_weight(scores.dtype) * attract).expand(len(scores), *scores.shape[2:])
    value = scores.new_zeros(())
    gradient = torch.empty_like(scores, memory_format=torch.contiguous_format) if want_gradient else None
    # One sample at a time on a CPU: the temporaries are as large as one map and stay in the cache.
    step = max(1, _GPU_CHUNK // scores[0].numel()) if scores.is_cuda else 1
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
    log_p = torch.log_softmax(scores, 1)
    p = log_p.exp()
    d = torch.zeros_like(log_p)
    received = torch.zeros_like(log_p) if out is not None else None
    incoming = torch.zeros_like(log_p[:, :1])
    missing = log_p.new_zeros(())
    for k, (i, j) in enumerate(pairs.windows):
        at_i, at_j = (every, every, *i), (every, every, *j)
        p_i, p_j, different = p[at_i], p[at_j], pairs.different[k][chunk]
        difference = log_p[at_i] - log_p[at_j]
        push_forth = different & ((p_i * difference).sum(1) < margin)
        push_back = different & ((p_j * difference).sum(1) > -margin)
        missing += (push_forth.sum() + push_back.sum()).to(dtype)
        pull = pairs.same(k, chunk).to(dtype) * weight[(every, *i)]
        g_forth = (pull - push_forth.to(dtype) * repel).unsqueeze(1)
        g_back = (pull - push_back.to(dtype) * repel).unsqueeze(1)
        d[at_i].addcmul_(difference, g_forth)
        d[at_j].addcmul_(difference, g_back, value=-1)
        if received is not None:
            incoming[at_i] += g_back
            incoming[at_j] += g_forth
            received[at_i].addcmul_(p_j, g_back)
            received[at_j].addcmul_(p_i, g_forth)
    w = (p * d).sum(1, keepdim=True)
    if out is not None and received is not None:
        torch.sub(d.add_(incoming - w).mul_(p), received, out=out)
    return w.sum() + margin * repel * missing
