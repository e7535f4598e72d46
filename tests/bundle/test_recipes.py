# SPDX-License-Identifier: Apache-2.0
"""Recipes: which ids they set, what wins over them, and what is refused."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from bundle_tools import small_bundle

from akd_monai.__main__ import main, user_error
from akd_monai.bundle import DistillationWorkflow, build_network, list_recipes, recipe_path
from akd_monai.errors import InputError, UnknownNameError


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Two bundles, whose configs no test changes."""
    folder = tmp_path_factory.mktemp("bundles")
    teacher = small_bundle("unetplusplus", folder / "teacher")
    torch.save(build_network(teacher).state_dict(), teacher / "models" / "model.pt")
    return teacher, small_bundle("enet", folder / "student")


@pytest.fixture
def own(tmp_path):
    """Return a function that writes a recipe of one's own."""

    def write(**ids):
        path = tmp_path / "own.json"
        path.write_text(json.dumps(ids))
        return path

    return write


def criterion(workflow):
    return workflow.parser.get_parsed_content("distillation")


def weights(workflow):
    return {term.name: term.weight for term in criterion(workflow).active}


def test_the_paper_is_the_default(pair):
    plain = DistillationWorkflow(*pair)
    paper = DistillationWorkflow(*pair, recipe="paper")
    assert weights(paper) == weights(plain) == {"logits": 0.2, "gram": 0.9, "affinity": 0.9}


def test_a_recipe_turns_the_three_terms_off_and_adds_its_own(pair):
    found = criterion(DistillationWorkflow(*pair, recipe="emkd"))
    layers = {term.name: (term.weight, term.student_layer, term.teacher_layer) for term in found.active}
    low, high = ("initial", "node_1_0"), ("stage3", "node_3_0")
    assert layers == {
        "prediction": (0.1, None, None),
        "importance_low": (0.9, *low),
        "importance_high": (0.9, *high),
        "regions_low": (0.9, *low),
        "regions_high": (0.9, *high),
    }
    assert (found.losses["prediction"].temperature, found.losses["prediction"].direction) == (4.0, "teacher_student")


def test_careful_is_a_ramp_at_a_tenth(pair):
    found = criterion(DistillationWorkflow(*pair, recipe="careful"))
    named = {term.name: term for term in found.active}
    assert {name: term.weight for name, term in named.items()} == {"logits": 0.02, "gram": 0.09, "affinity": 0.09}
    assert [term.factor(2.5) for term in found.active] == [0.5] * 3
    assert named["logits"].loss.class_weights == "balanced"


def test_a_balance_is_an_id(pair):
    assert criterion(DistillationWorkflow(*pair, **{"distillation#balance": "gradient"})).balance == "gradient"


def test_unlabelled_asks_for_the_weights_of_the_student(pair, tmp_path):
    message = (
        r"recipe 'unlabelled': needs --initial_weights \(weights of the same student trained on other sites\); give it"
    )
    with pytest.raises(InputError, match=message):
        DistillationWorkflow(*pair, recipe="unlabelled")
    path = tmp_path / "model.pt"
    torch.save(build_network(pair[1]).state_dict(), path)
    workflow = DistillationWorkflow(*pair, recipe="unlabelled", initial_weights=str(path), lambda_unlabelled=0.5)
    ids = ("unlabelled_batch_size", "lambda_unlabelled", "pseudo_labels", "initial_weights")
    assert [workflow.parser.get(name) for name in ids] == [8, 0.5, "hard", str(path)]
    assert criterion(workflow).active == []


def test_flags_win_over_a_recipe(pair):
    changed = {"lambda_importance": 0.5, "distillation#terms#prediction#loss#temperature": 2.0, "lambda_logits": 0.3}
    found = criterion(DistillationWorkflow(*pair, recipe="emkd", **changed))
    named = {term.name: term for term in found.active}
    assert named["importance_low"].weight == 0.5
    assert named["prediction"].loss.temperature == 2.0
    assert named["logits"].weight == 0.3


def test_terms_choose_among_those_of_a_recipe(pair):
    assert weights(DistillationWorkflow(*pair, recipe="emkd", terms="prediction")) == {"prediction": 0.1}
    with pytest.raises(UnknownNameError, match="unknown loss 'gram' in this overlay"):
        DistillationWorkflow(*pair, recipe="emkd", terms="gram")


def test_a_recipe_of_ones_own(pair, own):
    term = {"loss": "dist", "weight": "@lambda_own"}
    path = own(epochs=7, lambda_own=0.5, lambda_gram=0, **{"distillation#terms#own": term})
    workflow = DistillationWorkflow(*pair, recipe=path)
    assert workflow.parser.get("epochs") == 7
    assert weights(workflow) == {"logits": 0.2, "affinity": 0.9, "own": 0.5}


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ({"epohcs": 7}, r"recipe '.*own.json': unknown config id 'epohcs'. Did you mean 'epochs'"),
        ({"lambda_new": 1.0}, r"recipe .* unknown config id 'lambda_new'"),
        ({"distillation#term#own": {}}, "unknown config id 'distillation#term' in 'distillation#term#own'"),
        ({"distillation#terms#logits#loss#temprature": 2}, "unknown argument 'distillation#|temperature"),
        ({"epochs": "many"}, "recipe .*own.json': epochs"),
        ({"_needs_": ["initial_weights"]}, "own.json: '_needs_' must say for each id what it stands for"),
        ({"_needs_": {"initial_weights": "of the sources"}}, r"own.json': needs --initial_weights \(of the sources\)"),
    ],
)
def test_what_would_have_no_effect_is_refused(pair, own, ids, message):
    with pytest.raises(InputError, match=message):
        DistillationWorkflow(*pair, recipe=own(**ids))


@pytest.mark.fault(
    "Wrong input",
    "a config, an overlay or a recipe gives one key twice",
    injected="JSON and YAML with a repeated key, of which every parser keeps the last",
    outcome="one line names the key and the file",
)
@pytest.mark.parametrize("place", ["recipe.json", "recipe.yaml", "overlay.json", "student", "teacher"])
def test_a_key_that_comes_twice_is_refused(pair, tmp_path, place):
    teacher, student = pair
    options = {}
    path = tmp_path / place
    if place == "recipe.yaml":
        path.write_text("epochs: 3\nepochs: 4\n")
    elif path.suffix:
        path.write_text('{"epochs": 3, "epochs": 4}')
    else:
        root = shutil.copytree(student if place == "student" else teacher, path)
        path = root / "configs" / ("train.json" if place == "student" else "metadata.json")
        key = "epochs" if place == "student" else "version"
        path.write_text(path.read_text().replace("{", f'{{"{key}": "1.0", ', 1))
        teacher, student = (teacher, root) if place == "student" else (root, student)
    if path.suffix and place not in ("student", "teacher"):
        options = {place.partition(".")[0]: path}
    with pytest.raises(InputError, match=r"twice in one object|Duplicate key: `epochs`") as caught:
        DistillationWorkflow(teacher, student, **options)
    assert str(path) in str(caught.value)


def test_null_is_an_answer_to_what_a_recipe_needs(pair, own):
    path = own(_needs_={"initial_weights": "of the sources"})
    assert DistillationWorkflow(*pair, recipe=path, initial_weights="null").parser.get("initial_weights") is None


def test_an_unknown_recipe(pair, tmp_path):
    with pytest.raises(UnknownNameError, match=r"unknown recipe 'carefull'\. Did you mean 'careful'"):
        DistillationWorkflow(*pair, recipe="carefull")
    with pytest.raises(InputError, match=r"recipe '.*' is a folder; give a file in it, JSON or YAML\.$"):
        DistillationWorkflow(*pair, recipe=tmp_path)
    with pytest.raises(InputError, match=r"^recipe must be a path, got 5\.$"):
        DistillationWorkflow(*pair, recipe=5)
    (tmp_path / "own.txt").write_text("{}")
    with pytest.raises(InputError, match=r"own.txt: is no config file by its name; call it .json or .yaml or .yml"):
        DistillationWorkflow(*pair, recipe=tmp_path / "own.txt")


def test_layers_that_no_bundle_names_are_asked_for(pair, tmp_path):
    student = shutil.copytree(pair[1], tmp_path / "student")
    path = student / "configs" / "metadata.json"
    content = json.loads(path.read_text())
    del content["distillation_layers"]
    path.write_text(json.dumps(content))
    with pytest.raises(Exception, match="layer") as caught:
        criterion(DistillationWorkflow(pair[0], student, recipe="emkd"))
    message = str(user_error(caught.value))
    assert "unknown layer 'high' under 'distillation_layers' in configs/metadata.json of bundle" in message
    assert "student_layer or teacher_layer" in message


def test_each_recipe_is_listed_with_one_sentence(capsys):
    main(["recipes"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(list_recipes())
    assert {"paper", "careful", "emkd", "cwd", "at", "skd", "ifvd", "dist", "cirkd", "sp", "mskd-style"} <= set(
        list_recipes()
    )
    for sentence in list_recipes().values():
        assert sentence.endswith(".")
        assert ". " not in sentence
    assert recipe_path("emkd").is_file()
