# SPDX-License-Identifier: Apache-2.0
"""``check_bundle`` names each fault that was planted in a complete bundle."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from bundle_tools import small_bundle
from monai.bundle import ConfigParser

from akd_monai.__main__ import main
from akd_monai.bundle import check_bundle, find_problems
from akd_monai.errors import InputError


@pytest.fixture
def bundle(tmp_path) -> Path:
    return small_bundle("enet", tmp_path / "student")


def edit(bundle: Path, name: str, where: str, value: object) -> None:
    path = bundle / "configs" / name
    content = json.loads(path.read_text(encoding="utf-8"))
    *parents, last = where.split("/")
    place = content
    for step in parents:
        place = place[int(step) if isinstance(place, list) else step]
    if value is None:
        del place[last]
    else:
        place[last] = value
    path.write_text(json.dumps(content), encoding="utf-8")


FAULTS = [
    ("train.json", "loss/_target_", "DiceFocalLos", "train.json: loss: 'DiceFocalLos' does not exist"),
    ("train.json", "loss/gama", 2.0, "has no argument 'gama'"),
    ("train.json", "train/trainer/epochs", 3, "'SupervisedTrainer' has no argument 'epochs'"),
    ("train.json", "optimizer/lr", "@learning_rat", "optimizer::lr refers to 'learning_rat', which does not exist"),
    ("train.json", "network_def/dropout", 0.3, "network_def differs between train.json and inference.json"),
    ("inference.json", "preprocessing/transforms/3/mode", "nearest", "prepares the image in another way"),
    ("inference.json", "inferer/roi_size", "@size", "inferer::roi_size refers to 'size'"),
    ("distill.json", "trainer#train#teacher", "@teacher", "'trainer#train#teacher' has no target in the train config"),
    ("distill.json", "train#trainer#teachers", "@teacher", "has no argument 'teachers'"),
    ("evaluate.json", "validate#handler#0", 1, "'validate#handler#0' has no target in the train config"),
    ("metadata.json", "monai_version", None, "metadata.json has no 'monai_version'"),
    ("metadata.json", "version", "9.9", "version '9.9' is not in changelog"),
]


@pytest.mark.parametrize(("name", "where", "value", "message"), FAULTS, ids=[f"{f[0]}-{f[1]}" for f in FAULTS])
def test_fault_is_named(bundle, name, where, value, message):
    assert find_problems(bundle) == []
    edit(bundle, name, where, value)
    with pytest.raises(InputError, match=re.escape(message)):
        check_bundle(bundle)


CONFIGS = ["train", "inference", "preprocessing", "evaluate", "distill", "multi_gpu_train", "tracking", "metadata"]


@pytest.mark.parametrize("name", CONFIGS)
def test_a_file_that_is_no_json_is_named_with_the_line(bundle, name, capsys):
    (bundle / "configs" / f"{name}.json").write_text('{\n    "a": 1,\n}\n')
    with pytest.raises(SystemExit) as stop:
        main(["check", str(bundle)])
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert f"{name}.json is no valid JSON (" in line
    assert "line 3 column 1" in line


@pytest.mark.parametrize("name", CONFIGS)
def test_a_file_without_a_mapping_is_named(bundle, name):
    (bundle / "configs" / f"{name}.json").write_text("[1, 2]")
    with pytest.raises(InputError, match=f"{name}.json must hold an object at its top level, got list"):
        check_bundle(bundle)


@pytest.mark.parametrize("name", ["train", "inference", "evaluate"])
def test_yaml_is_checked_like_json(bundle, name):
    old = bundle / "configs" / f"{name}.json"
    content = json.loads(old.read_text())
    new = old.with_suffix(".yaml")
    ConfigParser.export_config_file(content, str(new), fmt="yaml")
    old.unlink()
    assert find_problems(bundle) == []
    new.write_text("a: [1\nb: 2\n")
    with pytest.raises(InputError, match=f"{name}.yaml is no valid YAML"):
        check_bundle(bundle)
    new.write_text("- 1\n")
    with pytest.raises(InputError, match=f"{name}.yaml must hold a mapping at its top level, got list"):
        check_bundle(bundle)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("LICENSE", "LICENSE is missing"),
        ("docs/README.md", "docs/README.md is missing"),
        ("configs/inference.json", "configs/inference.json is missing"),
        ("configs/metadata.json", "has no configs/metadata.json"),
    ],
)
def test_a_missing_file_is_named(bundle, name, message):
    (bundle / name).unlink()
    with pytest.raises(InputError, match=message):
        check_bundle(bundle)


def test_missing_preprocessing_and_weights_are_named(bundle):
    edit(bundle, "inference.json", "preprocessing", None)
    edit(bundle, "metadata.json", "weights_sha256", "1" * 64)
    with pytest.raises(InputError, match=r"models/model.pt is missing, .*; inference.json has no 'preprocessing'"):
        check_bundle(bundle)


def test_every_fault_is_in_one_message(bundle):
    edit(bundle, "train.json", "loss/gama", 2.0)
    (bundle / "LICENSE").unlink()
    with pytest.raises(InputError, match=r"has 2 problems: LICENSE is missing; train.json: loss:"):
        check_bundle(bundle)


def test_weights_that_are_not_those_of_the_metadata(bundle):
    (bundle / "models" / "model.pt").write_bytes(b"other")
    edit(bundle, "metadata.json", "weights_sha256", "0" * 64)
    with pytest.raises(
        InputError, match=r"models/model.pt has the hash [0-9a-f]{12}..., metadata.json says 000000000000"
    ):
        check_bundle(bundle)
