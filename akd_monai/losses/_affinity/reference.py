# SPDX-License-Identifier: Apache-2.0
"""The affinity terms by shifted maps and autograd: slow and plain, for the fast algorithms to be compared with."""

from __future__ import annotations

import torch
from torch import Tensor

from akd_monai.losses._affinity.class_weights import balanced_weights
from akd_monai.losses._affinity.options import AffinityOptions
from akd_monai.losses._affinity.windows import half_windows, same_and_different, valid_pixels

__all__ = ["reference_terms"]

_EVERY = slice(None)


def reference_terms(scores: Tensor, labels: Tensor, options: AffinityOptions) -> tuple[Tensor, Tensor]:
    """Return (attract, repel), as in :func:`~akd_monai.losses.functional.affinity_terms`.

    Args:
        scores: ``[B, C, *spatial]``, float32 or float64.
        labels: ``[B, *spatial]``, integers.
        options: kernel, dilation, margin and the rest.
    """
    log_p = torch.log_softmax(scores, dim=1)
    p = log_p.exp()
    valid = valid_pixels(labels, options.ignore_index)
    size = tuple(scores.shape[2:])
    weight = balanced_weights(labels, valid, options, scores.dtype) if options.class_balanced else None
    # A sum over nothing is a zero that still belongs to the graph.
    attract = log_p[:, :, :0].sum()
    repel = attract
    same_pairs = torch.zeros((), dtype=torch.int64, device=scores.device)
    different_pairs = same_pairs
    for i, j in half_windows(size, options):
        difference = log_p[(_EVERY, _EVERY, *i)] - log_p[(_EVERY, _EVERY, *j)]
        forth = (p[(_EVERY, _EVERY, *i)] * difference).sum(1)
        back = -(p[(_EVERY, _EVERY, *j)] * difference).sum(1)
        same, different = same_and_different(labels, valid, i, j)
        pulled = forth + back
        if weight is not None:
            pulled = pulled * weight[(_EVERY, *i)]
        attract = attract + pulled.where(same, 0).sum()
        pushed = (options.margin - forth).relu() + (options.margin - back).relu()
        repel = repel + pushed.where(different, 0).sum()
        same_pairs = same_pairs + 2 * same.sum()
        different_pairs = different_pairs + 2 * different.sum()
    if weight is None:
        attract = attract / same_pairs.clamp(min=1)
    return attract, repel / different_pairs.clamp(min=1)
