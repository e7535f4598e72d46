# SPDX-License-Identifier: Apache-2.0
"""Where trainer, handlers and run of a student stand, in the styles of the Model Zoo."""

from __future__ import annotations

import pytest
from monai.bundle import ConfigParser

from akd_monai.bundle._student import find_handlers, find_run, find_trainer, with_own_ids
from akd_monai.errors import InputError, UnknownNameError

TRAINER = {"_target_": "SupervisedTrainer", "train_data_loader": "@loader", "optimizer": "@optimizer"}
STYLES = {
    "usual": ({"train": {"trainer": TRAINER}}, "train#trainer"),
    "top level": ({"trainer": TRAINER}, "trainer"),
    "top level beside a section train": ({"train": {"inferer": {}}, "trainer": TRAINER}, "trainer"),
    "train is a macro": ({"train": "%other.json", "trainer": TRAINER}, "trainer"),
    "both: the one of MONAI's properties": ({"train": {"trainer": TRAINER}, "trainer": TRAINER}, "train#trainer"),
    "referred to": ({"trainer": "@fit#engine", "fit": {"engine": TRAINER}}, "fit#engine"),
    "another name": ({"fit": {"engine": TRAINER}, "evaluator": {"_target_": "SupervisedEvaluator"}}, "fit#engine"),
    "in a list": ({"engines": [{"_target_": "X"}, TRAINER]}, "engines#1"),
    "refers to itself": ({"trainer": "@trainer"}, "trainer"),
}


@pytest.mark.parametrize("style", STYLES)
def test_the_trainer_is_found(style):
    config, expected = STYLES[style]
    assert find_trainer(ConfigParser(config)) == expected


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"network": {"_target_": "UNet"}}, r"has no trainer \(train#trainer or trainer\)"),
        ({"a": TRAINER, "b": {"c": TRAINER}}, r"has several trainers \(a, b#c\)"),
    ],
    ids=["none", "two"],
)
def test_a_trainer_that_is_not_certain_is_told(config, message):
    with pytest.raises(InputError, match=message):
        find_trainer(ConfigParser(config))


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"trainer": {"train_handlers": "@handlers"}, "handlers": []}, "handlers"),
        ({"trainer": {"train_handlers": "@a#b"}, "a": {"b": "%c"}, "c": []}, "c"),
        ({"trainer": {"train_handlers": [{}]}}, "trainer#train_handlers"),
        ({"trainer": {"train_handlers": "$@handlers[:1]"}, "handlers": []}, "trainer#train_handlers"),
        ({"trainer": {}}, "trainer#train_handlers"),
    ],
    ids=["reference", "reference and macro", "list", "expression", "none"],
)
def test_the_handlers_are_found(config, expected):
    assert find_handlers(ConfigParser(config), "trainer") == expected


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"run": ["$1 + 1"], "training": ["$@trainer.run()"]}, "run"),
        ({"training": ["$setattr(torch, 'x', 1)", "$@trainer.run()"], "other": ["$@trainer.runner"]}, "training"),
        ({"training": "$@trainer.run()", "evaluating": ["$@evaluator.run()"]}, "training"),
    ],
    ids=["run", "a list", "a string"],
)
def test_what_starts_the_run_is_found(config, expected):
    assert find_run(ConfigParser(config), "trainer") == expected


def test_another_run_is_named_or_asked_for():
    config = {"a": ["$@trainer.run()"], "b": ["$@trainer.run()"]}
    with pytest.raises(InputError, match=r"no id 'run', .* not certain \(a, b\); name the id with run_id"):
        find_run(ConfigParser(config), "trainer")
    assert find_run(ConfigParser(config), "trainer", "b") == "b"
    with pytest.raises(UnknownNameError, match=r"unknown run_id 'c' in the student's train config. .*Known: a, b"):
        find_run(ConfigParser(config), "trainer", "c")
    with pytest.raises(InputError, match=r"none calls @train#trainer.run\(\)"):
        find_run(ConfigParser(config), "train#trainer")
    colons = ConfigParser({"go": ["$@train::trainer.run()"]})
    assert find_run(colons, "train#trainer") == "go"


def test_an_overlay_gets_the_ids_of_the_student():
    overlay = {
        "train#trainer#seed": 1,
        "train::trainer::teacher": "@teacher",
        "+train#handlers": [],
        "train#trainers": 2,
        "teacher": {"device": "@device"},
    }
    assert with_own_ids(overlay, "fit#engine", "fit#engine#train_handlers") == {
        "fit#engine#seed": 1,
        "fit#engine#teacher": "@teacher",
        "+fit#engine#train_handlers": [],
        "train#trainers": 2,
        "teacher": {"device": "@device"},
    }
    assert with_own_ids(overlay, "train#trainer", "train#handlers") == {
        name.replace("::", "#"): value for name, value in overlay.items()
    }
