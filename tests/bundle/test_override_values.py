# SPDX-License-Identifier: Apache-2.0
"""Wrong kinds and values of overrides are one line before anything is built."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigParser

from akd_monai.bundle import check_settings
from akd_monai.bundle._override_values import check_values, with_none
from akd_monai.errors import InputError, UnknownNameError

PARTS = Path(__file__).resolve().parents[2] / "akd_monai" / "bundle" / "parts" / "common"
WRONG = [
    ("epochs", "two", "epochs must be an integer of at least 1, got 'two'."),
    ("epochs", 2.5, "an integer of at least 1, got 2.5"),
    ("epochs", True, "an integer of at least 1, got True"),
    ("batch_size", 0, "an integer of at least 1, got 0"),
    ("batch_size", -2, "an integer of at least 1, got -2"),
    ("spatial_size", 64, "two positive integers such as [384,384], got 64"),
    ("spatial_size", [-64, 64], "two positive integers such as [384,384], got [-64, 64]"),
    ("spatial_size", [64], "two positive integers such as [384,384], got [64]"),
    ("learning_rate", "fast", "a finite number above 0, got 'fast'"),
    ("learning_rate", float("nan"), "a finite number above 0, got nan"),
    ("learning_rate", -1, "a finite number above 0, got -1"),
    ("seed", "abc", "an integer of at least 0, got 'abc'"),
    ("device", "gpu", "a device of this machine (cpu"),
    ("device", "cuda:70", "a device of this machine (cpu"),
    ("num_workers", -1, "an integer of at least 0, got -1"),
    ("amp", "maybe", "True or False, got 'maybe'"),
    ("resume", "maybe", "one of 'auto', 'never', got 'maybe'"),
    ("resume", "nevr", "Did you mean 'never'?"),
    ("val_interval", 0, "an integer of at least 1, got 0"),
    ("background_ratio", 2, "a number between 0 and 1, got 2"),
    ("samples_per_epoch", 0, "an integer of at least 1, or None, got 0"),
    ("sites", 5, "names such as \"['BMC']\", or None for all, got 5"),
    ("folds", 1, "an integer of at least 2, or None, got 1"),
    ("folds", "null", "Write '$None' for None under python -m monai.bundle."),
    ("lambda_gram", "big", "a finite number of at least 0, got 'big'"),
    ("trust_teacher", "perhaps", "True or False, got 'perhaps'"),
    ("dataset_dir", 5, "a path, got 5"),
]


def own_config() -> ConfigParser:
    return ConfigParser(json.loads((PARTS / "train.json").read_text()), globals=False)


@pytest.mark.fault(
    "Wrong input",
    "wrong kinds and values of overrides",
    injected="`--epochs two`, `--batch_size 0`, `--spatial_size 64`, `--device cuda:70` and 20 more",
    outcome="exit code 2, one line with what was expected",
)
@pytest.mark.parametrize(("name", "value", "message"), WRONG)
def test_a_value_of_another_kind_or_out_of_range(name, value, message):
    with pytest.raises(InputError, match=re.escape(message)):
        check_settings(**{name: value})
    parser = own_config()
    if name in parser:
        with pytest.raises(InputError, match=re.escape(message)):
            check_values(parser, {name: value}, PARTS)


def test_values_of_ordinary_runs_are_taken():
    values = {"epochs": 1, "folds": None, "sites": ["BMC"], "amp": False, "device": torch.device("cpu"), "seed": 0}
    check_settings(**values, cache_dir=None, output_dir=Path("out"), spatial_size=(64, 64), learning_rate=1e-4)
    check_values(own_config(), {"epochs": "$1 + 1", "device": "cpu", "train#trainer#max_epochs": 3}, PARTS)


def test_a_reference_leads_to_the_kind_of_what_it_names():
    with pytest.raises(InputError, match="epochs must be an integer of at least 1, got 'two'"):
        check_values(own_config(), {"train#trainer#max_epochs": "two"}, PARTS)


def test_a_mistyped_argument_of_a_component_is_told():
    message = r"unknown argument 'max_epoch' of train#trainer\. Did you mean 'max_epochs'"
    with pytest.raises(UnknownNameError, match=message):
        check_values(own_config(), {"train#trainer#max_epoch": 3}, PARTS)
    # an argument that is left at its default may be added
    check_values(own_config(), {"train#trainer#epoch_length": 3, "train#sampler#shuffle": True}, PARTS)


def test_of_another_bundle_only_the_type_is_checked():
    foreign = ConfigParser({"epochs": 5, "amp": True, "spatial_size": 64, "device": "cpu", "lr": 0.1}, globals=False)
    check_values(foreign, {"epochs": 0, "spatial_size": [8, 8, 8], "device": "gpu", "lr": -1}, PARTS)
    for override, message in (
        ({"epochs": "two"}, "epochs must be a number, as 5 in the config, got 'two'"),
        ({"lr": float("nan")}, "lr must be a number, as 0.1 in the config, got nan"),
        ({"amp": "maybe"}, "amp must be True or False, as True in the config, got 'maybe'"),
    ):
        with pytest.raises(InputError, match=re.escape(message)):
            check_values(foreign, override, PARTS)


def test_null_means_none():
    assert with_none({"folds": "null", "sites": None, "name": "nullable"}) == {
        "folds": None,
        "sites": None,
        "name": "nullable",
    }


@pytest.mark.parametrize("config", ["train", "multi_gpu_train", "inference"])
def test_the_configs_check_every_value_that_has_a_kind_before_anything_else(config):
    content = json.loads((PARTS / f"{config}.json").read_text())
    first = content["run" if config == "inference" else "initialize"][0]
    assert first.startswith("$akd_monai.bundle.check_settings(")
    checked = set(re.findall(r"(\w+)=@\1", first))
    base = json.loads((PARTS / "train.json").read_text()) if config == "multi_gpu_train" else content
    kinds = {name for name, _, _ in WRONG} | {"output_dir", "cache_dir", "iterations_per_checkpoint", "fold"}
    unchecked = {"device"} if config == "multi_gpu_train" else set()
    assert checked >= (kinds & base.keys()) - unchecked
