# SPDX-License-Identifier: Apache-2.0
"""An experiment's folder is read as a whole, or refused by the name of what would make a wrong table."""

from __future__ import annotations

import json

import pandas as pd
import pytest
from made_up_study import CASES, make_study

from akd_monai.errors import InputError
from akd_monai.experiments._plan.cell import Row
from akd_monai.experiments._study.study import read_study
from akd_monai.files import write_json

DISTILLED = "HK/fold-0/student-enet/distilled/unetplusplus/seed-1"
OWN = "HK/teacher-unetplusplus/teacher_own_sites/seed-0"
PRETRAINED = "HK/fold-0/student-enet/pretrained/seed-0"
PLAIN = "HK/fold-0/student-enet/without/seed-0"


@pytest.fixture
def out(tmp_path):
    return make_study(tmp_path)


def test_scores_have_a_row_for_every_case_of_every_evaluation(out):
    study = read_study(out)
    # at each of 2 targets and for each of 2 seeds: 2 methods, plain, pre-trained, zero-shot; own sites: 2 sites of 2 cases
    assert len(study.scores) == 2 * 2 * (5 * CASES + 2 * 2)
    assert study.data_kind == "synthetic"
    row = Row("HK", 1, "student", "enet", "distilled", "unetplusplus", 0)
    own = study.scores[(study.scores["method"] == "distilled") & (study.scores["seed"] == 1)]
    own = own[own["target"] == "HK"]
    # level of the method, 0.01 a case, 0.004 a seed
    assert own["dice"].tolist() == pytest.approx([0.654 + 0.01 * case for case in range(CASES)])
    assert study.trainings[row]["lambdas"] == {"logits": 0.2}
    assert study.evaluations[row]["weights_sha256"] == study.trainings[row]["weights_sha256"]
    assert study.results["test/" + row.name()]["seconds"] == 10


def test_without_a_manifest_that_says_so_the_cases_are_not_synthetic(tmp_path):
    assert read_study(make_study(tmp_path, synthetic=False)).data_kind == "real"


def change(out, name, file, **values):
    path = out / "cells" / name / "eval" / file
    write_json(path, {**json.loads(path.read_text()), **values})


def drop_a_case(out):
    path = out / "cells" / "test" / PLAIN / "eval" / "per_case.csv"
    pd.read_csv(path).iloc[1:].to_csv(path, index=False)


def repeat_a_case(out):
    path = out / "cells" / "test" / PLAIN / "eval" / "per_case.csv"
    frame = pd.read_csv(path)
    frame.loc[1, "case_id"] = frame.loc[0, "case_id"]
    frame.to_csv(path, index=False)


def put_figure(out, column, value):
    path = out / "cells" / "test" / PLAIN / "eval" / "per_case.csv"
    frame = pd.read_csv(path).astype({column: object})
    frame.loc[1, column] = value
    frame.to_csv(path, index=False)


def change_the_file(out):
    path = out / "experiment.json"
    write_json(path, {**json.loads(path.read_text()), "settings": {"epochs": 4}})


FAULTS = {
    "missing cell": (
        lambda out: (out / "cells" / "test" / PLAIN / "result.json").unlink(),
        rf"1 of \d+ cells are not done: test/{PLAIN}",
    ),
    "another experiment": (change_the_file, r"cell train/BMC/.* was run with another epochs"),
    "other protocol": (
        lambda out: write_json(
            out / "experiment.json", {**json.loads((out / "experiment.json").read_text()), "protocol": "loso"}
        ),
        r"loso|not done|control",
    ),
    "other test cases": (
        lambda out: change(out, f"test/{DISTILLED}", "evaluation.json", cases="other"),
        rf"cells test/\S+ and test/{DISTILLED} were evaluated on different cases",
    ),
    "test cases not said": (
        lambda out: change(out, f"test/{DISTILLED}", "evaluation.json", cases=None),
        "or do not say on which",
    ),
    "other training cases": (
        lambda out: change(out, f"train/{DISTILLED}", "training.json", cases="other"),
        rf"cells train/\S+ and train/{DISTILLED} were trained on different cases",
    ),
    "case missing": (drop_a_case, rf"table of cases of test/{PLAIN} does not hold each of its 8 cases once"),
    "case twice": (repeat_a_case, rf"table of cases of test/{PLAIN} does not hold each of its 8 cases once"),
    "other weights": (
        lambda out: change(out, f"test/{PLAIN}", "evaluation.json", weights_sha256="0"),
        rf"cell test/{PLAIN} evaluated other weights than train/{PLAIN} has made",
    ),
    "other teacher": (
        lambda out: change(out, f"train/{DISTILLED}", "training.json", teacher_sha256="0"),
        rf"cell train/{DISTILLED} had another teacher than train/HK/teacher-unetplusplus/sources/seed-1",
    ),
    "learned from a test case": (
        lambda out: change(out, f"train/{PLAIN}", "training.json", validation_case_ids=["HK/Case03"]),
        rf"cell test/{PLAIN} was tested on HK/Case03, which train/{PLAIN} has learned from",
    ),
    "teacher has seen a test case": (
        lambda out: change(
            out, "train/HK/teacher-unetplusplus/sources/seed-1", "training.json", case_ids=["HK/Case03"]
        ),
        r"were trained on different cases|was tested on HK/Case03, which train/HK/teacher-unetplusplus",
    ),
    "other first weights": (
        lambda out: change(out, f"train/{PRETRAINED}", "training.json", initial_weights_sha256="0"),
        rf"cell train/{PRETRAINED} started from other weights than train/HK/student-enet/sources/seed-0 has made",
    ),
    "chosen by other cases": (
        lambda out: change(out, f"train/{DISTILLED}", "training.json", validation_cases="other"),
        rf"cells train/\S+ and train/{DISTILLED} were chosen by different cases",
    ),
    "cases of another site": (
        lambda out: change(out, f"test/{PLAIN}", "evaluation.json", sites=["BMC", "HK"]),
        rf"cell test/{PLAIN} evaluated cases of BMC, HK in place of HK",
    ),
    "target among a teacher's own sites": (
        lambda out: change(out, f"test/{OWN}", "evaluation.json", sites=["BMC", "HK"]),
        rf"cell test/{OWN} evaluated cases of BMC, HK in place of sites other than HK",
    ),
    "infinite distance": (
        lambda out: put_figure(out, "hd95_mm", "inf"),
        rf"test/{PLAIN} has hd95_mm = inf for case HK/Case01, which it cannot be; what is undefined is nan",
    ),
    "Dice above one": (lambda out: put_figure(out, "dice", 1.2), rf"test/{PLAIN} has dice = 1.2 for case HK/Case01"),
    "no figure": (lambda out: put_figure(out, "asd_mm", "far"), rf"test/{PLAIN} has asd_mm = far for case HK/Case01"),
    "no record": (
        lambda out: (out / "cells" / "train" / PLAIN / "eval" / "training.json").unlink(),
        rf"cell train/{PLAIN} has no training.json",
    ),
    "no experiment": (lambda out: (out / "experiment.json").unlink(), r"holds no experiment\.json"),
}


@pytest.mark.parametrize(("injected", "message"), FAULTS.values(), ids=FAULTS)
def test_what_would_make_a_wrong_table_is_refused_by_name(out, injected, message):
    injected(out)
    with pytest.raises(InputError, match=message):
        read_study(out)


def test_a_case_in_two_folds_is_refused(tmp_path):
    # the made-up cells of both folds are tested on the same cases
    out = make_study(tmp_path, run_folds=[0, 1])
    with pytest.raises(
        InputError, match=r"case BMC/Case00 was tested in two folds: test/BMC/fold-0/\S+ and test/BMC/fold-1/"
    ):
        read_study(out)


def test_undefined_figures_are_no_fault(out):
    put_figure(out, "hd95_mm", "nan")
    study = read_study(out)
    assert study.scores["hd95_mm"].isna().sum() == 1
