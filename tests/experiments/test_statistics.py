# SPDX-License-Identifier: Apache-2.0
"""Intervals against the limit of many cases, tests against tables worked out by counting signs."""

from __future__ import annotations

import math

import numpy as np
import pytest

from akd_monai.experiments.statistics import holm, paired_difference, summarize


def test_summary_by_hand():
    summary = summarize([0.5, math.nan, 0.7, 0.9, math.nan])
    assert (summary.n, summary.undefined, summary.note) == (3, 2, "")
    assert summary.mean == pytest.approx(0.7)
    assert summary.median == pytest.approx(0.7)
    assert summary.sd == pytest.approx(0.2)  # sqrt((0.04 + 0 + 0.04) / 2)
    assert 0.5 <= summary.low < 0.7 < summary.high <= 0.9 + 1e-9


def test_interval_of_many_cases_is_that_of_the_normal_distribution():
    values = np.random.default_rng(1).normal(0.8, 0.1, 2000)
    half = 1.959964 * values.std(ddof=1) / math.sqrt(len(values))
    summary = summarize(values, seed=3)
    assert summary.low == pytest.approx(values.mean() - half, abs=0.05 * half)
    assert summary.high == pytest.approx(values.mean() + half, abs=0.05 * half)


def test_interval_leans_to_the_side_of_the_long_tail():
    # The normal interval would be symmetric; one bad case among good ones pulls only the lower end.
    summary = summarize([0.9, 0.91, 0.92, 0.9, 0.93, 0.91, 0.92, 0.2])
    assert summary.mean - summary.low > 2 * (summary.high - summary.mean)


def test_moved_and_scaled_values_move_and_scale_the_interval():
    values = np.random.default_rng(0).random(15)
    one, other = summarize(values), summarize(3 * values + 2)
    assert (other.low, other.high) == pytest.approx((3 * one.low + 2, 3 * one.high + 2))


def test_same_seed_same_interval():
    values = np.random.default_rng(0).random(9)
    assert summarize(values, seed=5) == summarize(list(values), seed=5)
    assert summarize(values, seed=5).low != summarize(values, seed=6).low


def test_no_global_random_state_is_touched():
    np.random.seed(0)
    expected = np.random.random()
    np.random.seed(0)
    summarize([0.1, 0.5, 0.7])
    assert np.random.random() == expected


@pytest.mark.parametrize(
    ("values", "n", "mean", "note"),
    [
        ([], 0, math.nan, "no case with a defined value"),
        ([math.nan] * 3, 0, math.nan, "no case with a defined value"),
        ([0.5, math.nan], 1, 0.5, "no interval from a single case"),
    ],
)
def test_too_few_values_for_an_interval(values, n, mean, note, recwarn):
    summary = summarize(values)
    assert (summary.n, summary.low, summary.high, summary.note) == (n, None, None, note)
    assert summary.mean == pytest.approx(mean, nan_ok=True)
    assert math.isnan(summary.sd)
    assert not recwarn.list


def test_equal_values_have_an_interval_without_width(recwarn):
    summary = summarize([0.5] * 4)
    assert (summary.low, summary.mean, summary.high) == (0.5, 0.5, 0.5)
    assert not recwarn.list


def test_infinite_values_and_no_resamples_are_refused():
    with pytest.raises(ValueError, match="infinite value"):
        summarize([0.5, math.inf])
    with pytest.raises(ValueError, match="resamples must be at least 1, got 0"):
        summarize([0.5, 0.6], resamples=0)


def pairs(differences):
    second = {f"case{i}": 0.5 for i in range(len(differences))}
    return {case: 0.5 + d for case, d in zip(second, differences, strict=True)}, second


@pytest.mark.parametrize(
    ("differences", "expected"),
    [
        # Of the 2^n patterns of signs, those with a rank sum at least as extreme, on both sides.
        ([0.1, 0.2, 0.3, 0.4, 0.5], 2 / 32),
        ([-0.1, -0.2, -0.3, -0.4, -0.5, -0.6], 2 / 64),
        ([-0.01, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8], 4 / 256),  # rank sums 0 and 1
        ([0.1, -0.2, 0.3], 6 / 8),  # negative ranks sum to 2: 0, 1 and 2 are as extreme, twice
        ([0.0, 0.1, 0.2, 0.3], 2 / 8),  # a zero is left out
    ],
)
def test_signed_rank_test_by_counting(differences, expected):
    assert paired_difference(*pairs(differences)).wilcoxon_p == pytest.approx(expected)


def test_pairs_are_matched_by_name():
    first = {"a": 0.9, "b": 0.5, "c": math.nan, "d": 0.4, "only": 0.1}
    second = {"d": 0.5, "c": 0.5, "b": 0.6, "a": 0.6, "other": 0.9, "third": 0.9}
    difference = paired_difference(first, second)
    assert (difference.n, difference.undefined, difference.unpaired) == (3, 1, 3)
    assert difference.mean == pytest.approx((0.3 - 0.1 - 0.1) / 3)
    assert difference.median == pytest.approx(-0.1)
    assert difference.low < difference.mean < difference.high


def test_order_of_cases_does_not_matter_and_exchange_turns_the_sign():
    first, second = pairs([0.1, -0.05, 0.2, 0.02, 0.07])
    there = paired_difference(first, second)
    assert there == paired_difference(dict(reversed(first.items())), second)
    back = paired_difference(second, first)
    assert (back.mean, back.median) == pytest.approx((-there.mean, -there.median))
    assert back.wilcoxon_p == pytest.approx(there.wilcoxon_p)


def test_an_offset_of_all_cases_is_seen_although_they_differ_much():
    hard_and_easy = np.linspace(0.1, 0.9, 12)
    second = dict(enumerate(hard_and_easy))
    first = {i: v + 0.02 + 0.001 * (i % 3) for i, v in second.items()}
    difference = paired_difference(first, second)
    assert 0.02 <= difference.low <= difference.high <= 0.0221


def test_nothing_to_rank():
    equal = paired_difference(*pairs([0.0, 0.0, 0.0]))
    assert (equal.low, equal.high, equal.wilcoxon_p) == (0, 0, None)
    assert equal.note == "no p-value: all pairs are equal"
    single = paired_difference(*pairs([0.1]))
    assert (single.low, single.wilcoxon_p, single.note) == (None, None, "no interval from a single case")
    none = paired_difference({"a": 1.0}, {"b": 1.0})
    assert (none.n, none.unpaired, none.note) == (0, 2, "no case with a defined value")


def test_rounding_makes_no_order():
    # 0.2 - 0.3 and 0.2 - 0.1 differ in the last bit. As ties both have rank 1.5, which 3 of 32 patterns do not exceed.
    first = {"a": 0.2, "b": 0.2, "c": 0.5, "d": 0.6, "e": 0.7}
    difference = paired_difference(first, {"a": 0.3, "b": 0.1, "c": 0.0, "d": 0.0, "e": 0.0})
    assert difference.wilcoxon_p == pytest.approx(6 / 32)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([0.2]) == [0.2]
    assert holm([None, None]) == [None, None]
    assert holm([]) == []
    with pytest.raises(ValueError, match=r"from 0 to 1, got \[-0\.1\]"):
        holm([-0.1])
    with pytest.raises(ValueError, match="from 0 to 1"):
        holm([math.nan])
