# SPDX-License-Identifier: Apache-2.0
"""Differences between the rows of an experiment, by hand: sign, pairing, a case once, Holm, and what may be claimed."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from made_up_study import CASES, make_study

from akd_monai.experiments._comparison import METRICS
from akd_monai.experiments._study.answer import study_answers
from akd_monai.experiments._study.blocks import block_of, difference_of
from akd_monai.experiments._study.comparisons import compare_rows
from akd_monai.experiments._study.lines import Line
from akd_monai.experiments._study.study import read_study

DICE, HD95, _ = METRICS
PLAIN = Line("student", "enet", "without")
DISTILLED = Line("student", "enet", "distilled", "unetplusplus")
ONE_METHOD = {"methods": {"distilled": {}}}


def study_of(folder, dice, **changes):
    return read_study(make_study(folder, dice, **{"teachers": ["unetplusplus"], **changes}))


def gain(by_method):
    """Return Dice that differ by method, and by case and seed in a way that pairs share."""

    def dice(row, case):
        return 0.5 + 0.03 * case + 0.02 * row.seed + by_method.get(row.method, 0.0)

    return dice


def found_of(study, metric=DICE):
    return {(f.line.method, f.other.method): f for f in compare_rows(study, metric, "prostate")}


def test_differences_are_paired_by_seed_and_case(tmp_path):
    # by case and seed the values spread by 0.25, by pairs they differ by exactly 0.04
    study = study_of(tmp_path, gain({"distilled": 0.04, "pretrained": 0.1}), **ONE_METHOD)
    found = found_of(study)
    assert set(found) == {("pretrained", "without"), ("distilled", "without"), ("distilled", "pretrained")}
    for pair, expected in ((("distilled", "without"), 0.04), (("distilled", "pretrained"), -0.06)):
        difference = found[pair].difference
        assert difference.mean == pytest.approx(expected)
        assert difference.over_cases == (pytest.approx(expected), pytest.approx(expected))
        assert difference.over_runs_and_cases == (pytest.approx(expected), pytest.approx(expected))
        assert (difference.cases, difference.runs) == (2 * CASES, 2)
    assert found["distilled", "without"].outcome == "above"
    assert found["distilled", "pretrained"].outcome == "below"


def test_a_difference_that_turns_with_the_seed_is_none_of_the_cases(tmp_path):
    def dice(row, case):
        return 0.5 + 0.02 * case + (0.1 * (1 - 2 * row.seed) if row.method == "distilled" else 0)

    finding = found_of(study_of(tmp_path, dice, **ONE_METHOD, controls=["teacher_zero_shot"]))["distilled", "without"]
    assert finding.difference.mean == pytest.approx(0, abs=1e-12)
    # one run of two is drawn at each of two sites: the mean is -0.1, 0 or 0.1
    assert finding.difference.over_runs_and_cases == (pytest.approx(-0.1), pytest.approx(0.1))
    assert finding.difference.over_cases == (pytest.approx(0, abs=1e-12), pytest.approx(0, abs=1e-12))
    assert (finding.runs_above, finding.runs) == (2, 4)
    # each case's mean over seeds is 0: nothing to rank
    assert (finding.p_value, finding.outcome) == (None, "none")


def signed_rank_by_counting(differences):
    """Return the two-sided p-value from all patterns of signs of distinct differences."""
    ranks = np.argsort(np.argsort(np.abs(differences))) + 1
    observed = sum(rank for rank, d in zip(ranks, differences, strict=True) if d > 0)
    centre = ranks.sum() / 2
    patterns = itertools.product((0, 1), repeat=len(ranks))
    sums = [np.dot(pattern, ranks) for pattern in patterns]
    return np.mean([abs(s - centre) >= abs(observed - centre) for s in sums])


def test_wilcoxon_counts_a_case_once_and_holm_all_comparisons(tmp_path):
    # mean over the two seeds: 0.01, 0.02, -0.03, 0.04 ... at one site; each seed apart by 0.01
    signs = [1, 1, -1, 1, 1, 1, 1, 1]
    of_case = [sign * 0.01 * (case + 1) for case, sign in enumerate(signs)]

    def dice(row, case):
        own = {"distilled": 1.0, "pretrained": 0.5}.get(row.method, 0.0)
        return 0.5 + own * (of_case[case] + 0.01 * (row.seed - 0.5))

    study = study_of(tmp_path, dice, **ONE_METHOD, targets=["HK"])
    found = found_of(study)
    p_value = signed_rank_by_counting(np.array(of_case))
    assert p_value == pytest.approx(10 / 256)
    assert [finding.p_value for finding in found.values()] == pytest.approx([p_value] * 3)
    # three comparisons with equal p-values: the smallest is multiplied by 3, and the others follow
    assert [finding.p_holm for finding in found.values()] == pytest.approx([3 * p_value] * 3)
    # the interval leaves out 0, the adjusted p-value is too high
    low, _ = found["distilled", "without"].difference.over_runs_and_cases
    assert (low > 0, found["distilled", "without"].outcome) == (True, "none")


def test_a_small_p_value_is_no_claim_where_runs_disagree(tmp_path):
    def dice(row, case):
        return 0.4 + 0.01 * case + (0.3 * row.seed - 0.05 if row.method == "distilled" else 0)

    finding = found_of(study_of(tmp_path, dice, **ONE_METHOD))["distilled", "without"]
    # every case gains 0.1 on average, one seed loses 0.05 everywhere
    assert finding.p_holm < 0.001
    assert finding.difference.over_cases[0] == pytest.approx(0.1)
    assert finding.difference.over_runs_and_cases == (pytest.approx(-0.05), pytest.approx(0.25))
    assert finding.outcome == "none"


def test_less_distance_is_better(tmp_path):
    found = found_of(study_of(tmp_path, gain({"distilled": 0.04, "pretrained": -0.04}), **ONE_METHOD), HD95)
    # made-up HD95 is 10 - 8 Dice
    assert found["distilled", "without"].difference.mean == pytest.approx(-0.32)
    assert (found["distilled", "without"].outcome, found["distilled", "without"].runs_above) == ("above", 4)
    assert (found["pretrained", "without"].outcome, found["pretrained", "without"].runs_above) == ("below", 0)


def test_a_case_undefined_in_one_row_is_in_no_difference(tmp_path):
    def dice(row, case):
        is_lost = row.method == "distilled" and case == 0 and row.target == "HK"
        return math.nan if is_lost else gain({"distilled": 0.04})(row, case)

    finding = found_of(study_of(tmp_path, dice, **ONE_METHOD))["distilled", "without"]
    assert finding.difference.mean == pytest.approx(0.04)
    assert (finding.difference.cases, finding.difference.undefined) == (2 * CASES - 1, 2)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"seeds": [0]}, "1 seed is too few for a claim, which takes at least 2 seeds"),
        ({"cases": 2}, "4 test cases are too few for a claim, which takes at least 6 cases"),
        (
            {"cases": 1, "targets": ["HK"], "seeds": [0]},
            "1 test case and 1 seed are too few for a claim, which takes at least 6 cases and 2 seeds",
        ),
    ],
)
def test_one_seed_or_few_cases_claim_nothing(tmp_path, changes, said):
    study = study_of(tmp_path, gain({"distilled": 0.2}), **{**ONE_METHOD, **changes})
    assert {finding.outcome for finding in compare_rows(study, DICE, "prostate")} == {"few"}
    (answer,) = study_answers(study)
    assert answer["kind"] == "few"
    assert answer["headline"] == "enet: too few trainings or cases to tell"
    assert answer["sentence"].startswith(f"{said}. ")


ANSWERS = {
    "beyond the control": (
        {"distilled": 0.04, "pretrained": 0.01},
        {},
        "enet: distillation helped",
        ["The method has a higher mean Dice than the student alone; shown by test and interval: 1 above, 0 below.",
         "Distilled minus alone: +0.040 [+0.040, +0.040] over runs and cases, higher in 4 of 4 runs.",
         "minus the student alone: +0.010 [+0.010, +0.010] over runs and cases.",
         "The method has a higher mean Dice than that control"],
    ),
    "not beyond the control": (
        {"distilled": 0.04, "pretrained": 0.06},
        {},
        "enet: distillation helped, but not shown beyond the control",
        ["The method has no higher mean Dice than that control; shown by test and interval: 0 above, 1 below.",
         "What was gained may come from the data of the sources, not from the teacher."],
    ),
    "without a control": (
        {"distilled": 0.04},
        {"controls": ["teacher_zero_shot"]},
        "enet: distillation helped",
        ["No control was run: what was gained may come from the data of the sources."],
    ),
    "worse": ({"distilled": -0.04, "pretrained": 0.06}, {}, "enet: distillation hurt", ["−0.040 [−0.040, −0.040]"]),
    "both": (
        {"distilled": 0.04, "logits": -0.02},
        {"methods": {"distilled": {}, "logits": {"terms": ["logits"]}}},
        "enet: distillation helped with some methods and hurt with others",
        ["1 of 2 methods have a higher mean Dice than the student alone; shown by test and interval: 1 above, 1 below."],
    ),
    "equal": (
        {},
        {},
        "enet: no difference shown",
        ["The method has no higher mean Dice", "That is no proof that there is no difference."],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("by_method", "changes", "headline", "said"), ANSWERS.values(), ids=ANSWERS)
def test_the_answer_in_sentences(tmp_path, by_method, changes, headline, said):
    (answer,) = study_answers(study_of(tmp_path, gain(by_method), **{**ONE_METHOD, **changes}))
    assert answer["headline"] == headline
    for sentence in said:
        assert sentence in answer["sentence"]


def test_under_loso_the_student_alone_has_the_sources_too(tmp_path):
    changes = {"protocol": "loso", "controls": ["teacher_zero_shot"], "run_folds": [0], "folds": 1}
    (answer,) = study_answers(study_of(tmp_path, gain({"distilled": 0.04}), **{**ONE_METHOD, **changes}))
    assert answer["headline"] == "enet: distillation helped"
    assert "control" not in answer["sentence"]


def frame(rows):
    values = pd.DataFrame(rows, columns=["seed", "case_id", "dice"])
    return values.assign(target="HK", role="student", network="enet", teacher=None, labelled=None)


def test_blocks_are_sorted_and_rows_of_other_cases_are_not_subtracted():
    plain = frame([(1, "b", 0.2), (0, "b", 0.1), (1, "a", 0.4), (0, "a", 0.3)]).assign(method="without")
    block = block_of(plain, PLAIN, "HK", "dice")
    assert block.to_numpy().tolist() == [[0.3, 0.1], [0.4, 0.2]]
    assert block_of(plain, PLAIN, "HK", "ece").isna().all(axis=None)
    other = frame([(0, "a", 0.5), (1, "a", 0.5)]).assign(method="distilled", teacher="unetplusplus")
    with pytest.raises(ValueError, match="enet, distilled from unetplusplus and enet, w/o distillation have other"):
        difference_of(pd.concat([plain, other]), DISTILLED, PLAIN, "HK", "dice")
