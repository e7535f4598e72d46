# SPDX-License-Identifier: Apache-2.0
"""Is a method above the plain student and above the control: counts of sites, bases, labelled cases, by hand."""

from __future__ import annotations

import json

import pandas as pd
import pytest
from made_up_study import CASES, make_study

from akd_monai.errors import InputError
from akd_monai.experiments._cards.cards import write_cards
from akd_monai.experiments._comparison import METRICS
from akd_monai.experiments._plan.cell import Row
from akd_monai.experiments._study.answer import study_answers
from akd_monai.experiments._study.beyond import rows_beyond
from akd_monai.experiments._study.comparisons import compare_rows
from akd_monai.experiments._study.study import read_study
from akd_monai.experiments._study.table import study_tables
from akd_monai.experiments._study.written import write_tables
from akd_monai.files import write_json

METHODS = {
    "best": {"recipe": "cwd", "initial": "sources", "teacher": "adapted"},
    "best+logits": {
        "recipe": "cwd",
        "initial": "sources",
        "teacher": "adapted",
        "settings": {"lambda_logits": 0.2},
        "base": "best",
        "labelled_cases": [2],
    },
    "many": {"teacher": "several", "labelled_cases": [4]},
}
CHANGES = {
    "labelled_cases": [2, 4],
    "methods": METHODS,
    "controls": ["teacher_zero_shot", "teacher_adapted", "pretrained"],
    "students": {"enet": {"adapt": {"learning_rate": 0.003}}},
}
# plain student 0.5; gains by method, those of "best" with 4 labelled cases by site
GAINS = {"pretrained": 0.04, "best": 0.06, "best+logits": 0.03, "many": -0.02}
FEW = {"BMC": 0.06, "HK": 0.02}


def dice(row, case):
    gain = GAINS.get(row.method, 0.0)
    if row.method == "best" and row.labelled == 4:
        gain = FEW[row.target]
    return 0.5 + 0.02 * case + 0.01 * row.seed + 0.01 * (row.labelled or 0) + gain


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return make_study(tmp_path_factory.mktemp("help"), dice, **CHANGES)


@pytest.fixture(scope="module")
def study(out):
    return read_study(out)


def test_a_row_is_compared_within_its_number_of_labelled_cases(study):
    found = {}
    for finding in compare_rows(study, METRICS[0], "prostate"):
        assert finding.line.labelled == finding.other.labelled
        found[finding.line.method, finding.line.labelled, finding.other.method] = finding.difference.mean
    assert found["best", 2, "without"] == pytest.approx(0.06)
    assert found["best", 2, "pretrained"] == pytest.approx(0.02)
    # a mean over two sites
    assert found["best", 4, "without"] == pytest.approx(0.04)
    assert found["best+logits", 2, "best"] == pytest.approx(-0.03)
    # pre-trained twice, best twice against two rows, best+logits against three, many against two
    assert len(found) == 2 + 2 * 2 + 3 + 2


def test_sites_are_counted_at_which_a_row_is_above_both(study):
    findings = compare_rows(study, METRICS[0], "prostate")
    rows = {(row.line.method, row.line.labelled): row for row in rows_beyond(study, METRICS[0], "prostate", findings)}
    assert set(rows) == {("best", 2), ("best+logits", 2), ("best", 4), ("many", 4)}
    assert (rows["best", 2].not_above, rows["best", 2].is_shown) == ((), True)
    # 0.02 at HK is above the plain student and below the control
    assert (rows["best", 4].not_above, rows["best", 4].is_shown) == (("HK",), False)
    assert rows["best+logits", 2].not_above == ("BMC", "HK")
    assert rows["many", 4].base is None


def test_less_distance_is_above(study):
    findings = compare_rows(study, METRICS[1], "prostate")
    rows = rows_beyond(study, METRICS[1], "prostate", findings)
    assert {row.line.labelled: row.not_above for row in rows if row.line.method == "best"} == {2: (), 4: ("HK",)}


def test_the_answer_names_what_is_above_both_and_where_the_others_are_not(study):
    answer = study_answers(study)[0]
    assert (answer["kind"], answer["headline"]) == (
        "helped",
        "enet: above the plain student and above the control: best from unetplusplus, 2 labelled cases",
    )
    assert answer["sentence"] == "Above both by test and interval: 1 of 4 rows."
    lines = answer["details"].splitlines()
    assert lines[0] == (
        "best, 2 labelled: above both at 2 of 2 sites; +0.060 [+0.060, +0.060] over runs and cases against the student "
        "alone (shown); +0.020 [+0.020, +0.020] over runs and cases against the control (shown)."
    )
    assert lines[1].startswith("best, 4 labelled: above both at 1 of 2 sites (not at HK); +0.040")
    assert lines[2].startswith("best+logits, 2 labelled: above both at none of 2 sites; +0.030")
    assert lines[2].endswith("−0.030 [−0.030, −0.030] over runs and cases on top of best (shown to be below).")
    assert len(lines) == 4
    headlines = [one["headline"].partition(":")[0] for one in study_answers(study)]
    assert headlines == ["enet", "enet, 2 labelled cases", "enet, 4 labelled cases"]


def test_that_none_was_found_is_said_plainly(tmp_path):
    def worse(row, case):
        return 0.5 + 0.02 * case + {"pretrained": 0.04, "best": 0.02}.get(row.method, 0.0)

    methods = {"best": METHODS["best"]}
    study = read_study(make_study(tmp_path, worse, **{**CHANGES, "methods": methods, "labelled_cases": [2]}))
    answer = study_answers(study)[0]
    assert answer["kind"] == "none"
    assert answer["headline"] == "enet: no method was found that is above the plain student and above the control"
    assert "above both at none of 2 sites; +0.020" in answer["details"]
    one_seed = read_study(make_study(tmp_path / "few", worse, **{**CHANGES, "methods": methods, "seeds": [0]}))
    assert study_answers(one_seed)[0]["headline"].startswith("enet: too few trainings or cases to tell whether")


def test_tables_have_a_block_for_each_number_and_say_what_rows_had_beyond_the_others(study, tmp_path):
    table = study_tables(study)[0]
    labels = [row.line.label for row in table.rows]
    assert labels[:5] == [
        "enet, w/o distillation, 2 labelled cases",
        "enet, pre-trained at the sources, 2 labelled cases",
        "enet, best from unetplusplus, 2 labelled cases",
        "enet, best+logits from unetplusplus, 2 labelled cases",
        "enet, w/o distillation, 4 labelled cases",
    ]
    assert labels[-3:] == [
        "unetplusplus, teacher, zero-shot",
        "unetplusplus, teacher, adapted to the target, 2 labelled cases",
        "unetplusplus, teacher, adapted to the target, 4 labelled cases",
    ]
    assert [row.line.method for row in table.rows if row.against_base is not None] == ["best+logits"]
    notes = "\n".join(table.notes)
    assert "enet, 2 labelled cases: 2 of 2 methods above w/o by the mean" in notes
    assert "the best epoch of every row is chosen by the same labelled validation cases beside them" in notes
    assert "best, best+logits: start from what the student learned at the sources, as the control does" in notes
    assert "many: one teacher for each source site." in notes
    frame = pd.read_csv(next(f for f in write_tables(study, tmp_path, [table]) if f.name == "dice.csv"))
    means = frame[(frame["method"] == "best") & (frame["site"] == "mean")].set_index("labelled_cases")["mean"]
    # 0.5, mean over 8 cases and 2 seeds 0.075, 0.01 a labelled case, the gain
    assert means.to_dict() == {2: pytest.approx(0.655), 4: pytest.approx(0.655)}


def test_slices_without_labels_are_said(tmp_path):
    methods = {"more": {"settings": {"unlabelled_batch_size": 8}}}
    study = read_study(make_study(tmp_path, dice, methods=methods, seeds=[0], targets=["HK"]))
    notes = study_tables(study)[0].notes
    assert "more: as many steps as the others, and in each 8 slices without labels" in "\n".join(notes)


def test_each_number_has_a_card_of_its_own(study, tmp_path):
    for student in study.matrix.students:
        bundle = study.folder / "bundles" / f"student-{student.name}"
        write_json(bundle / "configs" / "metadata.json", {"name": student.name})
        write_json(study.folder / "bundles" / "teacher-unetplusplus" / "configs" / "metadata.json", {"name": "teacher"})
    names = {path.name for path in write_cards(study, tmp_path)}
    assert {"enet-without-labelled-2.md", "enet-unetplusplus-best-labelled-4.md"} < names
    card = (tmp_path / "enet-unetplusplus-best-labelled-2.md").read_text(encoding="utf-8")
    for needed in (
        "labelled-2/teacher-unetplusplus/teacher_adapted",
        "student-enet/sources",
        "teacher-unetplusplus/sources",
    ):
        assert needed in card


FAULTS = {
    "first weights": (
        "train/HK/fold-0/labelled-2/student-enet/best/unetplusplus/seed-0",
        {"initial_weights_sha256": "0"},
        r"started from other weights than train/HK/student-enet/sources/seed-0 has made",
    ),
    "adapted teacher": (
        "train/HK/fold-0/labelled-2/student-enet/best/unetplusplus/seed-0",
        {"teacher_sha256": "0"},
        r"had another teacher than train/HK/fold-0/labelled-2/teacher-unetplusplus/teacher_adapted/seed-0 has made",
    ),
    "order of several teachers": (
        "train/HK/fold-0/labelled-4/student-enet/many/unetplusplus/seed-0",
        {"teacher_sha256": {"1": "0", "2": "0"}},
        r"another teacher than train/RUNMC/teacher-unetplusplus/alone/seed-0 and train/BMC/teacher-unetplusplus/alone/seed",
    ),
    "number of labelled cases": (
        "train/HK/fold-0/labelled-2/student-enet/best/unetplusplus/seed-0",
        {"cases": "other"},
        r"were trained on different cases",
    ),
    "test case without its label": (
        "train/HK/fold-0/labelled-2/student-enet/best/unetplusplus/seed-0",
        {"unlabelled_case_ids": ["HK/Case03"]},
        r"was tested on HK/Case03, which train/HK/fold-0/labelled-2/student-enet/best/unetplusplus/seed-0 has learned from",
    ),
    "test case of the adapted teacher's first weights": (
        "train/HK/teacher-unetplusplus/sources/seed-0",
        {"unlabelled_case_ids": ["HK/Case03"]},
        r"was tested on HK/Case03, which train/HK/teacher-unetplusplus/sources/seed-0 has learned from",
    ),
}


@pytest.mark.parametrize(("cell", "values", "message"), FAULTS.values(), ids=FAULTS)
def test_what_would_make_a_wrong_table_is_refused(out, cell, values, message):
    path = out / "cells" / cell / "eval" / "training.json"
    before = path.read_text()
    changed = json.loads(before)
    write_json(path, {**changed, **values})
    try:
        with pytest.raises(InputError, match=message):
            read_study(out)
    finally:
        path.write_text(before)


def test_what_the_first_weights_of_an_adapted_teacher_have_seen_is_no_test_case(tmp_path):
    one = {"methods": {"best": METHODS["best"]}, "controls": [], "labelled_cases": [2], "seeds": [0], "targets": ["HK"]}
    out = make_study(tmp_path, dice, **one)
    path = out / "cells" / "train" / "HK" / "teacher-unetplusplus" / "sources" / "seed-0" / "eval" / "training.json"
    write_json(path, {**json.loads(path.read_text()), "case_ids": ["HK/Case03"]})
    # no row tests that teacher itself
    with pytest.raises(
        InputError, match=r"best/\S+ was tested on HK/Case03, which train/HK/teacher-unetplusplus/sources/"
    ):
        read_study(out)


def test_rows_of_a_study_have_their_number(study):
    row = Row("HK", 1, "student", "enet", "best", "unetplusplus", 0, 4)
    own = study.scores[
        (study.scores["method"] == "best") & (study.scores["labelled"] == 4) & (study.scores["seed"] == 1)
    ]
    assert len(own) == 2 * CASES
    assert len(study.trainings[row]["case_ids"]) == 4
