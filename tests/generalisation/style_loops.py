# SPDX-License-Identifier: Apache-2.0
"""Mixed channel statistics by loops in float64, as they are printed in the paper."""

from __future__ import annotations

import numpy as np

EPS = 1e-6


def by_loops(x, partners, shares, eps=EPS):
    """Return the mixed maps and, for each sample and channel, the factor by which the features are scaled."""
    x = np.asarray(x, np.float64)
    mean = np.zeros(x.shape[:2])
    std = np.zeros(x.shape[:2])
    for b in range(x.shape[0]):
        for c in range(x.shape[1]):
            values = x[b, c].ravel()
            mean[b, c] = sum(values) / len(values)
            std[b, c] = np.sqrt(sum((values - mean[b, c]) ** 2) / len(values) + eps)
    out = np.zeros_like(x)
    factors = np.zeros(x.shape[:2])
    for b in range(x.shape[0]):
        for c in range(x.shape[1]):
            p = partners[b]
            mixed_mean = shares[b] * mean[b, c] + (1 - shares[b]) * mean[p, c]
            mixed_std = shares[b] * std[b, c] + (1 - shares[b]) * std[p, c]
            out[b, c] = mixed_std * (x[b, c] - mean[b, c]) / std[b, c] + mixed_mean
            factors[b, c] = mixed_std / std[b, c]
    return out, factors
