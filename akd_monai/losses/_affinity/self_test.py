# SPDX-License-Identifier: Apache-2.0
"""Self-test of the fused kernel before its first use on a device."""

from __future__ import annotations

import logging
from functools import lru_cache

import torch

from akd_monai.errors import one_line
from akd_monai.losses._affinity.dense import dense_affinity
from akd_monai.losses._affinity.label_pairs import LabelPairs
from akd_monai.losses._affinity.options import AffinityOptions
from akd_monai.losses._affinity.triton_launch import triton_affinity

__all__ = ["kernel_works"]

_TOLERANCE = 1e-4

logger = logging.getLogger(__name__)


@lru_cache
def kernel_works(device: torch.device) -> bool:
    """Return whether the fused kernel runs on a device and gives there what pairs visited one by one give.

    A kernel is compiled where it runs, by tools that may be missing or too old, for a GPU on which it was never tested.
    It is tested once in a process and device, on one small map; if it fails, a warning says why.
    """
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(2, 5, 9, 70, generator=generator).to(device)
    labels = (torch.rand(2, 9, 70, generator=generator).cumsum(-1) / 9).int().to(device) % 3
    options = AffinityOptions(margin=1.0, ignore_index=2)
    expected = dense_affinity(scores, LabelPairs(labels, options), 1.0, 1.0, True)
    try:
        found = triton_affinity(scores, labels, options, 1.0, 1.0, True)
        torch.testing.assert_close(found, expected, rtol=_TOLERANCE, atol=_TOLERANCE)
    except Exception as error:  # whatever a compiler, a driver or the comparison raises
        logger.warning(
            "the fused kernel of the affinity loss does not work on %s (%s: %s); algorithm 'auto' means 'dense' there.",
            device,
            type(error).__name__,
            one_line(error),
        )
        return False
    return True
