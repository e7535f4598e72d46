# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import logging
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from akd_monai.data import datalist, split_cases, split_summary, write_splits
from akd_monai.errors import InputError, UnknownNameError

PARTS = ("training", "validation", "test")


def site_cases(name: str, count: int) -> list[dict[str, str]]:
    return [{"site": name, "case_id": f"{name}/Case{n:02}", "image": f"{n}"} for n in range(count)]


def ids(cases) -> list[str]:
    return [case["case_id"] for case in cases]


def parts(cases, **how) -> dict[str, list[str]]:
    return {part: ids(split_cases(cases, part, **how)) for part in PARTS}


@settings(max_examples=60, deadline=None)
@given(
    counts=st.lists(st.integers(4, 14), min_size=1, max_size=3),
    seed=st.integers(0, 9),
    folds=st.integers(2, 5),
    validation=st.integers(1, 3),
)
def test_every_case_has_one_part_and_is_tested_once(counts, seed, folds, validation):
    cases = [case for number, count in enumerate(counts) for case in site_cases(f"site{number}", count)]
    tested: Counter[str] = Counter()
    for fold in range(max(min(folds, count) for count in counts)):
        split = parts(cases, seed=seed, folds=folds, fold=fold, validation=validation)
        assert sorted(name for names in split.values() for name in names) == sorted(ids(cases))
        for number in range(len(counts)):
            of_site = {part: [n for n in names if n.startswith(f"site{number}/")] for part, names in split.items()}
            assert 1 <= len(of_site["validation"]) <= validation
            assert len(of_site["training"]) >= len(of_site["validation"])
        tested.update(split["test"])
    assert tested == Counter(ids(cases))


def test_twelve_cases_make_seven_two_three():
    assert {k: len(v) for k, v in parts(site_cases("HK", 12)).items()} == {"training": 7, "validation": 2, "test": 3}


def test_a_split_depends_on_seed_and_site_alone():
    alone = parts(site_cases("HK", 12), seed=3, fold=1)
    both = parts(site_cases("RUNMC", 9) + site_cases("HK", 12)[::-1], seed=3, fold=1)
    assert {k: sorted(n for n in v if n.startswith("HK")) for k, v in both.items()} == {
        k: sorted(v) for k, v in alone.items()
    }
    other_seed = parts(site_cases("HK", 12), seed=4, fold=1)
    other_site = {
        k: [n.replace("UCL", "HK") for n in v] for k, v in parts(site_cases("UCL", 12), seed=3, fold=1).items()
    }
    assert alone != other_seed
    assert alone != other_site


def test_entries_come_back_complete_and_in_order():
    cases = site_cases("HK", 8)
    chosen = split_cases(cases, "training")
    assert chosen == [case for case in cases if case in chosen]
    assert split_cases(cases, "all") == cases


@pytest.mark.parametrize(("count", "validation"), [(3, 1), (10, 2), (13, 2), (30, 4)])
def test_without_folds_fifteen_percent_are_validation(count, validation):
    split = {part: ids(split_cases(site_cases("BMC", count), part, folds=None)) for part in ("training", "validation")}
    assert len(split["validation"]) == validation
    assert sorted(split["training"] + split["validation"]) == ids(site_cases("BMC", count))
    with pytest.raises(InputError, match="no test part without folds; set folds"):
        split_cases(site_cases("BMC", count), "test", folds=None)


@pytest.mark.parametrize("count", [2, 3])
def test_a_tiny_site_validates_on_its_training_cases_and_says_so(count):
    cases, tested = site_cases("I2CVB", count), []
    for fold in range(count):
        split = parts(cases, fold=fold)
        assert split["validation"] == split["training"] != []
        assert not set(split["test"]) & set(split["training"])
        tested += split["test"]
        summary = split_summary(cases, fold=fold)
        assert summary["validation_is_training"] is True
        assert f"I2CVB: {count}" in summary["warnings"][0]
        assert json.loads(json.dumps(summary))["cases"] == {
            **dict.fromkeys(split["training"], "training"),
            **dict.fromkeys(split["test"], "test"),
        }
    assert sorted(tested) == ids(cases)
    with pytest.raises(InputError, match=f"fold {count} does not exist: the sites have at most {count} cases"):
        split_cases(cases, "test", fold=count, folds=count + 1)


def test_a_tiny_site_beside_a_larger_one_leaves_validation_alone():
    cases = site_cases("RUNMC", 8) + site_cases("I2CVB", 2)
    split = parts(cases)
    assert not set(split["validation"]) & set(split["training"])
    assert split_summary(cases)["validation_is_training"] is False


def test_a_single_case_cannot_be_tested_but_can_be_trained_on():
    with pytest.raises(InputError, match=r"site HK has one case \(HK/Case00\).*--folds null, .* as --folds '\$None'"):
        split_cases(site_cases("HK", 1), "training")
    assert ids(split_cases(site_cases("HK", 1), "training", folds=None)) == ["HK/Case00"]
    assert ids(split_cases(site_cases("HK", 1), "validation", folds=None)) == ["HK/Case00"]


@pytest.mark.fault(
    "Preparing and verifying data",
    "several scans of one patient",
    injected="cases that share a patient",
    outcome="never in two parts of a split",
)
@given(patients=st.lists(st.integers(0, 6), min_size=8, max_size=16), fold=st.integers(0, 1), seed=st.integers(0, 5))
@settings(max_examples=40, deadline=None)
def test_a_patient_is_never_in_two_parts(patients, fold, seed):
    cases = [{**case, "patient_id": p} for case, p in zip(site_cases("HK", len(patients)), patients, strict=True)]
    if len(set(patients)) < 4:
        return
    where: dict[int, set[str]] = {}
    for part in PARTS:
        for case in split_cases(cases, part, fold=fold, folds=2, seed=seed):
            where.setdefault(case["patient_id"], set()).add(part)
    assert set(where) == set(patients)
    assert all(len(found) == 1 for found in where.values())


def test_a_patient_number_is_not_another_cases_name():
    cases = [*site_cases("HK", 4), {"site": "HK", "case_id": "x", "patient_id": "HK/Case00"}]
    assert split_summary(cases)["sites"]["HK"]["patients"] == 5


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"folds": 1}, "folds must be at least 2, or null"),
        ({"fold": 4}, "fold must be 0 to 3 for 4 folds, got 4"),
        ({"fold": -1}, "fold must be 0 to 3"),
        ({"validation": -1}, "validation must be 0 or more"),
    ],
)
def test_numbers_that_make_no_sense(how, message):
    with pytest.raises(InputError, match=message):
        split_cases(site_cases("HK", 12), "training", **how)


def test_faults_in_the_list_are_named():
    with pytest.raises(UnknownNameError, match=r"unknown part 'train'.*'training'"):
        split_cases(site_cases("HK", 12), "train")
    with pytest.raises(InputError, match="no case to split"):
        split_cases([], "training")
    with pytest.raises(InputError, match="lists a case twice"):
        split_cases(site_cases("HK", 4) * 2, "training")
    with pytest.raises(InputError, match="'HK/Case00' names no site"):
        split_cases([{"case_id": "HK/Case00"}], "training")
    with pytest.raises(InputError, match="image 'x' has no name"):
        split_cases([{"site": "HK", "image": "x"}], "training")


def test_written_splits_hold_every_fold(tmp_path):
    cases = site_cases("HK", 12) + site_cases("I2CVB", 2)
    written = json.loads(write_splits(tmp_path / "deep" / "splits.json", cases, seed=5).read_text())["splits"]
    assert [s["fold"] for s in written] == [0, 1, 2, 3]
    assert Counter(n for s in written for n, part in s["cases"].items() if part == "test") == Counter(ids(cases))
    one = json.loads(write_splits(tmp_path / "one.json", cases, folds=None).read_text())["splits"]
    assert len(one) == 1
    assert "test" not in one[0]["cases"].values()


def test_datalist_reads_and_splits_and_warns(tmp_path, caplog):
    (tmp_path / "I2CVB").mkdir()
    for number in range(2):
        for end in ("", "_segmentation"):
            (tmp_path / "I2CVB" / f"Case0{number}{end}.nii.gz").write_bytes(b"")
    with caplog.at_level(logging.WARNING):
        training = datalist(tmp_path, "training", sites=["S3"])
        assert not caplog.records
        assert datalist(tmp_path, "validation", sites=["S3"]) == training
    assert "the training cases serve as validation cases" in caplog.text
    assert len(training) == len(datalist(tmp_path, "test")) == 1
