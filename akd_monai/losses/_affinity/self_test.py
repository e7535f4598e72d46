# SPDX-License-Identifier: Apache-2.0
"""A trial of the fused kernel, before the first map is trusted to it."""

from __future__ import annotations

import logging
from functools import lru_cache

import torch

from akd_monai.losses._affinity.dense import dense_affinity
from akd_monai.losses._affinity.pairs import AffinityOptions, LabelPairs
from akd_monai.losses._affinity.triton_kernel import triton_affinity

_TOLERANCE = 1e-4

logger = logging.getLogger(__name__)


@lru_cache
def kernel_serves(device: torch.device) -> bool:
    """Return whether the fused kernel runs on a device and gives there what pairs visited one by one give.

    A kernel is compiled where it runs, by tools that may be missing or too old, for a GPU that nobody has tried. It is
    tried once a process and device, on one small map; if it fails, a warning says why.
    """
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(2, 5, 9, 70, generator=generator).to(device)
    labels = (torch.rand(2, 9, 70, generator=generator).cumsum(-1) / 9).int().to(device) % 3
    options = AffinityOptions(margin=1.0, ignore_index=2)
    expected = dense_affinity(scores, LabelPairs(labels, options), 1.0, 1.0, True)
    try:
        torch.testing.assert_close(
            triton_affinity(scores, labels, options, 1.0, 1.0, True), expected, rtol=_TOLERANCE, atol=_TOLERANCE
        )
    except Exception as error:  # whatever a compiler, a driver or the comparison raises
        logger.warning(
            "the fused kernel of the affinity loss does not work on %s (%s: %s); algorithm 'auto' means 'dense' there.",
            device,
            type(error).__name__,
            " ".join(str(error).split())[:300],
        )
        return False
    return True
