# SPDX-License-Identifier: Apache-2.0
"""Methods beyond the terms: numbers of labelled cases, recipes, first weights, teachers, baselines of generalisation."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path

import pytest
from monai.bundle import ConfigParser

from akd_monai.bundle import list_recipes, write_bundle
from akd_monai.errors import InputError, UnknownNameError
from akd_monai.experiments._plan.cell import Row
from akd_monai.experiments._plan.checked import check_matrix
from akd_monai.experiments._plan.data import check_data
from akd_monai.experiments._plan.expand import expand
from akd_monai.experiments._plan.layers import layer_of, put_layer
from akd_monai.experiments._plan.matrix import read_matrix
from akd_monai.experiments._plan.methods import Method
from akd_monai.experiments._plan.shipped import experiment_file

FILE = {
    "dataset_dir": "data",
    "sites": ["RUNMC", "BMC", "HK"],
    "targets": ["HK"],
    "run_folds": [0],
    "teachers": ["unetplusplus"],
    "students": ["enet"],
    "methods": {},
    "controls": [],
}
# of experiments of this package before any of these keys existed
COMMANDS = {"table2-small": (444, "c4aca12996fa5a30"), "table4-small": (252, "72d9947c22a74328")}


def written(tmp_path, **changes):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({**FILE, **changes}))
    return path


def planned(tmp_path, **changes):
    cells = expand(read_matrix(written(tmp_path, **changes)), tmp_path / "out")
    return {cell.name.removesuffix("/seed-0"): cell for cell in cells}


def flags(cell):
    return dict(part[2:].split("=", 1) for part in cell.command if part.startswith("--") and "=" in part)


@pytest.mark.parametrize("name", COMMANDS)
def test_cells_of_an_experiment_without_these_keys_are_what_they_were(name):
    cells = expand(read_matrix(experiment_file(name)[0], "/data"), Path("/out"))
    fields = ("name", "kind", "command", "start_in", "folder", "result", "needs", "settings")
    lines = [json.dumps([getattr(cell, field) for field in fields]) for cell in cells]
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    assert (len(cells), digest[:16]) == COMMANDS[name]


def test_a_row_names_its_labelled_cases_where_there_is_a_number():
    assert (
        Row("HK", 0, "student", "enet", "without", None, 1, 4).name()
        == "HK/fold-1/labelled-4/student-enet/without/seed-0"
    )
    assert Row("HK", 0, "student", "enet", "without", None, 1).name() == "HK/fold-1/student-enet/without/seed-0"


def test_what_learns_at_the_target_is_run_for_each_number_and_nothing_else(tmp_path):
    controls = ["teacher_zero_shot", "teacher_adapted", "pretrained", "joint"]
    cells = planned(tmp_path, labelled_cases=[2, None], methods={"distilled": {}}, controls=controls)
    # teacher and student at the sources; twice: adapted teacher, plain, pre-trained, joint, distilled; once: zero-shot
    assert Counter(cell.kind for cell in cells.values()) == {"train": 2 + 2 * 4, "distill": 2, "test": 1 + 2 * 5}
    for name, cell in cells.items():
        learns_there = cell.kind != "test" and "/labelled-2/" in name
        assert flags(cell).get("labelled_cases") == ("2" if learns_there else None)
    few = flags(cells["train/HK/fold-0/labelled-2/student-enet/joint"])["train#dataset#data"]
    assert few.endswith("folds=@folds, labelled_cases=@labelled_cases)")
    assert (
        "labelled_cases" not in flags(cells["train/HK/fold-0/labelled-2/student-enet/joint"])["validate#dataset#data"]
    )
    assert few.count("labelled_cases=@") == 1


def test_an_adapted_teacher_is_one_cell_that_starts_from_the_sources(tmp_path):
    methods = {"a": {"teacher": "adapted"}, "b": {"teacher": "adapted", "labelled_cases": [2]}, "c": {}}
    teachers = {"unetplusplus": {"adapt": {"learning_rate": 0.003}}}
    cells = planned(tmp_path, labelled_cases=[2, 4], methods=methods, teachers=teachers)
    adapted = cells["train/HK/fold-0/labelled-2/teacher-unetplusplus/teacher_adapted"]
    assert adapted.needs == ("train/HK/teacher-unetplusplus/sources/seed-0",)
    assert (flags(adapted)["learning_rate"], flags(adapted)["labelled_cases"]) == ("0.003", "2")
    # a teacher's own bundle has no folds, and would learn from the test cases of its student
    assert (flags(adapted)["sites"], flags(adapted)["folds"], flags(adapted)["fold"]) == ("['HK']", "4", "0")
    assert (
        flags(adapted)["initial_weights"] == "../../cells/train/HK/teacher-unetplusplus/sources/seed-0/models/model.pt"
    )
    for name, teacher in (("a", adapted.name), ("b", adapted.name), ("c", adapted.needs[0])):
        cell = cells[f"train/HK/fold-0/labelled-2/student-enet/{name}/unetplusplus"]
        assert cell.needs == (teacher,)
        assert flags(cell)["teacher_weights"] == f"../../cells/{teacher}/models/model.pt"
    assert "train/HK/fold-0/labelled-4/student-enet/b/unetplusplus" not in cells
    # no row asks how the teacher does: it is trained, not tested
    assert not any(name.startswith("test/") and "teacher_adapted" in name for name in cells)


def test_a_distilled_student_that_starts_from_the_sources_has_the_weights_of_the_control(tmp_path):
    students = {"enet": {"adapt": {"learning_rate": 0.003}}}
    methods = {"own": {"initial": "sources"}, "fast": {"initial": "sources", "settings": {"learning_rate": 0.1}}}
    cells = planned(tmp_path, methods=methods, students=students, controls=["pretrained"])
    control = flags(cells["train/HK/fold-0/student-enet/pretrained"])
    own = cells["train/HK/fold-0/student-enet/own/unetplusplus"]
    assert flags(own)["initial_weights"] == control["initial_weights"]
    assert flags(own)["learning_rate"] == control["learning_rate"] == "0.003"
    assert own.needs == ("train/HK/teacher-unetplusplus/sources/seed-0", "train/HK/student-enet/sources/seed-0")
    assert "learning_rate" not in flags(cells["train/HK/fold-0/student-enet/without"])
    assert flags(cells["train/HK/fold-0/student-enet/fast/unetplusplus"])["learning_rate"] == "0.1"


def test_several_teachers_are_those_of_single_sites_but_the_target_and_shared_by_targets(tmp_path):
    cells = planned(tmp_path, targets=["HK", "BMC"], methods={"many": {"teacher": "several"}})
    alone = [name for name in cells if "/alone" in name]
    assert alone == [f"train/{site}/teacher-unetplusplus/alone" for site in ("RUNMC", "BMC", "HK")]
    assert {flags(cells[name])["sites"] for name in alone} == {"['RUNMC']", "['BMC']", "['HK']"}
    many = cells["train/HK/fold-0/student-enet/many/unetplusplus"]
    assert many.needs == tuple(f"train/{site}/teacher-unetplusplus/alone/seed-0" for site in ("RUNMC", "BMC"))
    weights = [f"../../cells/{need}/models/model.pt" for need in many.needs]
    assert flags(many)["teacher_weights"] == repr(weights)
    assert flags(many)["teacher_bundle"] == "['../teacher-unetplusplus', '../teacher-unetplusplus']"


def test_a_recipe_is_one_more_config_file_below_the_settings_of_its_method(tmp_path):
    methods = {"rival": {"recipe": "cwd", "settings": {"lambda_channels": 5.0}}}
    cell = planned(tmp_path, methods=methods)["train/HK/fold-0/student-enet/rival/unetplusplus"]
    assert "['configs/train.json','configs/distill.json','configs/method_rival.json']" in cell.command
    given = flags(cell)
    # which terms have a weight is said by the recipe alone
    assert (given["lambda_channels"], "lambda_gram" in given) == ("5.0", False)
    # the recipe is part of what the cell is
    assert json.loads(cell.settings)["distillation#terms#channels"]["weight"] == "@lambda_channels"


@pytest.mark.parametrize("name", list_recipes())
def test_every_recipe_of_the_package_can_be_a_method(tmp_path, name):
    matrix = read_matrix(written(tmp_path, methods={"one": {"recipe": name, "initial": "sources"}}))
    check_matrix(matrix)
    layer = layer_of(matrix.methods[0])
    assert not any(key.startswith("_") for key in layer.content)
    write_bundle("enet", tmp_path / "bundle")
    put_layer(layer, tmp_path / "bundle")
    assert json.loads((tmp_path / "bundle" / layer.path).read_text()) == layer.content


def test_a_recipe_of_ones_own_is_found_from_the_file_and_its_typos_too(tmp_path):
    (tmp_path / "sub").mkdir()
    recipe = tmp_path / "sub" / "own.json"
    recipe.write_text(json.dumps({"_recipe_": "Mine.", "lambda_logits": 1.0}))
    matrix = read_matrix(written(tmp_path, methods={"one": {"recipe": "sub/own.json"}}))
    check_matrix(matrix)
    assert matrix.methods[0].recipe == str(recipe)
    recipe.write_text(json.dumps({"lambda_logit": 1.0}))
    with pytest.raises(
        UnknownNameError, match=r"unknown config id 'lambda_logit' in recipe .*Did you mean 'lambda_logits'"
    ):
        check_matrix(matrix)
    recipe.write_text(json.dumps({"_needs_": {"lambda_logits": "a weight"}, "lambda_gram": 0.0}))
    with pytest.raises(InputError, match=r"recipe .*own.json' of method 'one': needs 'lambda_logits' \(a weight\)"):
        check_matrix(matrix)
    recipe.write_text(json.dumps({"_needs_": {"initial_weights": "weights"}}))
    with pytest.raises(InputError, match=r"needs 'initial_weights' \(weights\); let the method have .initial"):
        check_matrix(matrix)
    recipe.write_text(json.dumps({"sites": ["HK"]}))
    with pytest.raises(InputError, match=r"recipe .* of method 'one': 'sites' is set by the experiment itself"):
        check_matrix(matrix)


def test_a_baseline_is_a_plain_training_at_the_sources_with_one_more_config_file(tmp_path):
    methods = {"mix": {"generalise": "mixstyle", "settings": {"mixstyle_alpha": 0.3}}, "distilled": {}}
    cells = planned(tmp_path, protocol="loso", methods=methods, controls=["teacher_zero_shot"])
    check_matrix(read_matrix(written(tmp_path, protocol="loso", methods=methods)))
    cell = cells["train/HK/fold-0/student-enet/mix"]
    assert (cell.kind, cell.needs, cell.row.teacher) == ("train", (), None)
    assert "['configs/train.json','configs/method_mix.json']" in cell.command
    plain = flags(cells["train/HK/fold-0/student-enet/without"])
    differing = {key for key, value in flags(cell).items() if plain.get(key) != value}
    assert differing == {"ckpt_dir", "output_dir", "mixstyle_alpha"}
    test = cells["test/HK/fold-0/student-enet/mix"]
    assert (flags(test)["part"], flags(test)["sites"], "method_mix" in str(test.command)) == ("all", "['HK']", False)


def test_the_config_of_a_baseline_is_read_after_that_of_the_student(tmp_path):
    layer = layer_of(Method("bigaug", terms=(), generalise="bigaug"))
    write_bundle("enet", tmp_path / "enet")
    put_layer(layer, tmp_path / "enet")
    configs = [str(tmp_path / "enet" / path) for path in ("configs/train.json", layer.path)]
    merged = ConfigParser.load_config_files(configs)
    assert merged["train"]["random_transforms"][-1] == "@bigaug#deformation"


MISTAKES = {
    "key": ({"methods": {"a": {"recpie": "cwd"}}}, "unknown entry 'recpie' of method 'a' .*Did you mean 'recipe'"),
    "recipe": ({"methods": {"a": {"recipe": "cvd"}}}, "unknown recipe 'cvd' of method 'a' of .*Did you mean 'cwd'"),
    "recipe and terms": (
        {"methods": {"a": {"recipe": "cwd", "terms": ["logits"]}}},
        "method 'a' has a recipe, which says which terms have a weight; take",
    ),
    "initial": (
        {"methods": {"a": {"initial": "source"}}},
        "initial of method 'a' .* must be .*'sources'.*got 'source'",
    ),
    "teacher": ({"methods": {"a": {"teacher": "best"}}}, "teacher of method 'a' .*'adapted', 'several'.*got 'best'"),
    "baseline": (
        {"protocol": "loso", "methods": {"a": {"generalise": "mixstile"}}},
        "unknown baseline 'mixstile' of method 'a' of .*Did you mean 'mixstyle'",
    ),
    "baseline under cross_site": (
        {"methods": {"a": {"generalise": "mixstyle"}}},
        "method 'a' generalises from several sites, and a student learns at one under 'cross_site'",
    ),
    "baseline with a teacher": (
        {"protocol": "loso", "methods": {"a": {"generalise": "mixstyle", "teacher": "several"}}},
        "method 'a' learns to generalise without a teacher and cannot have teacher",
    ),
    "initial under loso": (
        {"protocol": "loso", "methods": {"a": {"initial": "sources"}}},
        "method 'a' starts from weights of the sources, where every student learns under 'loso'",
    ),
    "adapted under loso": (
        {"protocol": "loso", "methods": {"a": {"teacher": "adapted"}}},
        "method 'a' adapts its teacher to labelled cases of the target, from which nothing learns under 'loso'",
    ),
    "control under loso": ({"protocol": "loso", "controls": ["teacher_adapted"]}, "unknown control 'teacher_adapted'"),
    "labelled under loso": (
        {"protocol": "loso", "labelled_cases": [2]},
        "labelled_cases are of the target, whose labels nothing learns from under 'loso'",
    ),
    "labelled twice": ({"labelled_cases": [2, 2]}, r"labelled_cases must be a list without repetition, got \[2, 2\]"),
    "labelled none": ({"labelled_cases": [0, None]}, "labelled_cases must be .*different integers"),
    "labelled number": ({"labelled_cases": 4}, "labelled_cases must be a list without repetition, got 4"),
    "labelled of a method": (
        {"labelled_cases": [2, 4], "methods": {"a": {"labelled_cases": [3]}}},
        r"method 'a' names 3 labelled cases, and the experiment has \[2, 4\]",
    ),
    "base": ({"methods": {"all": {}, "a": {"base": "al"}}}, "unknown base 'al' of method 'a' .*Did you mean 'all'"),
    "base elsewhere": (
        {"labelled_cases": [2, 4], "methods": {"b": {"labelled_cases": [2]}, "a": {"base": "b"}}},
        "method 'a' is run with 4 labelled cases, and its base 'b' is not",
    ),
    "settings": ({"settings": {"labelled_cases": 2}}, "'labelled_cases' is set by the experiment itself"),
    "teacher of a method": (
        {"methods": {"a": {"settings": {"teacher_weights": "other.pt"}}}},
        "'teacher_weights' is set by the experiment itself",
    ),
    "adapt of nothing": (
        {"students": {"enet": {"adapt": {"learning_rate": 0.1}}}},
        "'adapt' of 'enet' has no effect: no row of it starts from weights of the sources",
    ),
    "folds of an adapted teacher": (
        {"teachers": {"unetplusplus": {"adapt": {"folds": None}}}, "controls": ["teacher_adapted"]},
        "adapt of 'unetplusplus' .*: 'folds' is set by the experiment itself",
    ),
    "typo in adapt": (
        {"students": {"enet": {"adapt": {"learnin_rate": 0.1}}}, "controls": ["pretrained"]},
        "unknown config id 'learnin_rate' in adapt of 'enet'",
    ),
}


@pytest.mark.parametrize(("changes", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_in_the_file_is_said_before_anything_runs(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        check_matrix(read_matrix(written(tmp_path, **changes)))


def touch_cases(root, sites, count):
    for site in sites:
        for number in range(count):
            for suffix in ("", "_segmentation"):
                path = root / "data" / site / f"Case{number:02}{suffix}.nii.gz"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()


@pytest.mark.fault(
    "Experiments",
    "a method needs more source sites than a target leaves",
    injected="SAML with two sources, a vote by agreement of two teachers or of one",
    outcome="refused by method and target, before a teacher is trained for hours",
)
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"protocol": "loso", "methods": {"a": {"generalise": "saml"}}},
            r"method 'a' learns from 3 sites or more, and target HK leaves 2 \(BMC, RUNMC\); name more sites",
        ),
        (
            {"methods": {"a": {"teacher": "several", "settings": {"teacher_vote": "agreement"}}}},
            "method 'a' for target HK: teacher_vote 'agreement' needs at least 3 teachers, got 2",
        ),
        (
            {"methods": {"a": {"settings": {"teacher_vote": "agreement"}}}},
            "method 'a' for target HK: teacher_vote 'agreement' needs at least 3 teachers, got 1",
        ),
    ],
)
def test_too_few_sites_for_a_method_are_refused_by_target(tmp_path, changes, message):
    touch_cases(tmp_path, FILE["sites"], 8)
    with pytest.raises(InputError, match=message):
        check_data(read_matrix(written(tmp_path, **changes)))
    touch_cases(tmp_path, ["UCL"], 8)
    if "several" in str(changes) or "saml" in str(changes):
        check_data(read_matrix(written(tmp_path, **changes, sites=[*FILE["sites"], "UCL"])))


def test_more_labelled_cases_than_there_are_and_none_without_are_refused_by_target(tmp_path):
    # of 8 cases in 4 folds 2 are tested and 2 validated: 4 are left
    touch_cases(tmp_path, FILE["sites"], 8)
    check_data(read_matrix(written(tmp_path, labelled_cases=[2, 4])))
    with pytest.raises(
        InputError, match=r"target HK has 4 training cases in fold 0, and labelled_cases names 5; name 4"
    ):
        check_data(read_matrix(written(tmp_path, labelled_cases=[2, 5])))
    methods = {"more": {"settings": {"unlabelled_batch_size": 4}, "labelled_cases": [2]}}
    check_data(read_matrix(written(tmp_path, labelled_cases=[2, 4], methods=methods)))
    methods["more"]["labelled_cases"] = [4]
    with pytest.raises(
        InputError, match=r"method 'more' learns from images without labels, and target HK has none in fold 0"
    ):
        check_data(read_matrix(written(tmp_path, labelled_cases=[2, 4], methods=methods)))
