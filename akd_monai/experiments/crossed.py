# SPDX-License-Identifier: Apache-2.0
"""Intervals of a mean over sites, over cases alone and over runs and cases."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["CrossedSummary", "crossed_summary"]

Array = npt.NDArray[np.float64]
_QUANTILES = (0.025, 0.975)


@dataclass(frozen=True)
class CrossedSummary:
    """A mean over sites with two 95 % intervals.

    Attributes:
        mean: mean over the sites of the mean over cases of the mean over runs; NaN if a site has no defined value.
        cases: number of cases that have a defined value in some run; a case counts once, not once a run.
        runs: number of runs, the smallest over the sites.
        undefined: number of undefined values, of all runs.
        over_cases: how the mean would vary with other cases, the trainings being what they are; ``None`` if a site has
            fewer than two cases with a value.
        over_runs_and_cases: how it would vary with other cases and with other trainings; ``None``, too, for fewer than two
            runs.
    """

    mean: float
    cases: int
    runs: int
    undefined: int
    over_cases: tuple[float, float] | None
    over_runs_and_cases: tuple[float, float] | None


def crossed_summary(sites: Sequence[npt.ArrayLike], seed: int = 0, resamples: int = 10_000) -> CrossedSummary:
    r"""Summarise values of cases by runs: several trainings that were tested on the same cases.

    With :math:`x_{src}` the value of run :math:`r` on case :math:`c` at site :math:`s`, the mean is

    .. math:: \bar x = \frac{1}{S} \sum_s \frac{1}{C_s} \sum_c \frac{1}{R_s} \sum_r x_{src}

    so that every site counts alike, as in a table with a column of means. Both intervals are bootstraps with percentiles:
    the ends are the 2.5th and 97.5th percentile of the means of the resamples. In every resample :math:`C_s - 1` of the
    cases of each site are drawn with replacement and, for the second interval, :math:`R_s - 1` of its runs.

    - *Sites* are not drawn: a table is about the sites that it names.
    - A *run* is one seed at one site: the trainings of all folds, which share a teacher. Folds are not drawn: they differ
      in their cases, too, so that one seed in several folds does not show what another training would give.
    - *Cases* are the same in every run, so that they are drawn once for all runs of a resample. Drawn within each run they
      would count as so many other cases, and the interval would be too narrow.
    - *One fewer is drawn than there are.* With n draws of n the variance is too small by the factor (n - 1)/n: by half for
      two runs. What training and case do together, beyond the sum of both, counts up to three times, so that the second
      interval is rather too wide; from two or three runs it is rough all the same.

    Args:
        sites: for each site an array ``[runs, cases]``; NaN is undefined and left out of its means.
        seed: of the resampling.
        resamples: number of resamples.

    Raises:
        ValueError: if there is no site, an array has not two axes or holds no value, a value is infinite, or ``resamples``
            is below 1.

    Example:
        >>> summary = crossed_summary([[[0.8, 0.9], [0.7, 0.8]], [[0.5, 0.5], [0.5, 0.5]]])
        >>> round(summary.mean, 3), summary.cases, summary.runs
        (0.65, 4, 2)
        >>> crossed_summary([[[0.8, 0.9]]]).over_runs_and_cases is None
        True

    Source: V. Saravanan, G. J. Berman and S. J. Sober, Application of the hierarchical bootstrap to multi-level data in
    neuroscience, Neurons, Behavior, Data Analysis and Theory 3 (2020); A. B. Owen, The pigeonhole bootstrap, Ann. Appl.
    Stat. 1 (2007), for rows and columns drawn independently; J. N. K. Rao and C. F. J. Wu, Resampling inference with
    complex survey data, JASA 83 (1988), for n - 1 draws.
    """
    values = [_checked(site) for site in sites]
    if not values or resamples < 1:
        raise ValueError(
            f"crossed_summary needs a site and a resample, got {len(values)} sites, {resamples} resamples."
        )
    known = [_with_values(site) for site in values]
    runs = min(map(len, values))
    has_cases = min(site.shape[1] for site in known) > 1
    return CrossedSummary(
        mean=float(np.mean([_site_mean(site) for site in known])),
        cases=sum(site.shape[1] for site in known),
        runs=runs,
        undefined=sum(int(np.isnan(site).sum()) for site in values),
        over_cases=_interval(known, False, seed, resamples) if has_cases else None,
        over_runs_and_cases=_interval(known, True, seed, resamples) if has_cases and runs > 1 else None,
    )


def _checked(values: npt.ArrayLike) -> Array:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 2 or array.size == 0 or np.isinf(array).any():
        raise ValueError(f"values of a site must be finite or NaN, [runs, cases], got shape {array.shape}.")
    return array


def _with_values(site: Array) -> Array:
    """Return a site without the cases that are undefined in every run."""
    return site[:, ~np.isnan(site).all(axis=0)]


def _site_mean(site: Array) -> float:
    return float(np.nanmean(site, axis=0).mean()) if site.shape[1] else math.nan


def _interval(sites: Sequence[Array], with_runs: bool, seed: int, resamples: int) -> tuple[float, float]:
    generator = np.random.default_rng(seed)
    means = np.zeros(resamples)
    for site in sites:
        case_counts = _draws(generator, resamples, site.shape[1])
        run_counts = _draws(generator, resamples, len(site)) if with_runs else np.ones((resamples, len(site)))
        means += _resampled(site, run_counts, case_counts) / len(sites)
    # a resample of a site may hold undefined values only, and has no mean then
    low, high = np.nanquantile(means, _QUANTILES)
    return float(low), float(high)


def _draws(generator: np.random.Generator, resamples: int, count: int) -> Array:
    """Return how often each of ``count`` is drawn in each resample."""
    drawn = generator.integers(count, size=(resamples, count - 1))
    # one place for each resample and what it may draw; counting them is several times faster than multinomial draws
    places = drawn + count * np.arange(resamples)[:, None]
    counts = np.bincount(places.ravel(), minlength=resamples * count)
    return counts.reshape(resamples, count).astype(np.float64)


def _resampled(site: Array, run_counts: Array, case_counts: Array) -> Array:
    """Return the mean of each resample: over the cases drawn, of the means over the runs drawn."""
    known = ~np.isnan(site)
    of_case = run_counts @ known.astype(np.float64)
    case_means = _divided(run_counts @ np.where(known, site, 0.0), of_case)
    weights = case_counts * (of_case > 0)
    return _divided((np.nan_to_num(case_means) * weights).sum(axis=1), weights.sum(axis=1))


def _divided(sums: Array, counts: Array) -> Array:
    means: Array = np.divide(sums, counts, out=np.full_like(sums, math.nan), where=counts > 0)
    return means
