# SPDX-License-Identifier: Apache-2.0
"""Tests of the two protocols: who learns from which cases, and that nobody is tested on what was learnt from."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from akd_monai.data.cases import read_cases
from akd_monai.data.protocols import protocol_splits, write_protocol_splits
from akd_monai.errors import InputError, UnknownNameError
from akd_monai.prostate import verify_dataset
from akd_monai.prostate.phantom.make import make_phantom

SIZES = {"RUNMC": 30, "BMC": 30, "I2CVB": 19, "UCL": 13, "BIDMC": 12, "HK": 12}


def cases_of(sizes, scans=1):
    """``scans`` scans of each patient."""
    return [
        {"site": site, "case_id": f"{site}/Case{n:02}", "patient_id": f"{site}-{n // scans}"}
        for site, size in sizes.items()
        for n in range(size)
    ]


def site_of(name):
    return name.split("/")[0]


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.fixed_dictionaries({"A": st.integers(2, 14), "B": st.integers(1, 14), "C": st.integers(4, 9)}),
    seed=st.integers(0, 99),
    folds=st.integers(2, 6),
    scans=st.integers(1, 2),
)
def test_no_case_and_no_patient_is_on_both_sides(sizes, seed, folds, scans):
    if sizes["A"] <= scans:
        return
    cases = cases_of(sizes, scans)
    patient = {case["case_id"]: case["patient_id"] for case in cases}
    names = set(patient)
    tested = Counter()
    for entry in protocol_splits(cases, "A", seed=seed, folds=folds):
        assert set(entry["cases"]) == names
        assert all(part.startswith("teacher_") == (site_of(name) != "A") for name, part in entry["cases"].items())
        by_part = {}
        for name, part in entry["cases"].items():
            by_part.setdefault(part, set()).add(patient[name])
        sides = list(by_part.values())
        assert sum(map(len, sides)) == len(set.union(*sides))
        assert by_part["training"]
        assert by_part["test"]
        assert by_part["teacher_training"]
        tested.update(name for name, part in entry["cases"].items() if part == "test")
    assert tested == Counter(name for name in names if site_of(name) == "A")
    (entry,) = protocol_splits(cases, "A", "loso", seed=seed)
    assert {name for name, part in entry["cases"].items() if part == "test"} == set(tested)
    assert {part for name, part in entry["cases"].items() if site_of(name) != "A"} <= {"training", "validation"}


@pytest.mark.parametrize("target", SIZES)
def test_the_six_sites_by_hand(target):
    cases = cases_of(SIZES)
    entries = protocol_splits(cases, target)
    assert [entry["fold"] for entry in entries] == [0, 1, 2, 3]
    tests = [sum(part == "test" for part in entry["cases"].values()) for entry in entries]
    # n cases over four folds: sizes differ by one at most.
    assert sum(tests) == SIZES[target]
    assert max(tests) - min(tests) <= 1
    # 15 % of 30, 30, 19, 13, 12, 12 cases, rounded to even, without the target's.
    spared = {"RUNMC": 4, "BMC": 4, "I2CVB": 3, "UCL": 2, "BIDMC": 2, "HK": 2}
    wanted = sum(spared.values()) - spared[target]
    for entry in (*entries, *protocol_splits(cases, target, "loso")):
        parts = Counter(part.removeprefix("teacher_") for n, part in entry["cases"].items() if site_of(n) != target)
        assert parts == {"validation": wanted, "training": 116 - SIZES[target] - wanted}


def test_the_teachers_cases_are_the_same_in_every_fold_and_protocol():
    cases = cases_of(SIZES)
    (loso,) = protocol_splits(cases, "HK", "loso", seed=3)
    for entry in protocol_splits(cases, "HK", seed=3):
        taught = {n: part.removeprefix("teacher_") for n, part in entry["cases"].items() if site_of(n) != "HK"}
        assert taught == {n: part for n, part in loso["cases"].items() if site_of(n) != "HK"}
    assert protocol_splits(cases, "HK", seed=3) == protocol_splits(cases[::-1], "HK", seed=3)
    assert protocol_splits(cases, "HK", seed=3) != protocol_splits(cases, "HK", seed=4)


def test_mistakes_are_named():
    cases = cases_of({"HK": 4, "UCL": 4})
    with pytest.raises(
        UnknownNameError, match=r"unknown protocol 'cross-site'\. Did you mean 'cross_site'\? Known: cross_site, loso"
    ):
        protocol_splits(cases, "HK", "cross-site")
    with pytest.raises(UnknownNameError, match=r"unknown target 'HKK' .*\. Did you mean 'HK'\? Known: HK, UCL\."):
        protocol_splits(cases, "HKK")
    with pytest.raises(InputError, match=r"only site HK has cases"):
        protocol_splits(cases[:4], "HK")
    cases[5]["patient_id"] = cases[2]["patient_id"]
    with pytest.raises(InputError, match=r"patient of HK/Case02 also has a case in another site"):
        protocol_splits(cases, "HK", "loso")


@pytest.mark.parametrize("protocol", ["cross_site", "loso"])
def test_written_splits_are_understood_by_verify(tmp_path, protocol):
    folder = make_phantom(tmp_path / "set", cases_per_site=4, sites="UCL,HK", size=48, slices=6, progress=False)
    path = write_protocol_splits(tmp_path / "splits.json", read_cases(folder), "HK", protocol)
    assert verify_dataset(folder, splits=path, workers=1, progress=False).findings == []
    # The same scan on both sides of the split.
    (folder / "UCL/Case01.nii.gz").write_bytes((folder / "HK/Case02.nii.gz").read_bytes())
    (folder / "UCL/Case01_segmentation.nii.gz").write_bytes((folder / "HK/Case02_segmentation.nii.gz").read_bytes())
    messages = [f.message for f in verify_dataset(folder, splits=path, workers=1, progress=False).findings]
    assert any("different parts of a split hold the same voxels" in message for message in messages)
    assert len(json.loads(path.read_text())["splits"]) == (4 if protocol == "cross_site" else 1)
