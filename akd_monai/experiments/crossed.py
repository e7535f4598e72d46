# SPDX-License-Identifier: Apache-2.0
"""Intervals of a mean over sites, over cases alone and over trainings and cases."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["CrossedSummary", "crossed_summary"]

Array = npt.NDArray[np.float64]
_PERCENTILES = (2.5, 97.5)


@dataclass(frozen=True)
class CrossedSummary:
    """A mean over sites with two 95 % intervals.

    Attributes:
        mean: mean over the sites of the mean over cases and runs; NaN if a site has no defined value.
        cases: number of cases that have a defined value in some run.
        runs: number of runs of a case, the smallest over the sites.
        undefined: number of undefined values.
        over_cases: how the mean would vary with other cases, the trainings being what they are; ``None`` for a site with
            fewer than two cases.
        over_runs_and_cases: how it would vary with other cases and with other trainings; ``None``, too, for fewer than two
            runs.
    """

    mean: float
    cases: int
    runs: int
    undefined: int
    over_cases: tuple[float, float] | None
    over_runs_and_cases: tuple[float, float] | None


def crossed_summary(sites: Sequence[Sequence[npt.ArrayLike]], seed: int = 0, resamples: int = 10_000) -> CrossedSummary:
    r"""Summarise values of cases by runs: several trainings that were tested on the same cases.

    With :math:`x_{src}` the value of run :math:`r` (a seed) on case :math:`c` at site :math:`s`, the mean is

    .. math:: \bar x = \frac{1}{S} \sum_s \frac{1}{\sum_{rc} 1} \sum_{rc} x_{src}

    over the defined values. Sites are fixed: they are not a sample. In every resample, cases are drawn with replacement
    within each site and fold, the same ones for all runs, and, for the second interval, runs are drawn with replacement
    within each fold, independently of the cases. The ends are the 2.5th and 97.5th percentile of the resampled means.

    With R runs the bootstrap of runs has a variance that is too small by the factor :math:`(R - 1)/R`, half of it for two
    seeds. The mean of each run is therefore first moved away from the mean of all by :math:`\sqrt{R/(R-1)}`, which leaves
    the mean itself as it is. From two or three runs an interval is rough all the same.

    Args:
        sites: for each site its folds, each an array ``[runs, cases]``; NaN is undefined.
        seed: of the resampling.
        resamples: number of resamples.

    Raises:
        ValueError: if there is no site, an array has not two axes or holds no value, a value is infinite, or ``resamples``
            is below 1.

    Example:
        >>> summary = crossed_summary([[[[0.8, 0.9], [0.7, 0.8]]], [[[0.5, 0.5], [0.5, 0.5]]]])
        >>> round(summary.mean, 3), summary.cases, summary.runs
        (0.65, 4, 2)
        >>> crossed_summary([[[[0.8, 0.9]]]]).over_runs_and_cases is None
        True

    Source: A. B. Owen, The pigeonhole bootstrap, Ann. Appl. Stat. 1 (2007), for rows and columns drawn independently;
    T. C. Hesterberg, What teachers should know about the bootstrap, Am. Stat. 69 (2015), section 3, for the factor.
    """
    blocks = [[_checked(fold) for fold in site] for site in sites]
    if not blocks or not all(blocks) or resamples < 1:
        raise ValueError(f"crossed_summary needs a fold at every site and a resample, got {len(blocks)} sites.")
    folds = [fold for site in blocks for fold in site]
    defined = [~np.isnan(fold) for fold in folds]
    runs = min(len(fold) for fold in folds)
    fewest = min(sum(fold.shape[1] for fold in site) for site in blocks)
    means = [_site_mean(site) for site in blocks]
    usable = fewest > 1 and not any(map(math.isnan, means))
    return CrossedSummary(
        mean=float(np.mean(means)),
        cases=sum(int(known.any(axis=0).sum()) for known in defined),
        runs=runs,
        undefined=sum(int((~known).sum()) for known in defined),
        over_cases=_interval(blocks, False, seed, resamples) if usable else None,
        over_runs_and_cases=_interval(blocks, True, seed, resamples) if usable and runs > 1 else None,
    )


def _checked(values: npt.ArrayLike) -> Array:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 2 or array.size == 0 or np.isinf(array).any():
        raise ValueError(f"values of a fold must be finite or NaN, [runs, cases], got shape {array.shape}.")
    return array


def _site_mean(site: Sequence[Array]) -> float:
    values = np.concatenate([fold.ravel() for fold in site])
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else math.nan


def _interval(
    blocks: Sequence[Sequence[Array]], with_runs: bool, seed: int, resamples: int
) -> tuple[float, float] | None:
    generator = np.random.default_rng(seed)
    means = np.zeros(resamples)
    for site in blocks:
        total = np.zeros(resamples)
        count = np.zeros(resamples)
        for fold in site:
            values = _spread(fold) if with_runs else fold
            runs = _draws(generator, resamples, len(fold)) if with_runs else np.ones((resamples, len(fold)))
            cases = _draws(generator, resamples, fold.shape[1])
            total += ((runs @ np.nan_to_num(values)) * cases).sum(axis=1)
            count += ((runs @ (~np.isnan(values)).astype(np.float64)) * cases).sum(axis=1)
        # a resample may hold undefined values only
        means += np.divide(total, count, out=np.full(resamples, math.nan), where=count > 0) / len(blocks)
    if np.isnan(means).all():
        return None
    low, high = np.nanpercentile(means, _PERCENTILES)
    return float(low), float(high)


def _draws(generator: np.random.Generator, resamples: int, count: int) -> Array:
    """Return how often each of ``count`` is drawn in each resample."""
    return generator.multinomial(count, np.full(count, 1 / count), size=resamples).astype(np.float64)


def _spread(fold: Array) -> Array:
    """Move the mean of each run away from the mean of all, so that few runs vary as much as they should."""
    runs = len(fold)
    if runs < 2:
        return fold
    known = ~np.isnan(fold)
    weights = known.sum(axis=1, keepdims=True)
    means = np.nansum(fold, axis=1, keepdims=True) / np.maximum(weights, 1)
    centre = (means * weights).sum() / weights.sum()
    moved: Array = fold + (math.sqrt(runs / (runs - 1)) - 1) * (means - centre)
    return moved
