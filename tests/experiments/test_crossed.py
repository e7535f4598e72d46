# SPDX-License-Identifier: Apache-2.0
"""Intervals over cases, and over runs and cases, against loops, closed forms and limits."""

from __future__ import annotations

import math

import numpy as np
import pytest

from akd_monai.experiments.crossed import crossed_summary

RANDOM = np.random.default_rng(3)


def test_the_mean_is_that_over_sites_of_the_mean_over_cases():
    # a site of 4 cases: (0.4 + 0.8 + 0.8 + 0.8) / 4 = 0.7; the other: 0.5
    summary = crossed_summary([[[0.4, 0.8, 0.8, 0.8]], [[0.5, 0.5]]])
    assert summary.mean == pytest.approx(0.6)
    assert (summary.cases, summary.runs, summary.undefined) == (6, 1, 0)


def test_over_cases_it_has_the_standard_error_of_the_mean():
    values = RANDOM.normal(0.7, 0.1, (1, 400))
    low, high = crossed_summary([values]).over_cases
    assert (high - low) / (2 * 1.96) == pytest.approx(values.std(ddof=1) / math.sqrt(400), rel=0.03)
    assert (high + low) / 2 == pytest.approx(values.mean(), abs=2e-3)


def test_over_runs_it_has_the_unbiased_variance_of_few_runs():
    # no case differs from another: all variance is that of the 4 runs, whose mean has variance s^2 / 4
    runs = np.array([0.1, 0.2, 0.4, 0.9])
    summary = crossed_summary([np.repeat(runs[:, None], 50, axis=1)], resamples=100_000)
    assert summary.over_cases == (pytest.approx(0.4), pytest.approx(0.4))
    # three of four are drawn: (s^2 3 / 4) / 3 = s^2 / 4
    draws = np.random.default_rng(0).choice(runs, (100_000, 3)).mean(axis=1)
    assert draws.std() == pytest.approx(runs.std(ddof=1) / 2, rel=0.01)
    assert summary.over_runs_and_cases == pytest.approx(np.percentile(draws, (2.5, 97.5)), abs=0.02)


def by_loops(sites, resamples, seed):
    """Return the means of resamples, each drawn case by case."""
    generator = np.random.default_rng(seed)
    means = []
    for _ in range(resamples):
        of_sites = []
        for site in sites:
            count, cases = site.shape
            runs = generator.integers(count, size=count - 1)
            columns = generator.integers(cases, size=cases - 1)
            of_sites.append(np.mean([site[run][column] for run in runs for column in columns]))
        means.append(np.mean(of_sites))
    return np.array(means)


def test_it_equals_a_bootstrap_by_loops():
    sites = [RANDOM.normal(0.5, 0.1, (3, 4)), RANDOM.normal(0.6, 0.1, (4, 3)), RANDOM.normal(0.8, 0.05, (2, 5))]
    found = crossed_summary(sites, resamples=50_000).over_runs_and_cases
    assert found == pytest.approx(np.percentile(by_loops(sites, 6000, 1), (2.5, 97.5)), abs=0.006)


def test_equal_runs_add_nothing_and_shared_cases_are_drawn_together():
    values = RANDOM.normal(0.7, 0.1, (1, 40))
    alone = crossed_summary([values])
    twice = crossed_summary([np.repeat(values, 2, axis=0)])
    # two trainings on the same cases are not twice as many cases
    assert twice.over_runs_and_cases == pytest.approx(alone.over_cases, abs=0.004)
    assert twice.over_cases == pytest.approx(alone.over_cases, abs=1e-12)
    assert (twice.cases, twice.runs) == (40, 2)


def test_undefined_values_are_left_out_and_counted():
    summary = crossed_summary([[[0.4, math.nan, 0.8], [0.6, 0.6, math.nan]]])
    # over the runs of each case first: 0.5, 0.6, 0.8
    assert summary.mean == pytest.approx(1.9 / 3)
    assert (summary.cases, summary.undefined) == (3, 2)
    assert all(map(math.isfinite, summary.over_runs_and_cases))
    nothing = crossed_summary([[[math.nan, math.nan]]])
    assert math.isnan(nothing.mean)
    assert nothing.over_cases is None


def test_no_interval_from_one_case_or_one_run():
    assert crossed_summary([[[0.5], [0.6]]]).over_cases is None
    one_run = crossed_summary([[[0.5, 0.6]]])
    assert one_run.over_cases is not None
    assert one_run.over_runs_and_cases is None


@pytest.mark.parametrize("sites", [[], [[0.5]], [[[math.inf]]], [np.zeros((2, 0))]])
def test_what_is_no_result_is_refused(sites):
    with pytest.raises(ValueError, match=r"crossed_summary needs|must be finite or NaN, \[runs, cases\]"):
        crossed_summary(sites)
