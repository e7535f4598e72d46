# SPDX-License-Identifier: Apache-2.0
"""The one entrance to the algorithms of the affinity loss."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from akd_monai.losses._affinity.algorithm import is_reference
from akd_monai.losses._affinity.operator import operator_value
from akd_monai.losses._affinity.options import AffinityOptions
from akd_monai.losses._affinity.reference import reference_terms

__all__ = ["compute_affinity"]


def compute_affinity(
    scores: Tensor, labels: Tensor, options: AffinityOptions, algorithm: str, factors: Sequence[tuple[float, float]]
) -> list[Tensor]:
    """Return ``a * L+ + r * L-`` for each pair (a, r) of ``factors``.

    Args:
        scores: ``[B, C, *spatial]``, float32 or float64.
        labels: ``[B, *spatial]``, integers.
        options: the pairs and the margin.
        algorithm: ``"auto"``, ``"reference"``, ``"box"``, ``"dense"`` or ``"triton"``.
        factors: one pair for each scalar.

    Raises:
        InputError: if ``"triton"`` is asked for and not applicable.
    """
    if not is_reference(algorithm, scores):
        return [operator_value(scores, labels, options, algorithm, factor) for factor in factors]
    terms = reference_terms(scores, labels, options)
    return [_combined(terms, factor) for factor in factors]


def _combined(terms: tuple[Tensor, Tensor], factors: tuple[float, float]) -> Tensor:
    """Return the weighted sum of two terms; one of factor 0 is left out, as 0 times infinity is not 0."""
    used = [factor * term for factor, term in zip(factors, terms, strict=True) if factor != 0]
    return used[0] + used[1] if len(used) == 2 else used[0]
