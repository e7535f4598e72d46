# SPDX-License-Identifier: Apache-2.0
"""Values of an experiment's file that are of another kind, out of range, or without effect."""

from __future__ import annotations

import json

import pytest
import torch

from akd_monai.errors import InputError
from akd_monai.experiments._plan.cell import unknown_cell
from akd_monai.experiments._plan.checked import check_matrix
from akd_monai.experiments._plan.machine import read_machine
from akd_monai.experiments._plan.matrix import read_matrix
from akd_monai.experiments._plan.places import check_present, grouped, machine_places

EXPERIMENT = {"dataset_dir": "data", "teachers": ["unetplusplus"], "students": ["enet"]}
HUGE = 10**30


def written(tmp_path, **changes):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({**EXPERIMENT, **changes}))
    return path


MISTAKES = {
    "folds beyond a C integer": ({"folds": HUGE}, f"folds must be an integer of 2 to 1000, got {HUGE}"),
    "folds in a list": ({"folds": [4]}, r"folds must be an integer of 2 to 1000, got \[4\]"),
    "folds under loso": ({"protocol": "loso", "folds": "four"}, "folds must be an integer of 1 to 1000, got 'four'"),
    "GPUs": ({"gpus_per_cell": 0}, "gpus_per_cell must be an integer of 1 to 1000, got 0"),
    "seed that no generator takes": ({"seeds": [2**32]}, r"seeds must be .* of 0 to 4294967295, got \[4294967296\]"),
    "seed twice": ({"seeds": [1, 1]}, r"seeds must be a list of different integers of 0 to 4294967295, got \[1, 1\]"),
    "one seed outside a list": ({"seeds": 1}, "seeds must be a list of different integers .*, got 1"),
    "truth as a seed": ({"seeds": [True]}, r"seeds must be a list of different integers .*, got \[True\]"),
    "sites as words": ({"sites": "HK,BMC"}, "sites must be a list of names, got 'HK,BMC'"),
    "site twice": ({"sites": ["HK", "BMC", "HK"]}, "site 'HK' comes twice; give each a name of its own"),
    "teacher twice": ({"teachers": ["enet", "enet"]}, "teacher 'enet' comes twice"),
    "one teacher outside a list": ({"teachers": "enet"}, "teachers must be a list of names, got 'enet'"),
    "students of one folder on macOS": (
        {"students": {"Light": {"bundle": "enet"}, "light": {"bundle": "erfnet"}}},
        "student 'light' differs from 'Light' by upper and lower case alone",
    ),
    "controls as a word": ({"controls": "joint"}, "controls must be a list of names, got 'joint'"),
    "no controls by null": ({"controls": None}, "controls must be a list of names, got None"),
}


@pytest.mark.fault(
    "Wrong input",
    "values of an experiment's file",
    injected="another type, out of range, a name twice, names that differ by case alone",
    outcome="one line names key, value and what is expected, before anything runs",
)
@pytest.mark.parametrize(("changes", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_value_of_another_kind_is_said(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        read_matrix(written(tmp_path, **changes))


def test_one_fold_is_a_fold_under_loso(tmp_path):
    assert read_matrix(written(tmp_path, protocol="loso", folds=1)).folds == 1
    assert read_matrix(written(tmp_path, protocol="loso", folds=4)).run_folds == (0,)


def test_no_control_is_an_empty_list(tmp_path):
    assert read_matrix(written(tmp_path, controls=[])).controls == ()


@pytest.mark.parametrize(
    "content", ['{"seeds": [0], "seeds": [1]}', '{"methods": {"a": {}, "a": {"terms": ["gram"]}}}']
)
def test_a_key_that_comes_twice_is_refused(tmp_path, content):
    path = tmp_path / "mine.json"
    path.write_text(content)
    name = "seeds" if "seeds" in content else "a"
    with pytest.raises(InputError, match=f"has the key '{name}' twice in one object"):
        read_matrix(path)


# what the command line of the cells overrules, so that it would have no effect
OVERRULED = {
    "folds of all": ({"settings": {"folds": 3}}, "'folds' is set by the experiment itself"),
    "folds of a student": (
        {"students": {"enet": {"settings": {"folds": 3}}}},
        "settings of 'enet' .*: 'folds' is set by the experiment itself",
    ),
    "split of a teacher": ({"teachers": {"unetplusplus": {"settings": {"split_seed": 1}}}}, "'split_seed' is set by"),
    "split of a method": ({"methods": {"a": {"settings": {"split_seed": 1}}}}, "'split_seed' is set by"),
    "folds of a method": ({"methods": {"a": {"settings": {"folds": 5}}}}, "'folds' is set by the experiment itself"),
    "weights of a method's teacher": (
        {"methods": {"a": {"settings": {"teacher_weights": "x"}}}},
        "'teacher_weights' is",
    ),
    "complete config": ({"settings": {"": {}}}, "unknown config id '' in settings of experiment 'mine'"),
}


@pytest.mark.parametrize(("changes", "message"), OVERRULED.values(), ids=OVERRULED)
def test_a_setting_that_the_experiment_sets_itself_is_refused(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        check_matrix(read_matrix(written(tmp_path, **changes)))


def test_a_teacher_may_have_folds_and_all_may_have_a_split_seed(tmp_path):
    changes = {"teachers": {"unetplusplus": {"settings": {"folds": 4}}}, "settings": {"split_seed": 1}}
    check_matrix(read_matrix(written(tmp_path, **changes)))


def test_a_file_of_any_name_needs_a_name_that_tables_can_have(tmp_path):
    path = written(tmp_path).rename(tmp_path / "mïne two.json")
    with pytest.raises(InputError, match=r"mïne two\.json': cannot be called as its file; add a \"name\" of letters"):
        read_matrix(path)
    path.write_text(json.dumps({**EXPERIMENT, "name": "two"}))
    assert read_matrix(path).name == "two"


# with a name that CUDA does not know, a cell would run on the CPU
GPUS = {
    "no GPU": (["0", "a"], "gpus: 'a' is no GPU; name them by number"),
    "CUDA's word for none": (["-1"], "gpus: '-1' is no GPU"),
    "other separator": (["0;1"], "gpus: '0;1' is no GPU"),
    "one twice": (["0", "1", "0"], "gpus: GPU '0' comes twice; it takes one cell at a time"),
    "one in two groups": (["0,1", "1,2"], "gpus: GPU '1' comes twice"),
}


@pytest.mark.parametrize(("gpus", "message"), GPUS.values(), ids=GPUS)
def test_names_of_gpus_that_are_none_are_refused(gpus, message):
    with pytest.raises(InputError, match=message):
        grouped(gpus, 1)
    named = ["GPU-8932f937-d72c-4106-c12f-20bd9faed9f6", "MIG-GPU-8932f937/1/0"]
    assert grouped(named, 1) == named


@pytest.mark.fault(
    "Wrong input",
    "`experiment --gpus 0` on a machine without a GPU, or with fewer",
    injected="numbers that no GPU of the machine has",
    outcome="refused in one line, where every cell would train on the CPU",
)
def test_gpus_that_the_machine_does_not_have_are_refused(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    for count, gpus, message in (
        (0, ["0"], "gpus: this machine has no GPU 0: PyTorch finds none; leave gpus out to run on the CPU"),
        (0, ["GPU-8932f937"], "gpus: this machine has no GPU GPU-8932f937: PyTorch finds none"),
        (2, ["0,1", "2"], "gpus: this machine has no GPU 2: it has 2, from 0 to 1"),
    ):
        monkeypatch.setattr(torch.cuda, "is_available", lambda count=count: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda count=count: count)
        with pytest.raises(InputError, match=message):
            check_present(gpus)
    check_present([])
    check_present(["0,1"])
    # this process sees a part of them, whose numbers start at 0 again
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "6,7")
    check_present(["6", "7"])


MACHINES = {
    "jobs as a word": ({"options": {"max_blocks": "8"}}, "max_blocks must be an integer of at least 1, got '8'"),
    "no job": ({"options": {"max_blocks": 0}}, "max_blocks must be an integer of at least 1, got 0"),
    "half a node": ({"options": {"nodes_per_block": 0.5}}, "nodes_per_block must be an integer of at least 1, got 0.5"),
    "no accelerator": ({"executor": {"available_accelerators": []}}, "of at least 1, or a list, got \\[\\]"),
    "workers": ({"executor": {"max_workers_per_node": -1}}, "max_workers_per_node must be an integer of at least 1"),
}


@pytest.mark.parametrize(("content", "message"), MACHINES.values(), ids=MACHINES)
def test_sizes_of_a_cluster_are_refused_before_anything_runs(tmp_path, content, message):
    path = tmp_path / "machine.json"
    path.write_text(json.dumps({"provider": "SlurmProvider", **content}))
    with pytest.raises(InputError, match=message):
        read_machine(path)


def test_what_a_machine_file_leaves_to_parsl_counts_as_one(tmp_path):
    path = tmp_path / "machine.json"
    sizes = {"options": {"max_blocks": None}, "executor": {"available_accelerators": None}}
    path.write_text(json.dumps({"provider": "SlurmProvider", **sizes}))
    assert machine_places(read_machine(path)) == 1
    with pytest.raises(InputError, match="machine must be a path, got 5"):
        read_machine(5)


def test_a_pattern_that_matches_nothing_names_a_few_cells_and_where_all_are_listed():
    names = [f"train/HK/{number}" for number in range(50)]
    message = str(unknown_cell("*/test/*", names))
    assert "Known: train/HK/0, train/HK/1, train/HK/2 and 47 more. A star stands" in message
    assert message.endswith("--dry_run lists the names of all cells.")
