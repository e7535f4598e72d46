# SPDX-License-Identifier: Apache-2.0
"""Which algorithm computes an affinity loss."""

from __future__ import annotations

from torch import Tensor

from akd_monai.errors import InputError
from akd_monai.losses._affinity.label_pairs import LabelPairs
from akd_monai.losses._affinity.options import AffinityOptions
from akd_monai.losses._affinity.self_test import kernel_works
from akd_monai.losses._affinity.triton_launch import triton_limit

__all__ = ["choose_algorithm", "is_reference"]

# Share of the pairs that differ in label up to which box sums are faster.
_BORDER_SHARE = 0.05
# Numbers in a sample up to which one visit of all pairs of many samples costs less than the calls for each sample.
_SMALL_MAP = 2**13


def is_reference(algorithm: str, scores: Tensor) -> bool:
    """Return whether the terms are computed by the reference, outside of the operator.

    Raises:
        InputError: if ``"triton"`` is asked for and not applicable.
    """
    if algorithm == "triton":
        limit = triton_limit(scores)
        if limit is not None:
            raise InputError(f"algorithm 'triton' {limit}: use algorithm 'auto'.")
    # The other algorithms were never tested on other devices.
    return algorithm == "reference" or (algorithm == "auto" and not (scores.is_cpu or scores.is_cuda))


def choose_algorithm(scores: Tensor, labels: Tensor, options: AffinityOptions) -> tuple[str, LabelPairs | None]:
    """Return what ``"auto"`` stands for, and the pairs of the labels where the choice depends on them.

    * On a CPU ``"box"`` where at most 5 % of the pairs differ in label, as on a decided segmentation, and the map has
      more than 8192 numbers a sample, else ``"dense"``.
    * On CUDA ``"triton"`` where it is applicable: Triton is installed, scores are float32 of at most 256 channels, and
      the kernel has passed its self-test on that device (a warning says if it has not). Else ``"dense"``, a few large
      steps for all samples.
    """
    if scores.is_cuda:
        applicable = triton_limit(scores) is None and kernel_works(scores.device)
        return ("triton" if applicable else "dense"), None
    pairs = LabelPairs(labels, options)
    few = pairs.n_different <= _BORDER_SHARE * (pairs.n_same + pairs.n_different)
    return ("box" if few and scores[0].numel() > _SMALL_MAP else "dense"), pairs
