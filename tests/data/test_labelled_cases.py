# SPDX-License-Identifier: Apache-2.0
"""Which training cases keep their labels, and images that have none."""

from __future__ import annotations

import json

import pytest

from akd_monai.data import datalist, split_cases
from akd_monai.data.manifest import Manifest
from akd_monai.errors import InputError, UnknownNameError

CASES = [
    {"site": site, "case_id": f"{site}/Case{n:02}", "image": f"{n}", "label": f"m{n}"}
    for site in ("HK", "UCL")
    for n in range(20)
]


def names(cases):
    return [case["case_id"] for case in cases]


def part(name, n=None, seed=0, **options):
    return split_cases(CASES, name, seed=seed, labelled_cases=n, **options)


@pytest.mark.parametrize("seed", range(5))
def test_the_choices_are_nested_and_the_rest_is_unlabelled(seed):
    training = names(part("training", seed=seed))
    smaller = set()
    for n in (1, 2, 4, 8, len(training)):
        chosen = names(part("training", n, seed))
        assert len(chosen) == n
        assert smaller < set(chosen)
        assert chosen == [name for name in training if name in chosen]
        others = part("unlabelled", n, seed)
        assert sorted(names(others) + chosen) == sorted(training)
        assert all(case.keys() == {"site", "case_id", "image"} for case in others)
        smaller = set(chosen)


def test_the_choice_depends_on_the_seed_and_not_on_the_order_of_the_cases():
    chosen = {tuple(names(part("training", 4, seed))) for seed in range(6)}
    assert len(chosen) == 6
    backwards = split_cases(CASES[::-1], "training", labelled_cases=4)
    assert set(names(backwards)) == set(names(part("training", 4)))


@pytest.mark.parametrize("name", ["validation", "test", "all"])
@pytest.mark.parametrize("fold", [0, 2])
def test_the_other_parts_stay_what_they_are(name, fold):
    assert part(name, 3, fold=fold) == part(name, fold=fold)


def test_training_cases_that_serve_as_validation_cases_are_those_with_labels():
    few = CASES[:3]
    training = split_cases(few, "training", labelled_cases=1, folds=3)
    assert split_cases(few, "validation", labelled_cases=1, folds=3) == training
    assert len(split_cases(few, "validation", folds=3)) == 2


def test_all_cases_have_labels_by_default():
    assert part("unlabelled") == []


@pytest.mark.parametrize("count", [0, -1, True, False, 1.5, 2.0, "2", [2]], ids=repr)
@pytest.mark.parametrize("name", ["training", "unlabelled", "validation", "test", "all"])
def test_what_is_no_number_of_cases_is_refused(name, count):
    with pytest.raises(InputError, match=r"labelled_cases must be an integer of at least 1, or null .*, got "):
        part(name, count)


@pytest.mark.parametrize("name", ["training", "unlabelled"])
def test_more_than_the_training_cases_are_refused(name):
    with pytest.raises(InputError, match="labelled_cases is 27, but there are 26 training cases; set it to 26 or less"):
        part(name, 27)


def test_an_unknown_part_is_named():
    with pytest.raises(UnknownNameError, match=r"unknown part 'unlabeled'\. Did you mean 'unlabelled'"):
        part("unlabeled", 3)


@pytest.fixture
def folder(tmp_path):
    for n in range(12):
        for suffix in ("", "_segmentation"):
            path = tmp_path / "HK" / f"Case{n:02}{suffix}.nii.gz"
            path.parent.mkdir(exist_ok=True)
            path.touch()
    for name in ("HK/Case50", "HK/Case51", "HK/Case52", "UCL/Case60"):
        path = tmp_path / "unlabelled" / f"{name}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path


def test_images_prepared_without_a_mask_are_added_for_the_sites_of_the_cases(folder):
    found = datalist(folder, "unlabelled", labelled_cases=4)
    assert names(found)[3:] == [f"unlabelled/HK/Case{n}" for n in (50, 51, 52)]
    assert set(names(found)[:3]) < set(names(datalist(folder, "training")))
    assert found[-1]["image"] == str(folder / "unlabelled/HK/Case52.nii.gz")
    assert not any("label" in case for case in found)
    assert names(datalist(folder, "unlabelled")) == [f"unlabelled/HK/Case{n}" for n in (50, 51, 52)]
    assert len(datalist(folder, "training", labelled_cases=4)) == 4


def test_images_of_patients_who_are_held_out_are_left_out(folder, caplog):
    test, training = datalist(folder, "test")[0], datalist(folder, "training")[0]
    manifest = Manifest(folder)
    for name, patient in ((test["case_id"], "a"), ("HK/Case50", "a"), (training["case_id"], "b"), ("HK/Case51", "b")):
        manifest.add({"case_id": name, "patient_id": patient})
    assert names(datalist(folder, "unlabelled")) == ["unlabelled/HK/Case51", "unlabelled/HK/Case52"]
    assert "unlabelled case HK/Case50 is not trained on: its patient has a validation or test case." in caplog.text
    assert json.loads((folder / "manifest.json").read_text())["cases"]


def test_a_folder_without_such_images_has_none(tmp_path, folder):
    for path in (folder / "unlabelled" / "HK").iterdir():
        path.unlink()
    assert datalist(folder, "unlabelled") == []
