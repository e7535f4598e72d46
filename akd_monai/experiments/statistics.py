# SPDX-License-Identifier: Apache-2.0
"""Means over cases with their uncertainty, and paired comparisons of two systems on the same cases."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

__all__ = ["PairedDifference", "Summary", "holm", "paired_difference", "signed_rank_p", "summarize"]

_CONFIDENCE = 0.95


@dataclass(frozen=True)
class Summary:
    """Mean of one metric over cases with its 95 % interval.

    Attributes:
        n: cases with a defined value.
        undefined: cases left out because the metric is not defined for them.
        mean: mean of the defined values; NaN if there is none, as with the other figures.
        low: lower end of the interval, None where no interval can be given.
        high: upper end.
        sd: standard deviation of a sample (divided by n - 1); NaN for fewer than two values.
        median: median of the defined values.
        note: why something is missing, else empty.
    """

    n: int
    undefined: int
    mean: float
    low: float | None
    high: float | None
    sd: float
    median: float
    note: str = ""


@dataclass(frozen=True)
class PairedDifference:
    """Mean of first minus second over the cases that both systems have, with its 95 % interval.

    Attributes:
        n: pairs with two defined values.
        undefined: cases that both have, but with an undefined value in one of them.
        unpaired: cases that only one of them has.
        mean: mean difference; NaN without pairs.
        low: lower end of the interval of the mean, None where no interval can be given.
        high: upper end.
        median: median difference.
        wilcoxon_p: two-sided p-value of Wilcoxon's signed-rank test, None where it has nothing to rank.
        note: why something is missing, else empty.
    """

    n: int
    undefined: int
    unpaired: int
    mean: float
    low: float | None
    high: float | None
    median: float
    wilcoxon_p: float | None
    note: str = ""


def summarize(values: Iterable[float], seed: int = 0, resamples: int = 10_000) -> Summary:
    """Summarise one metric over cases, without the undefined values, which are counted.

    The interval is the bias-corrected and accelerated (BCa) bootstrap of the mean over cases: it says how the mean
    would vary with other cases of the same kind, not with another training. It is too narrow for fewer than about ten
    cases.

    Args:
        values: one figure a case; NaN means undefined.
        seed: of the resampling, so that equal values give an equal interval.
        resamples: number of bootstrap samples.

    Raises:
        ValueError: if a value is infinite, or ``resamples`` is below 1.

    Example:
        >>> summary = summarize([0.8, 0.9, 0.7, float("nan")])
        >>> summary.n, summary.undefined, round(summary.mean, 3), summary.low < 0.8 < summary.high
        (3, 1, 0.8, True)
        >>> summarize([0.8]).note
        'no interval from a single case'

    Source: B. Efron, Better bootstrap confidence intervals, JASA 82 (1987).
    """
    every = _floats(values)
    defined = every[~np.isnan(every)]
    low, high = _interval(defined, seed, resamples)
    return Summary(
        n=len(defined),
        undefined=len(every) - len(defined),
        mean=_mean(defined),
        low=low,
        high=high,
        sd=float(defined.std(ddof=1)) if len(defined) > 1 else math.nan,
        median=float(np.median(defined)) if len(defined) else math.nan,
        note=_note(len(defined)),
    )


def paired_difference(
    first: Mapping[Any, float], second: Mapping[Any, float], seed: int = 0, resamples: int = 10_000
) -> PairedDifference:
    """Compare two systems case by case: first minus second.

    Args:
        first: value of each case, by the case's name; NaN means undefined.
        second: the same of the system to compare with.
        seed: of the resampling.
        resamples: number of bootstrap samples.

    Raises:
        ValueError: if a value is infinite, or ``resamples`` is below 1.

    Example:
        >>> difference = paired_difference({"a": 0.9, "b": 0.8, "c": 0.7}, {"a": 0.8, "b": 0.6, "d": 0.9})
        >>> difference.n, difference.unpaired, round(difference.mean, 3), difference.wilcoxon_p
        (2, 2, 0.15, 0.5)

    Source: F. Wilcoxon, Individual comparisons by ranking methods, Biometrics Bulletin 1 (1945).
    """
    # Sorted by name, so that the order of the cases does not reach the resampling.
    shared = sorted(first.keys() & second.keys(), key=repr)
    minuend = _floats(first[case] for case in shared)
    subtrahend = _floats(second[case] for case in shared)
    every = minuend - subtrahend
    defined = every[~np.isnan(every)]
    low, high = _interval(defined, seed, resamples)
    p_value = signed_rank_p(defined)
    note = _note(len(defined))
    if not note and p_value is None:
        note = "no p-value: all pairs are equal"
    return PairedDifference(
        n=len(defined),
        undefined=len(every) - len(defined),
        unpaired=len(first.keys() ^ second.keys()),
        mean=_mean(defined),
        low=low,
        high=high,
        median=float(np.median(defined)) if len(defined) else math.nan,
        wilcoxon_p=p_value,
        note=note,
    )


def signed_rank_p(differences: Iterable[float]) -> float | None:
    """Return the two-sided p-value of Wilcoxon's signed-rank test of paired differences against zero.

    It is None where there is nothing to rank: fewer than two differences, or none but zeros.

    Args:
        differences: one a case; NaN means undefined, and is left out.

    Raises:
        ValueError: if a difference is infinite.

    Example:
        Of the 32 patterns of signs of five differences, two have ranks as one-sided as these:

        >>> signed_rank_p([0.1, 0.2, 0.3, 0.4, 0.5]), signed_rank_p([0.0, 0.0])
        (0.0625, None)

    Source: F. Wilcoxon, Individual comparisons by ranking methods, Biometrics Bulletin 1 (1945).
    """
    every = _floats(differences)
    # Rounded, so that equal differences tie although they were subtracted from different figures.
    defined = np.round(every[~np.isnan(every)], 9)
    if len(defined) < 2 or not defined.any():
        return None
    return float(stats.wilcoxon(defined).pvalue)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Adjust p-values for having made several comparisons; a missing one stays missing and does not count.

    The i-th smallest of m is multiplied by m - i + 1, made monotone, and limited to 1.

    Raises:
        ValueError: if a p-value is not from 0 to 1.

    Example:
        >>> holm([0.04, None, 0.01])
        [0.04, None, 0.02]

    Source: S. Holm, A simple sequentially rejective multiple test procedure, Scand. J. Statist. 6 (1979).
    """
    present = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
    if any(not 0 <= p <= 1 for p, _ in present):
        raise ValueError(f"p-values must be from 0 to 1, got {[p for p, _ in present]}.")
    adjusted: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for rank, (p, i) in enumerate(present):
        highest = max(highest, min(1.0, (len(present) - rank) * p))
        adjusted[i] = highest
    return adjusted


def _interval(values: npt.NDArray[np.float64], seed: int, resamples: int) -> tuple[float | None, float | None]:
    if resamples < 1:
        raise ValueError(f"resamples must be at least 1, got {resamples}.")
    if len(values) < 2:
        return None, None
    if np.ptp(values) == 0:
        # Every resample has the same mean, for which BCa is not defined.
        return float(values[0]), float(values[0])
    result = stats.bootstrap(
        (values,), np.mean, n_resamples=resamples, confidence_level=_CONFIDENCE, rng=np.random.default_rng(seed)
    )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)


def _note(n: int) -> str:
    return {0: "no case with a defined value", 1: "no interval from a single case"}.get(n, "")


def _mean(values: npt.NDArray[np.float64]) -> float:
    return float(values.mean()) if len(values) else math.nan


def _floats(values: Iterable[float]) -> npt.NDArray[np.float64]:
    array = np.fromiter((float(v) for v in values), dtype=np.float64)
    if np.isinf(array).any():
        raise ValueError("an infinite value has no mean; mark a case without a value as NaN.")
    return array
