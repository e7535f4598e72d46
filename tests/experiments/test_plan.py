# SPDX-License-Identifier: Apache-2.0
"""From an experiment's file to its cells: counted by hand, in order, shared where they are the same."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from monai.bundle import ConfigParser

from akd_monai.errors import InputError, UnknownNameError
from akd_monai.experiments._plan.cell import chosen, in_order, is_done
from akd_monai.experiments._plan.expand import expand
from akd_monai.experiments._plan.matrix import read_matrix

TABLE2 = {
    "dataset_dir": "data",
    "teachers": ["unetplusplus", "deeplabv3plus"],
    "students": ["enet", "espnet", "erfnet"],
    "controls": [],
}


def written(tmp_path, **changes):
    path = tmp_path / "table2.json"
    path.write_text(json.dumps({**TABLE2, **changes}))
    return path


def planned(tmp_path, **changes):
    return expand(read_matrix(written(tmp_path, **changes)), tmp_path / "table2")


def kinds(cells):
    return dict(Counter(cell.kind for cell in cells))


def flags(cell):
    return dict(
        argument[2:].split("=", 1) for argument in cell.command if argument.startswith("--") and "=" in argument
    )


# teachers 2 x 6 sites = 12, whatever the folds. Each fold and site: 3 plain and 2 x 3 distilled students, each tested.
# loso: one fold. Controls a site and fold: 2 zero-shot tests; 2 teachers trained there and tested; 3 joint students.
# Controls a site alone: 2 tests of teachers at their sites; 3 students pre-trained, which each fold tunes and tests.
HAND_COUNTS = {
    "table 2, four folds": ({}, {"train": 12 + 72, "distill": 144, "test": 72 + 144}),
    "one of four folds": ({"run_folds": [0]}, {"train": 12 + 18, "distill": 36, "test": 18 + 36}),
    "two seeds": ({"run_folds": [0], "seeds": [0, 1]}, {"train": 24 + 36, "distill": 72, "test": 36 + 72}),
    "two targets": ({"targets": ["HK", "BMC"]}, {"train": 4 + 24, "distill": 48, "test": 24 + 48}),
    "loso": ({"protocol": "loso"}, {"train": 12 + 18, "distill": 36, "test": 18 + 36}),
    "no method": ({"methods": {}}, {"train": 12 + 72, "test": 72}),
    "zero-shot": (
        {"run_folds": [0, 1], "controls": ["teacher_zero_shot"]},
        {"train": 12 + 36, "distill": 72, "test": 36 + 72 + 24},
    ),
    "all controls": (
        {
            "targets": ["HK"],
            "folds": 2,
            "controls": ["teacher_zero_shot", "teacher_own_sites", "teacher_at_target", "pretrained", "joint"],
        },
        # trained: 2 teachers, 3 pre-trained; twice 3 plain, 3 tuned, 3 joint, 2 teachers there
        {"train": 5 + 2 * 11, "distill": 2 * 6, "test": 2 + 2 * (2 + 2 + 9 + 6)},
    ),
}


@pytest.mark.parametrize(("changes", "expected"), HAND_COUNTS.values(), ids=HAND_COUNTS)
def test_counts(tmp_path, changes, expected):
    assert kinds(planned(tmp_path, **changes)) == expected


def test_cells_have_names_and_folders_of_their_own_and_come_after_their_needs(tmp_path):
    cells = planned(tmp_path, controls=["teacher_zero_shot", "pretrained", "joint"])
    seen = set()
    for cell in cells:
        assert set(cell.needs) <= seen
        seen.add(cell.name)
    assert len(seen) == len({cell.folder for cell in cells}) == len(cells)
    with pytest.raises(ValueError, match="comes before"):
        in_order(reversed(cells))


def test_a_teacher_is_shared_by_the_students_and_folds_of_its_target(tmp_path):
    cells = planned(tmp_path, targets=["HK"])
    users = [cell for cell in cells if "train/HK/teacher-unetplusplus/sources/seed-0" in cell.needs]
    assert kinds(users) == {"distill": 4 * 3}
    weights = {flags(cell)["teacher_weights"] for cell in users}
    assert weights == {"../../cells/train/HK/teacher-unetplusplus/sources/seed-0/models/model.pt"}


def test_no_teacher_sees_its_target_and_each_student_learns_there_alone(tmp_path):
    cells = planned(tmp_path)
    for cell in cells:
        target = cell.name.split("/")[1]
        sites = flags(cell)["sites"]
        if "/sources/" in cell.name:
            assert target not in sites
            assert len(eval(sites)) == 5
            assert flags(cell)["folds"] == "$None"
        else:
            assert sites == f"['{target}']"


def test_under_loso_nothing_but_tests_reads_the_target(tmp_path):
    cells = planned(tmp_path, protocol="loso", controls=["teacher_zero_shot", "teacher_own_sites"])
    for cell in cells:
        target = cell.name.split("/")[1]
        if target in flags(cell)["sites"]:
            assert cell.kind == "test"
            assert flags(cell)["part"] == "all"
        else:
            # 85/15 for student and teacher alike, not the folds of a student's bundle
            assert flags(cell)["folds"] == "$None"
    assert sum(flags(cell)["sites"] == "['HK']" for cell in cells) == 3 + 6 + 2


def test_a_tuned_student_starts_from_the_weights_of_the_sources(tmp_path):
    cells = {cell.name: cell for cell in planned(tmp_path, targets=["HK"], controls=["pretrained"])}
    tuned = cells["train/HK/fold-2/student-enet/pretrained/seed-0"]
    assert tuned.needs == ("train/HK/student-enet/sources/seed-0",)
    path = Path(tuned.start_in, flags(tuned)["initial_weights"]).resolve()
    assert path == Path(cells[tuned.needs[0]].folder, "models", "model.pt").resolve()
    plain = flags(cells["train/HK/fold-2/student-enet/without/seed-0"])
    assert "initial_weights" not in plain
    assert {key for key in plain if plain[key] != flags(tuned).get(key)} == {"ckpt_dir", "output_dir"}


def test_terms_that_a_method_leaves_out_have_no_weight(tmp_path):
    methods = {"lm+aam": {"terms": ["logits", "affinity"], "settings": {"lambda_affinity": 0.5}}}
    cell = next(cell for cell in planned(tmp_path, methods=methods) if cell.kind == "distill")
    given = flags(cell)
    assert (given["lambda_gram"], given["lambda_affinity"]) == ("0.0", "0.5")
    assert "lambda_logits" not in given


def test_the_joint_student_learns_from_both_parts(tmp_path):
    """The expression, read by MONAI's parser: five sources without folds, the target in folds."""
    cells = planned(tmp_path, targets=["HK"], controls=["joint"])
    cell = next(cell for cell in cells if "/joint/" in cell.name and cell.kind == "train")
    expression = flags(cell)["train#dataset#data"].replace("akd_monai.data.datalist", "dict")
    left, right = expression[1:].split(" + ")
    values = {"sites": ["HK"], "split_seed": 3, "fold": 1, "folds": 4, "dataset_dir": []}
    strip = "dict(@dataset_dir, 'training', "
    parsed = []
    for part in (left, right):
        parser = ConfigParser({**values, "data": f"$dict({part.removeprefix(strip)}"})
        parsed.append(parser.get_parsed_content("data"))
    assert parsed[0] == {"sites": ["RUNMC", "BMC", "I2CVB", "UCL", "BIDMC"], "seed": 3, "folds": None}
    assert parsed[1] == {"sites": ["HK"], "seed": 3, "fold": 1, "folds": 4}


def test_seeds_share_the_split(tmp_path):
    """Of two seeds every training and test has the same cases; another split is a setting of the experiment."""
    cells = planned(tmp_path, seeds=[0, 7], run_folds=[0], controls=["pretrained", "joint", "teacher_zero_shot"])
    assert {(flags(cell)["seed"], flags(cell)["split_seed"]) for cell in cells} == {("0", "0"), ("7", "0")}
    assert all(flags(cell)["seed"] == str(cell.row.seed) for cell in cells)
    other = planned(tmp_path, settings={"split_seed": 3})
    assert {flags(cell)["split_seed"] for cell in other} == {"3"}


def test_a_teacher_with_folds_is_tested_on_cases_of_its_sites_that_chose_nothing(tmp_path):
    teachers = {"a": {"bundle": "enet", "settings": {"folds": 4}}, "b": {"bundle": "enet"}}
    cells = planned(tmp_path, targets=["HK"], teachers=teachers, controls=["teacher_own_sites"])
    given = {cell.name: flags(cell) for cell in cells}
    own = {name: given[f"test/HK/teacher-{name}/teacher_own_sites/seed-0"] for name in "ab"}
    assert (own["a"]["part"], own["a"]["folds"]) == ("test", "4")
    assert (own["b"]["part"], own["b"]["folds"]) == ("validation", "$None")
    trained = {name: given[f"train/HK/teacher-{name}/sources/seed-0"] for name in "ab"}
    assert all(trained[name][key] == own[name][key] for name in "ab" for key in ("sites", "folds", "split_seed"))


def test_one_source_for_one_target(tmp_path):
    """A teacher of a single site: five targets for it, thirty pairs over six such experiments."""
    targets = ["BMC", "I2CVB", "UCL", "BIDMC", "HK"]
    cells = planned(tmp_path, sources=["RUNMC"], targets=targets, controls=["teacher_own_sites", "pretrained"])
    at_sources = [cell for cell in cells if cell.row.method in ("sources", "teacher_own_sites")]
    assert {flags(cell)["sites"] for cell in at_sources} == {"['RUNMC']"}
    assert kinds(at_sources) == {"train": 5 * (2 + 3), "test": 5 * 2}


def test_students_share_what_their_teacher_has_computed(tmp_path):
    cells = planned(tmp_path, teacher_cache=True)
    places = {Path(cell.start_in, flags(cell)["teacher_cache"]).resolve() for cell in cells if cell.kind == "distill"}
    assert places == {(tmp_path / "table2" / "cache").resolve()}
    assert not any("teacher_cache" in flags(cell) for cell in cells if cell.kind != "distill")
    assert not any("teacher_cache" in flags(cell) for cell in planned(tmp_path))


def test_another_setting_is_another_experiment(tmp_path):
    cell = planned(tmp_path, settings={"epochs": 3})[0]
    Path(cell.folder).mkdir(parents=True)
    cell.record.write_text(json.dumps(cell.identity()))
    assert not is_done(cell)
    Path(cell.result).write_text(json.dumps({"cell": cell.name}))
    assert is_done(cell)
    other = planned(tmp_path, settings={"epochs": 4})[0]
    with pytest.raises(InputError, match=r"cell train/RUNMC/.* was run with another epochs; delete"):
        is_done(other)
    with pytest.raises(InputError, match="was run with another --folds"):
        is_done(replace(cell, command=(*cell.command[:-1], "--folds=5")))


def test_only_takes_what_the_chosen_cells_need(tmp_path):
    cells = chosen(planned(tmp_path), ["test/HK/fold-0/student-enet/distilled/unetplusplus/*"])
    assert [cell.name.removesuffix("/seed-0") for cell in cells] == [
        "train/HK/teacher-unetplusplus/sources",
        "train/HK/fold-0/student-enet/distilled/unetplusplus",
        "test/HK/fold-0/student-enet/distilled/unetplusplus",
    ]
    with pytest.raises(UnknownNameError, match="unknown cell 'tst/HK/"):
        chosen(cells, ["tst/HK/*"])


MISTAKES = {
    "key": ({"teacher": ["enet"]}, "unknown entry 'teacher' of experiment .*Did you mean 'teachers'"),
    "protocol": ({"protocol": "losso"}, "protocol of experiment .* must be one of 'cross_site', 'loso', got 'losso'"),
    "network": ({"students": ["e-net"]}, "unknown network 'e-net' in students of .*Did you mean 'enet'"),
    "target": ({"targets": ["HKU"]}, "unknown target 'HKU' of experiment .*Did you mean 'HK'"),
    "term": ({"methods": {"a": {"terms": ["gramm"]}}}, "unknown term 'gramm' of method 'a'"),
    "control": ({"controls": ["zero"]}, "unknown control 'zero' under protocol 'cross_site'"),
    "loso control": (
        {"protocol": "loso", "controls": ["pretrained"]},
        "unknown control 'pretrained' under protocol 'loso'",
    ),
    "fold": ({"run_folds": [4]}, r"run_folds must be below folds = 4, got \[4\]"),
    "seeds": ({"seeds": [0, 0]}, "seeds must be a list of different integers of 0 to 4294967295"),
    "no data": ({"dataset_dir": None}, "has no dataset_dir"),
    "source": ({"sources": ["HKU"]}, "unknown source 'HKU' of experiment .*Did you mean 'HK'"),
    "source is target": ({"sources": ["HK"]}, "target 'HK' is the only source, where its teacher would learn"),
    "cache": ({"teacher_cache": "yes"}, "teacher_cache must be true or false, got 'yes'"),
    "one site": ({"sites": ["HK"]}, "sites must be at least two"),
    "method name": ({"methods": {"a/b": {}}}, "method 'a/b' cannot be the name of a folder"),
    "control's name": ({"methods": {"without": {}}}, "a method cannot be called 'without'"),
}


@pytest.mark.parametrize(("changes", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_in_the_file_is_said(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        read_matrix(written(tmp_path, **changes))


def test_data_are_found_from_the_file(tmp_path):
    assert read_matrix(written(tmp_path)).dataset_dir == tmp_path / "data"
