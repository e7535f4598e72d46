# SPDX-License-Identifier: Apache-2.0
"""What a report says of likely reasons, and of the cases that would show an effect."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from made_up import record

from akd_monai.experiments._comparison import compare
from akd_monai.experiments._explanation import explanations
from akd_monai.experiments.report import render_page


def said(results, **difference):
    comparisons = compare(results)
    if difference:
        comparisons = [replace(c, difference=replace(c.difference, **difference)) for c in comparisons]
    return explanations(results, comparisons)


def test_nothing_is_explained_where_distillation_helped():
    assert said(record(gain=0.05)) == []
    assert "What may be the reason" not in render_page(record(gain=0.05), ".")


def test_a_teacher_below_the_student_alone_is_named_with_both_means():
    first = said(record(gain=-0.05))[0]
    # 0.5 + 0.01 * 3.5 and 0.6 + 0.03 * 3.5
    assert first.startswith("The teacher has little to teach here: on these cases its mean Dice is 0.535, ")
    assert "that of the student alone 0.705. Train it longer" in first


def test_a_teacher_above_the_student_alone_is_no_reason():
    results = record(gain=-0.05)
    for row in results["systems"][0]["per_case"]:
        row["dice"] = 0.9
    assert said(results)[0].startswith(
        "The teacher knows more about this site than the student alone: its mean Dice is 0.900"
    )
    results["systems"] = results["systems"][1:]
    assert not any("teacher" in sentence.lower() for sentence in said(results))


def test_networks_that_segment_nothing_are_not_compared():
    results = record(gain=-0.05)
    for system, dice in zip(results["systems"], (0.03, 0.01, 0.01), strict=True):
        for row in system["per_case"]:
            row["dice"] = dice
    first = said(results)[0]
    assert first.startswith("Neither the teacher nor the student alone segments this site yet")
    assert "their mean Dice is 0.030 and 0.010. Train both" in first
    for row in results["systems"][0]["per_case"]:
        row["dice"] = math.nan
    assert not any("teacher" in sentence.lower() for sentence in said(results))


def test_terms_above_the_task_loss_of_the_first_epoch_are_named():
    results = record(gain=-0.05)
    results["systems"][2]["history"][0].update({"loss/affinity": 6.5, "loss/logits": 0.01, "loss/unlabelled": 2.0})
    terms = said(results)[1]
    assert terms.startswith("In the first epoch of “ENet distilled” affinity 6.50 stood beside a task loss of 0.90")
    assert not {"logits", "unlabelled"} & set(terms.split())
    results["systems"][2]["history"][0]["loss/affinity"] = 0.5
    assert len(said(results)) == 2


@pytest.mark.parametrize(("half", "needed"), [(0.02, 8), (0.04, 32), (0.001, 6)])
def test_the_cases_that_would_show_a_gain_grow_with_the_square_of_the_interval(half, needed):
    last = said(record(gain=-0.05), low=-0.05 - half, high=-0.05 + half)[-1]
    assert last.startswith(f"To see a gain of 0.02 Dice takes about {needed} test cases")


@pytest.mark.parametrize("cases", [1, 5])
def test_too_few_cases_are_said_to_be(cases):
    assert said(record(gain=0.05, cases=cases))[-1].startswith("To see a gain of 0.02 Dice takes at least 6 test cases")


def test_the_page_shows_the_reasons():
    page = render_page(record(gain=-0.05), ".")
    assert "What may be the reason, and what would be needed" in page
    assert "The teacher has little to teach here" in page
