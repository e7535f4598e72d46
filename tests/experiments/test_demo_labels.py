# SPDX-License-Identifier: Apache-2.0
"""How many labels the demo's students have, and what the second one needs."""

from __future__ import annotations

import ast
from types import SimpleNamespace

import pytest

from akd_monai.errors import InputError, UnknownNameError
from akd_monai.experiments._demo_bundles import ALONE, DISTILLED, SECOND, TEACHER
from akd_monai.experiments._demo_results import DemoRun
from akd_monai.experiments._demo_training import train
from akd_monai.experiments.demo import _with_labels
from akd_monai.experiments.settings import DemoSettings


def cases(count):
    return [{"site": "I2CVB", "case_id": f"I2CVB/Case{number:02}"} for number in range(count)]


@pytest.mark.parametrize(
    ("count", "flags", "recipe", "labelled"),
    [
        # 12 cases: 6 for the test, 2 for validation, 4 for training
        (12, {}, "unlabelled", 2),
        (12, {"labelled_cases": 3}, "unlabelled", 3),
        # all have labels, so that no image is left
        (12, {"labelled_cases": 4}, None, 4),
        # 4 cases: 2, 1 and 1
        (4, {}, None, None),
        (12, {"recipe": "careful"}, "careful", None),
        (12, {"recipe": "null"}, None, None),
        (12, {"recipe": "null", "labelled_cases": 2}, None, 2),
    ],
)
def test_labels_of_the_students(count, flags, recipe, labelled):
    settings, found = _with_labels(DemoSettings.from_flags(flags), cases(count), seed=0)
    assert (settings.recipe, found) == (recipe, labelled)


def test_an_unknown_recipe_is_refused_before_anything_is_trained():
    with pytest.raises(UnknownNameError, match=r"unknown recipe 'carefull'\. Did you mean 'careful'"):
        _with_labels(DemoSettings.from_flags({"recipe": "carefull"}), cases(12), seed=0)


def test_a_recipe_of_ones_own_is_found_from_the_folder_of_a_bundle(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own's.json").write_text("{}")
    commands = []
    run = DemoRun(
        tmp_path, tmp_path, dict.fromkeys((TEACHER, ALONE, DISTILLED, SECOND), tmp_path / "x"), True, True, ["A"], "B", 0,
        32, DemoSettings(recipe="own's.json"), None,
    )  # fmt: skip
    train(run, SimpleNamespace(run=lambda name, arguments, folder: commands.append(arguments)))
    files = ast.literal_eval(commands[-1][4])
    assert files == ["configs/train.json", "configs/distill.json", str(tmp_path / "own's.json")]
    assert commands[-2][4] == "['configs/train.json','configs/distill.json']"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"labelled_cases": 2.5}, "labelled_cases must be an integer, got 2.5"),
        ({"labelled_cases": "two"}, "labelled_cases must be an integer, got 'two'"),
        ({"epochs": 1.5}, "epochs must be an integer, got 1.5"),
        ({"size": "64"}, "size must be an integer, got '64'"),
        ({"fold": True}, "fold must be an integer, got True"),
        ({"slices": None}, "slices must be an integer, got None"),
    ],
    ids=str,
)
def test_what_is_no_integer_is_refused_before_anything_is_trained(flags, message):
    with pytest.raises(InputError, match=message):
        DemoSettings.from_flags(flags)


def test_no_label_at_all_is_refused():
    with pytest.raises(InputError, match="labelled_cases must be at least 1, or null for all, got 0"):
        DemoSettings.from_flags({"labelled_cases": 0})
