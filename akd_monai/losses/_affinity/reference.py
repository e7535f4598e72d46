# SPDX-License-Identifier: Apache-2.0
"""The affinity terms written down plainly: shifted maps and autograd. Slow; the measure of the fast algorithms."""

from __future__ import annotations

import torch
from torch import Tensor

from akd_monai.losses._affinity.pairs import (
    AffinityOptions,
    balanced_weights,
    half_windows,
    same_and_different,
    valid_pixels,
)


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
    every = slice(None)
    for i, j in half_windows(size, options):
        difference = log_p[(every, every, *i)] - log_p[(every, every, *j)]
        forth = (p[(every, every, *i)] * difference).sum(1)
        back = -(p[(every, every, *j)] * difference).sum(1)
        same, different = same_and_different(labels, valid, i, j)
        pulled = forth + back
        if weight is not None:
            pulled = pulled * weight[(every, *i)]
        attract = attract + pulled.where(same, 0).sum()
        pushed = (options.margin - forth).relu() + (options.margin - back).relu()
        repel = repel + pushed.where(different, 0).sum()
        same_pairs = same_pairs + 2 * same.sum()
        different_pairs = different_pairs + 2 * different.sum()
    if weight is None:
        attract = attract / same_pairs.clamp(min=1)
    return attract, repel / different_pairs.clamp(min=1)
