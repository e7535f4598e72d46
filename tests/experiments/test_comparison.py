# SPDX-License-Identifier: Apache-2.0
"""What may be said about a difference, and what must be said with it."""

from __future__ import annotations

import math

import pytest
from made_up import record, rows

from akd_monai.experiments._comparison import case_values, cautions, class_names, compare, outcome_of, scores
from akd_monai.experiments.statistics import paired_difference


def difference(values):
    return paired_difference(dict(enumerate(values)), dict.fromkeys(range(len(values)), 0.0))


@pytest.mark.parametrize(
    ("values", "higher_is_better", "expected"),
    [
        ([0.1, 0.2, 0.1, 0.3, 0.2, 0.1], True, "helped"),
        ([0.1, 0.2, 0.1, 0.3, 0.2, 0.1], False, "hurt"),
        ([-0.1, -0.2, -0.1, -0.3, -0.2, -0.1], False, "helped"),
        ([-0.1, 0.2, -0.1, 0.1, 0.1, -0.2], True, "none"),
        ([0.0] * 8, True, "none"),
        ([0.1, 0.2, 0.1, 0.3, 0.2], True, "few"),
        ([0.1, 0.2, 0.1, 0.3, 0.2, math.nan], True, "few"),
        ([], True, "few"),
    ],
)
def test_finding(values, higher_is_better, expected):
    assert outcome_of(difference(values), higher_is_better) == expected


def test_distilled_is_compared_with_alone_and_not_with_the_teacher():
    found = compare(record(gain=0.05))
    assert [(c.distilled, c.baseline, c.metric.key) for c in found] == [
        ("ENet distilled", "ENet alone", m) for m in ("dice", "hd95_mm", "asd_mm")
    ]
    assert [c.outcome for c in found] == ["helped"] * 3
    assert found[0].difference.mean == pytest.approx(0.05, abs=0.001)
    assert found[1].difference.mean == pytest.approx(-8 * found[0].difference.mean)
    # 8 differences of one sign: p = 2/256, and three comparisons.
    assert found[0].difference.wilcoxon_p == pytest.approx(2 / 256)
    assert found[0].p_holm == pytest.approx(6 / 256)


def test_a_loss_is_called_a_loss():
    assert [c.outcome for c in compare(record(gain=-0.05))] == ["hurt"] * 3


def test_without_a_pair_nothing_is_compared():
    results = record()
    results["systems"] = [s for s in results["systems"] if s["role"] != "baseline"]
    assert compare(results) == []


def test_cases_of_two_sites_with_one_number_stay_apart():
    system = {"key": "a", "label": "A", "role": "baseline", "per_case": rows([0.5], "S1") + rows([0.7], "S2")}
    assert case_values(system, "dice", "gland") == {"S1/Case00": 0.5, "S2/Case00": 0.7}
    assert scores(system, "gland")["dice"].n == 2


def test_classes_are_judged_one_by_one():
    results = record()
    for system in results["systems"]:
        system["per_case"] += [{**row, "class": "lesion", "dice": 0.1} for row in system["per_case"]]
    assert class_names(results) == ["gland", "lesion"]
    assert scores(results["systems"][0], "lesion")["dice"].mean == pytest.approx(0.1)
    assert len(compare(results)) == 6


def test_a_missing_metric_counts_as_undefined():
    results = record()
    results["systems"][1]["per_case"][0]["hd95_mm"] = None
    assert scores(results["systems"][1], "gland")["hd95_mm"].undefined == 1
    assert compare(results)[1].difference.undefined == 1


@pytest.mark.parametrize(("cases", "expected"), [(1, "Only 1 test case:"), (9, "Only 9 test cases:"), (10, None)])
def test_few_cases_are_said(cases, expected):
    results = record(cases=cases)
    said = [s for s in cautions(results, compare(results)) if s.startswith("Only")]
    assert [s.split(":")[0] + ":" for s in said] == ([expected] if expected else [])


def test_cautions():
    results = record(cases=12)
    assert [s[:34] for s in cautions(results, compare(results))] == ["Each system was trained once: the "]
    results["systems"][0]["per_case"].pop()
    results["systems"][1]["per_case"][0]["asd_mm"] = math.nan
    said = " ".join(cautions(results, compare(results)))
    assert "evaluated on different cases" in said
    assert "undefined because a mask is empty" in said
