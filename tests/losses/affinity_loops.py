# SPDX-License-Identifier: Apache-2.0
"""The affinity loss in NumPy loops, pair by pair in float64, written from its definition: what the tests measure by."""

from __future__ import annotations

import itertools

import numpy as np


def affinity_loops(scores, labels, kernel=3, dilation=1, margin=3.0, ignore_index=255, class_balanced=False):
    """Return (L+, its gradient, L-, its gradient) for scores [B, C, *spatial] and labels [B, *spatial]."""
    scores = np.asarray(scores, dtype=np.float64)
    log_p = scores - scores.max(1, keepdims=True)
    log_p = log_p - np.log(np.exp(log_p).sum(1, keepdims=True))
    size, reach = scores.shape[2:], kernel // 2
    equal, unequal = [], []
    for b, i in itertools.product(range(len(scores)), itertools.product(*map(range, size))):
        for step in itertools.product(range(-reach, reach + 1), repeat=len(size)):
            j = tuple(a + dilation * s for a, s in zip(i, step, strict=True))
            if j == i or not all(0 <= a < n for a, n in zip(j, size, strict=True)):
                continue
            if ignore_index is not None and ignore_index in (labels[(b, *i)], labels[(b, *j)]):
                continue
            (equal if labels[(b, *i)] == labels[(b, *j)] else unequal).append((b, i, j))

    def divergence(pair):
        b, i, j = pair
        l_i, l_j = log_p[(b, slice(None), *i)], log_p[(b, slice(None), *j)]
        p_i, p_j = np.exp(l_i), np.exp(l_j)
        w = (p_i * (l_i - l_j)).sum()
        return w, p_i * (l_i - l_j - w), p_j - p_i  # derivatives by the scores at i and at j

    def weighted(pairs, weights, hinge):
        value, gradient = 0.0, np.zeros_like(scores)
        for (b, i, j), weight in zip(pairs, weights, strict=True):
            w, by_i, by_j = divergence((b, i, j))
            if hinge and w >= margin:
                continue
            sign = -1 if hinge else 1
            value += weight * ((margin - w) if hinge else w)
            gradient[(b, slice(None), *i)] += sign * weight * by_i
            gradient[(b, slice(None), *j)] += sign * weight * by_j
        return value, gradient

    classes = [labels[(b, *i)] for b, i, _ in equal]
    if class_balanced:
        share = [1 / (len(set(classes)) * classes.count(c)) for c in classes]
    else:
        share = [1 / max(len(equal), 1)] * len(equal)
    return (*weighted(equal, share, False), *weighted(unequal, [1 / max(len(unequal), 1)] * len(unequal), True))
