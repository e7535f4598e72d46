# SPDX-License-Identifier: Apache-2.0
"""Experiments of the package: found by name, complete, and wrong settings refused before anything runs."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from monai.bundle import ConfigParser

from akd_monai.bundle import build_network, new_bundle
from akd_monai.errors import InputError, UnknownNameError
from akd_monai.experiments._plan.bundles import put_bundle
from akd_monai.experiments._plan.checked import check_matrix
from akd_monai.experiments._plan.expand import expand
from akd_monai.experiments._plan.matrix import read_matrix
from akd_monai.experiments._plan.parts import cells_of, open_experiment
from akd_monai.experiments._plan.shipped import experiment_file, shipped_names
from akd_monai.files import read_json

MINE = {"dataset_dir": "data", "teachers": ["unetplusplus"], "students": ["enet"], "controls": []}

# Rows of a site and fold: teacher rows, and each student alone, pre-trained and distilled, which are trained and tested.
# table 2: each of 2 teachers zero-shot, at its sites, at the target; 3 students alone, pre-trained, from 2 teachers.
# A teacher and a pre-trained student at the sources, and the teachers' own test, are shared by the folds.
HAND_COUNTS = {
    "table2": (2, 4, {"train": 6 * (5 + 4 * (2 + 6)), "distill": 6 * 4 * 6, "test": 6 * (2 + 4 * (2 + 2 + 12))}),
    "table2-small": (2, 1, {"train": 6 * (5 + 8), "distill": 6 * 6, "test": 6 * (2 + 16)}),
    # one teacher and student: alone, pre-trained, seven sets of modules
    "table4": (2, 4, {"train": 6 * (2 + 4 * 2), "distill": 6 * 4 * 7, "test": 6 * 4 * (1 + 9)}),
    "table4-small": (2, 1, {"train": 6 * 4, "distill": 6 * 7, "test": 6 * 10}),
    "readings": (2, 4, {"train": 6 * (2 + 4 * 2), "distill": 6 * 4 * 9, "test": 6 * 4 * (1 + 11)}),
    "readings-small": (2, 1, {"train": 3 * 4, "distill": 3 * 9, "test": 3 * 12}),
    # one student under three schedules, each with a row of its own without distillation
    "schedules": (2, 4, {"train": 6 * (1 + 4 * 3), "distill": 6 * 4 * 3, "test": 6 * 4 * (1 + 6)}),
    "schedules-small": (2, 1, {"train": 3 * 4, "distill": 3 * 3, "test": 3 * 7}),
    # alone, pre-trained and by ten methods from one teacher; the small one has no pre-trained student, and two targets
    "table3-distillation": (2, 4, {"train": 6 * (2 + 4 * 2), "distill": 6 * 4 * 10, "test": 6 * 4 * (1 + 12)}),
    "table3-distillation-small": (2, 1, {"train": 2 * 2, "distill": 2 * 10, "test": 2 * (1 + 11)}),
    # a teacher; alone and by five baselines; distilled
    "table3-generalisation": (2, 1, {"train": 6 * 7, "distill": 6, "test": 6 * 8}),
    "table3-generalisation-small": (2, 1, {"train": 2 * 7, "distill": 2, "test": 2 * 8}),
    # for each number: alone, pre-trained, teacher adapted, nine methods
    "help-few": (2, 4, {"train": 6 * (2 + 4 * 2 * 3), "distill": 6 * 4 * 2 * 9, "test": 6 * 4 * (1 + 2 * 12)}),
    "help-eight": (2, 4, {"train": 3 * (2 + 4 * 3), "distill": 3 * 4 * 9, "test": 3 * 4 * (1 + 12)}),
    # seven methods with 2 labelled cases, two of them with 4
    "help-small": (2, 1, {"train": 6 * (2 + 2 * 3), "distill": 6 * 9, "test": 6 * (1 + 2 * 3 + 9)}),
}
# an experiment of parts, and the files that are its parts
PARTS = {
    "help": ["help-few", "help-eight"],
    "table3": ["table3-distillation", "table3-generalisation"],
    "table3-small": ["table3-distillation-small", "table3-generalisation-small"],
}
# parameters of the paper's table 1, as its networks are counted elsewhere
STUDENTS = {"enet": 353_545, "espnet": 182_719, "erfnet": 2_062_872}


def shipped(name, tmp_path):
    return read_matrix(experiment_file(name)[0], tmp_path)


def written(tmp_path, **changes):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({**MINE, **changes}))
    return path


def checked(tmp_path, **changes):
    check_matrix(read_matrix(written(tmp_path, **changes)))


def test_the_names_are_those_that_are_known():
    assert shipped_names() == sorted([*HAND_COUNTS, *PARTS])


@pytest.mark.parametrize(("name", "files"), PARTS.items(), ids=PARTS)
def test_an_experiment_of_parts_has_those_of_the_package(name, files, tmp_path):
    opened = open_experiment(name, tmp_path / "out", tmp_path)
    assert opened.name == name
    assert [part.file.stem for part in opened.parts] == files
    assert [part.folder for part in opened.parts] == [tmp_path / "out" / file for file in files]


def test_the_parts_of_table_3_share_their_teachers(tmp_path):
    for name in ("table3", "table3-small"):
        near, far = cells_of(open_experiment(name, tmp_path / "out", tmp_path).parts)
        before = {cell.name: cell.identity() for cell in near}
        shared = [cell.name for cell in far if before.get(cell.name) == cell.identity()]
        teachers = [cell.name for cell in far if (cell.row.role, cell.row.method) == ("teacher", "sources")]
        assert shared == teachers
        assert teachers


def test_rows_of_help_are_the_winning_one_and_what_comes_on_top_of_it(tmp_path):
    for name in ("help-few", "help-eight", "help-small"):
        methods = {method.name: method for method in shipped(name, tmp_path).methods}
        best = methods["unlabelled"]
        assert (best.recipe, best.initial, best.teacher, best.settings) == ("unlabelled", "sources", "adapted", {})
        added = [method for method in methods.values() if method.base == "unlabelled"]
        assert [method.name.partition("+")[2] for method in added] == ["logits", "gram", "affinity", "cwd"]
        for method in added:
            assert (method.recipe, method.initial, method.teacher) == (best.recipe, best.initial, best.teacher)
            assert len(method.settings) == 1


@pytest.mark.parametrize("name", HAND_COUNTS)
def test_cells_of_a_shipped_experiment(name, tmp_path):
    matrix = shipped(name, tmp_path)
    check_matrix(matrix)
    seeds, folds, counts = HAND_COUNTS[name]
    assert (len(matrix.seeds), len(matrix.run_folds)) == (seeds, folds)
    found = Counter(cell.kind for cell in expand(matrix, tmp_path))
    assert dict(found) == {kind: seeds * count for kind, count in counts.items()}


def test_the_modules_of_table_4_are_the_seven_sets_that_are_not_empty(tmp_path):
    for name in ("table4", "table4-small"):
        sets = {frozenset(method.terms) for method in shipped(name, tmp_path).methods}
        assert len(sets) == len(shipped(name, tmp_path).methods) == 2**3 - 1


@pytest.mark.parametrize("name", [name for name in HAND_COUNTS if "small" not in name])
def test_a_full_experiment_has_the_papers_networks_and_schedule(name, tmp_path):
    matrix = shipped(name, tmp_path)
    paper = {"spatial_size": [384, 384], "batch_size": 16, "epochs": 100, "learning_rate": 0.01}
    assert paper.items() <= matrix.settings.items()
    for network in (*matrix.teachers, *matrix.students):
        # as many steps for every number of labelled cases
        assert set(network.settings) <= {"schedule", "samples_per_epoch"}


@pytest.mark.parametrize("name", [name for name in HAND_COUNTS if "small" in name])
def test_a_small_experiment_has_the_papers_students(name, tmp_path):
    for student in shipped(name, tmp_path).students:
        put_bundle(student.bundle, student.settings, tmp_path / student.name)
        size = sum(parameter.numel() for parameter in build_network(tmp_path / student.name).parameters())
        assert size == STUDENTS[student.bundle]


def test_the_head_of_espnet_learns_at_ten_times_the_rate_of_the_rest(tmp_path):
    espnet = next(s for s in shipped("table2-small", tmp_path).students if s.bundle == "espnet")
    put_bundle("espnet", espnet.settings, tmp_path / "espnet")
    parser = ConfigParser(read_json(tmp_path / "espnet" / "configs" / "train.json"))
    optimizer = parser.get_parsed_content("optimizer")
    network = parser.get_parsed_content("network")
    rest, head = optimizer.param_groups
    assert (rest["lr"], head["lr"]) == (0.01, pytest.approx(0.1))
    assert head["params"] == [network.head.weight]
    assert len(rest["params"]) + 1 == len(list(network.parameters()))


def test_a_file_of_the_user_goes_before_a_shipped_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file, folder = experiment_file("table2-small")
    assert file.parent.name == "shipped"
    assert folder == tmp_path / "table2-small"
    assert experiment_file("table2-small.json") == (file, folder)
    # the second call finds the results of the first
    folder.mkdir()
    assert experiment_file("table2-small") == (file, folder)
    folder.rmdir()
    Path("table2-small").write_text("{}")
    assert experiment_file("table2-small")[0] == tmp_path / "table2-small"
    mine = tmp_path / "sub" / "mine.json"
    mine.parent.mkdir()
    mine.write_text("{}")
    assert experiment_file("sub/mine.json") == (mine, tmp_path / "sub" / "mine")


@pytest.mark.parametrize("name", ["table2-smal", "table2_small", "table5.json"])
def test_an_unknown_name_lists_the_known_ones(name):
    with pytest.raises(UnknownNameError, match=r"unknown experiment .*Did you mean 'table.*Known: help, .*path"):
        experiment_file(name)


def test_data_are_named_by_file_or_caller(tmp_path):
    with pytest.raises(InputError, match=r"has no dataset_dir; add 'dataset_dir', or give --dataset_dir"):
        read_matrix(experiment_file("table4-small")[0])
    assert read_matrix(written(tmp_path)).dataset_dir == tmp_path / "data"
    assert read_matrix(written(tmp_path), tmp_path / "other").dataset_dir == tmp_path / "other"


WRONG_SETTINGS = {
    "a typo for all": ({"settings": {"epoch": 3}}, r"unknown config id 'epoch' in settings .*Did you mean 'epochs'"),
    "a typo of a student": (
        {"students": {"enet": {"settings": {"network_def#dropuot": 0.2}}}},
        r"unknown config id 'network_def#dropuot' in settings of 'enet'",
    ),
    "a typo of a method": (
        {"methods": {"kl": {"settings": {"distillation#terms#logits#loss#temprature": 2.0}}}},
        r"unknown config id 'distillation#terms#logits#loss#temprature' in settings of method 'kl' with 'enet'",
    ),
    "a value": ({"settings": {"epochs": 0}}, r"settings of experiment 'mine'.*epochs must be an integer of at least 1"),
    "a value of a method": (
        {"methods": {"kl": {"settings": {"lambda_logits": -1}}}},
        r"method 'kl' with 'enet': lambda_logits must be a finite number of at least 0, got -1",
    ),
    "a weight of what is left out": (
        {"methods": {"kl": {"terms": ["logits"], "settings": {"lambda_gram": 1.0}}}},
        r"'lambda_gram' is the weight of a term that the method leaves out",
    ),
    "the sites": ({"settings": {"sites": ["HK"]}}, r"'sites' is set by the experiment itself"),
    "a seed of a teacher": ({"teachers": {"unetplusplus": {"settings": {"seed": 1}}}}, r"'seed' is set by the exper"),
}


@pytest.mark.parametrize(("changes", "message"), WRONG_SETTINGS.values(), ids=WRONG_SETTINGS)
def test_wrong_settings_are_refused_before_anything_runs(changes, message, tmp_path):
    with pytest.raises(InputError, match=message):
        checked(tmp_path, **changes)


def test_settings_of_a_method_may_change_the_students_training(tmp_path):
    settings = {"schedule": "cosine", "distillation#terms#gram#adapter": None}
    checked(tmp_path, methods={"other": {"settings": settings}})


def test_a_term_of_ones_own_may_stand_alone(tmp_path):
    term = {"distillation#terms#own": {"loss": {"_target_": "my_losses.MyLoss"}, "weight": 0.5}}
    checked(tmp_path, methods={"own": {"terms": [], "settings": term}})
    with pytest.raises(InputError, match=r"method 'own' has no term; name one of logits, gram, affinity"):
        checked(tmp_path, methods={"own": {"terms": [], "settings": {"lambda_logits": 1.0}}})
    with pytest.raises(UnknownNameError, match=r"unknown config id 'distillation#terms#lgits' in"):
        checked(tmp_path, methods={"own": {"settings": {"distillation#terms#lgits": None}}})


def test_a_network_of_ones_own_is_given_by_its_bundle(tmp_path):
    widths = {"features": [4, 4, 4, 4, 4, 4]}
    new_bundle("mine", "BasicUNet", bundles_dir=tmp_path, high="down_3", network_args=widths)
    (tmp_path / "mine" / "models" / "model.pt").write_bytes(b"weights of an earlier training")
    students = {"own": {"bundle": "mine", "settings": {"network_def#features": [8] * 6}}}
    matrix = read_matrix(written(tmp_path, students=students))
    check_matrix(matrix)
    assert matrix.students[0].bundle == str(tmp_path / "mine")
    root = tmp_path / "out" / "student-own"
    put_bundle(matrix.students[0].bundle, matrix.students[0].settings, root)
    assert build_network(root).conv_0.conv_0.conv.weight.shape[0] == 8
    assert build_network(tmp_path / "mine").conv_0.conv_0.conv.weight.shape[0] == 4
    assert list((root / "models").iterdir()) == []
    # a change of the bundle is part of what the experiment is
    before = read_json(root.with_name("student-own.json"))
    (tmp_path / "mine" / "configs" / "train.json").write_text(json.dumps({"changed": 1}))
    with pytest.raises(
        InputError, match=r"cannot be in an experiment: its train.json has no dataset_dir, .*new_bundle"
    ):
        check_matrix(matrix)
    assert before["files"].keys() >= {"configs/train.json", "configs/distill.json"}


def test_a_folder_that_is_no_bundle(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UnknownNameError, match=r"unknown network 'empty' in students .*or the folder of a bundle"):
        checked(tmp_path, students={"own": {"bundle": "empty"}})
