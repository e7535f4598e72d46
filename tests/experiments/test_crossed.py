# SPDX-License-Identifier: Apache-2.0
"""Intervals over cases, and over runs and cases, against loops, closed forms and limits."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from akd_monai.experiments.crossed import crossed_summary

RANDOM = np.random.default_rng(3)


def test_the_mean_is_that_over_sites_of_the_mean_over_cases():
    # (0.4 + 0.8 + 0.8 + 0.8) / 4 = 0.7 and 0.5; over all six cases together it would be 0.633
    summary = crossed_summary([[[0.4, 0.8, 0.8, 0.8]], [[0.5, 0.5]]])
    assert summary.mean == pytest.approx(0.6)
    assert (summary.cases, summary.runs, summary.undefined) == (6, 1, 0)


def test_over_cases_it_has_the_standard_error_of_the_mean():
    values = RANDOM.normal(0.7, 0.1, (1, 400))
    low, high = crossed_summary([values]).over_cases
    assert (high - low) / (2 * 1.96) == pytest.approx(values.std(ddof=1) / math.sqrt(400), rel=0.03)
    assert (high + low) / 2 == pytest.approx(values.mean(), abs=2e-3)


def test_the_mean_of_sites_has_the_standard_error_of_independent_sites():
    sites = [RANDOM.normal(0.7, sd, (1, count)) for sd, count in ((0.1, 300), (0.2, 200), (0.02, 100))]
    variances = [site.var(ddof=1) / site.size for site in sites]
    low, high = crossed_summary(sites).over_cases
    assert (high - low) / (2 * 1.96) == pytest.approx(math.sqrt(sum(variances)) / 3, rel=0.03)


@pytest.mark.parametrize("count", [2, 3, 8])
def test_over_runs_it_has_the_unbiased_variance_of_few_runs(count):
    # no case differs from another: all variance is that of the runs, at many sites, so that their sum is normal
    sites = [np.repeat(RANDOM.normal(0.6, 0.1, (count, 1)), 5, axis=1) for _ in range(200)]
    variances = [site[:, 0].var(ddof=1) / count for site in sites]
    summary = crossed_summary(sites)
    low, high = summary.over_runs_and_cases
    assert (high - low) / (2 * 1.96) == pytest.approx(math.sqrt(sum(variances)) / 200, rel=0.03)
    assert summary.over_cases == (pytest.approx(summary.mean), pytest.approx(summary.mean))


def test_two_runs_on_three_cases_by_listing_all_resamples():
    site = np.array([[0.1, 0.5, 0.9], [0.2, 0.4, 0.3]])
    # one of two runs, and two of three cases: 2 x 9 resamples, equally likely
    means = [np.mean(site[run, list(cases)]) for run in (0, 1) for cases in itertools.product(range(3), repeat=2)]
    expected = (min(means), max(means))
    summary = crossed_summary([site])
    # either end has a chance of 1 in 18, above the 2.5 % that are cut off
    assert summary.over_runs_and_cases == pytest.approx(expected)
    means = [np.mean(site[:, list(cases)]) for cases in itertools.product(range(3), repeat=2)]
    assert summary.over_cases == pytest.approx((min(means), max(means)))


def by_loops(sites, resamples, seed):
    """Return the means of resamples, each drawn case by case."""
    generator = np.random.default_rng(seed)
    means = []
    for _ in range(resamples):
        of_sites = []
        for site in sites:
            count, cases = site.shape
            runs = [int(generator.integers(count)) for _ in range(count - 1)]
            drawn = []
            for _ in range(cases - 1):
                case = int(generator.integers(cases))
                values = [site[run, case] for run in runs if not math.isnan(site[run, case])]
                drawn += [sum(values) / len(values)] if values else []
            of_sites.append(sum(drawn) / len(drawn))
        means.append(sum(of_sites) / len(of_sites))
    return means


def test_it_equals_a_bootstrap_by_loops():
    first = RANDOM.normal(0.5, 0.1, (4, 6))
    first[1, 2] = math.nan
    first[0, 3] = math.nan
    sites = [first, RANDOM.normal(0.8, 0.05, (3, 5))]
    low, high = crossed_summary(sites, resamples=50_000).over_runs_and_cases
    expected = np.percentile(by_loops(sites, 8000, 1), (2.5, 97.5))
    assert (low, high) == pytest.approx(expected, abs=0.004)


def test_equal_runs_add_nothing_and_shared_cases_are_drawn_together():
    values = RANDOM.normal(0.7, 0.1, (1, 40))
    alone = crossed_summary([values])
    twice = crossed_summary([np.repeat(values, 2, axis=0)])
    # two trainings on the same cases are not twice as many cases
    assert twice.over_runs_and_cases == pytest.approx(alone.over_cases, abs=0.004)
    assert twice.over_cases == pytest.approx(alone.over_cases, abs=1e-12)
    assert twice.cases == 40


def test_runs_that_differ_widen_the_second_interval_only():
    values = RANDOM.normal(0.7, 0.05, (1, 30))
    apart = np.concatenate([values - 0.2, values + 0.2])
    agreeing, differing = crossed_summary([np.repeat(values, 2, axis=0)]), crossed_summary([apart])
    assert differing.over_cases == pytest.approx(agreeing.over_cases)
    low, high = differing.over_runs_and_cases
    assert low < agreeing.over_runs_and_cases[0] - 0.15
    assert high > agreeing.over_runs_and_cases[1] + 0.15


def test_moved_and_scaled_values_move_and_scale_both_intervals():
    sites = [RANDOM.random((2, 7)), RANDOM.random((3, 4))]
    one = crossed_summary(sites)
    other = crossed_summary([3 * site + 2 for site in sites])
    for name in ("over_cases", "over_runs_and_cases"):
        expected = [3 * end + 2 for end in getattr(one, name)]
        assert getattr(other, name) == pytest.approx(expected)


def test_equal_values_have_no_width():
    summary = crossed_summary([np.full((2, 5), 0.25), np.full((2, 3), 0.5)])
    assert summary.over_cases == summary.over_runs_and_cases == (0.375, 0.375)


def test_undefined_values_are_left_out_and_counted():
    # cases 0.4, 0.6, 0.8: each the mean of the runs that have a value, each counts once
    summary = crossed_summary([[[0.4, math.nan, 0.8, math.nan], [0.4, 0.6, math.nan, math.nan]]])
    assert summary.mean == pytest.approx(0.6)
    assert (summary.cases, summary.undefined) == (3, 4)
    assert all(map(math.isfinite, summary.over_runs_and_cases))


def test_a_site_without_a_value_has_no_mean(recwarn):
    summary = crossed_summary([[[0.5, 0.6]], [[math.nan, math.nan]]])
    assert math.isnan(summary.mean)
    assert (summary.cases, summary.undefined, summary.over_cases) == (2, 2, None)
    assert not recwarn.list


def test_no_interval_from_one_case_or_one_run():
    # a site with one case leaves its share of the mean without a spread
    assert crossed_summary([[[0.5], [0.6]], [[0.5, 0.6], [0.7, 0.6]]]).over_cases is None
    one_run = crossed_summary([[[0.5, 0.6]], [[0.5, 0.6], [0.5, 0.6]]])
    assert one_run.over_cases is not None
    assert (one_run.over_runs_and_cases, one_run.runs) == (None, 1)


def test_same_seed_same_interval_and_no_global_state():
    sites = [RANDOM.random((2, 9))]
    np.random.seed(0)
    expected = np.random.random()
    np.random.seed(0)
    assert crossed_summary(sites, seed=5) == crossed_summary(sites, seed=5)
    assert crossed_summary(sites, seed=5).over_cases != crossed_summary(sites, seed=6).over_cases
    assert np.random.random() == expected


@pytest.mark.parametrize("sites", [[], [[]], [[0.5]], [[[math.inf]]], [np.zeros((2, 0))], [[[[0.5]]]]])
def test_what_is_no_result_is_refused(sites):
    with pytest.raises(ValueError, match=r"crossed_summary needs|must be finite or NaN, \[runs, cases\]"):
        crossed_summary(sites)


def test_no_resample_is_refused():
    with pytest.raises(ValueError, match="needs a site and a resample, got 1 sites, 0 resamples"):
        crossed_summary([[[0.5]]], resamples=0)
