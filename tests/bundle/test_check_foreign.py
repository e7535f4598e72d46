# SPDX-License-Identifier: Apache-2.0
"""``check`` of bundles that are not this project's: other forms of configs, severities, and never a traceback."""

from __future__ import annotations

import copy
import json
import random
from pathlib import Path

import pytest

from akd_monai.__main__ import main
from akd_monai.bundle import build_network, check_bundle, find_code, find_problems
from akd_monai.bundle._problems import by_severity
from akd_monai.errors import InputError

LOAD = {"_target_": "LoadImaged", "keys": ["image", "label"]}
SCALE = {"_target_": "ScaleIntensityd", "keys": "image"}
FLIP = {"_target_": "RandFlipd", "keys": ["image", "label"], "prob": 0.5}
TENSOR = {"type": "image", "format": "", "num_channels": 1, "spatial_shape": [32, 32], "dtype": "float32",
          "value_range": [0, 1]}  # fmt: skip
TRAIN = {
    "imports": ["$import glob"],
    "network_def": {"_target_": "UNet", "spatial_dims": 2, "in_channels": 1, "out_channels": 2, "channels": [4, 8],
                    "strides": [2]},
    "loss": {"_target_": "DiceLoss", "sigmoid": True},
    "base": [LOAD, SCALE],
    "train": {"deterministic_transforms": [LOAD, SCALE], "random": [FLIP],
              "preprocessing": {"_target_": "Compose", "transforms": "$@train#deterministic_transforms + @train#random"}},
    "validate": {"preprocessing": {"_target_": "Compose", "transforms": "%train#deterministic_transforms"}},
    "trainer": {"_target_": "SupervisedTrainer", "max_epochs": 1},
    "training": ["$@trainer.run()"],
}  # fmt: skip
INFERENCE = {
    "network_def": TRAIN["network_def"],
    "base": [LOAD],
    "preprocessing": {"_target_": "Compose", "transforms": "$@base + [@scale]"},
    "scale": SCALE,
}
METADATA = {
    "schema": "s", "version": "1", "changelog": {"1": "first"}, "monai_version": "1", "pytorch_version": "2",
    "numpy_version": "1", "optional_packages_version": {}, "task": "t", "description": "d", "authors": "a",
    "copyright": "c", "network_data_format": {"inputs": {"image": TENSOR}, "outputs": {"pred": TENSOR}},
}  # fmt: skip
CONFIGS = {"train": TRAIN, "inference": INFERENCE, "metadata": METADATA}


def write(root: Path, **changed: object) -> Path:
    (root / "docs").mkdir(parents=True, exist_ok=True)
    (root / "configs").mkdir(exist_ok=True)
    for name in ("LICENSE", "docs/README.md"):
        (root / name).write_text("text")
    for name, content in {**CONFIGS, **changed}.items():
        (root / "configs" / f"{name}.json").write_text(json.dumps(content))
    return root


def severities(root: Path) -> dict[str, str]:
    return {str(problem): problem.severity for problem in find_problems(root)}


def test_a_bundle_in_the_zoos_style_has_one_note(tmp_path):
    root = write(tmp_path)
    assert severities(root) == {
        "metadata.json has no 'required_packages_version', only the older 'optional_packages_version'": "note"
    }
    check_bundle(root)


def test_deterministic_steps_are_compared_behind_macros_and_sums(tmp_path):
    other = {**INFERENCE, "scale": {**SCALE, "minv": -1.0}}
    found = severities(write(tmp_path, inference=other))
    for place in ("train#deterministic_transforms", "validate#preprocessing"):
        assert found[f"{place} of train.json prepares the image in another way than inference.json"] == "warning"


def test_code_among_the_steps_is_not_compared(tmp_path):
    root = write(tmp_path, inference={**INFERENCE, "preprocessing": "$make(@base)"})
    assert not any("prepares" in problem for problem in find_problems(root))


@pytest.mark.parametrize(
    ("field", "value", "phrase"),
    [
        ("changelog", ["1"], "'changelog' must be an object, got list"),
        ("changelog", None, "'changelog' must be an object, got NoneType"),
        ("task", 5, "'task' must be a string, got int"),
        ("network_data_format", None, "'network_data_format' must be an object, got NoneType"),
        ("network_data_format", {"inputs": []}, "'network_data_format#inputs' must be an object that describes"),
        ("version", "2", "version '2' is not in changelog"),
        ("weights_sha256", 5, "'weights_sha256' must be a string, got int"),
    ],
)
def test_odd_metadata_is_a_warning(tmp_path, field, value, phrase):
    found = severities(write(tmp_path, metadata={**METADATA, field: value}))
    assert [severity for problem, severity in found.items() if phrase in problem] == ["warning"]


@pytest.mark.parametrize("value", [0, -1, True, "1", 1.5])
def test_a_number_of_channels_that_is_none(tmp_path, value):
    formats = {"inputs": {"image": {**TENSOR, "num_channels": value}}, "outputs": {"pred": TENSOR}}
    found = severities(write(tmp_path, metadata={**METADATA, "network_data_format": formats}))
    wanted = (
        f"metadata.json: 'network_data_format#inputs#image#num_channels' must be an integer of 1 or more, got {value!r}"
    )
    assert found[wanted] == "warning"


def test_a_constructor_that_passes_arguments_on_is_only_a_warning(tmp_path):
    # torch.nn.functional.interpolate would get the second, nothing takes the first
    steps = [LOAD, SCALE, {"_target_": "RandZoomd", "keys": "image", "antialias": True}]
    train = {**TRAIN, "base": steps, "loss": {"_target_": "DiceLoss", "sigmoit": True}}
    found = severities(write(tmp_path, train=train))
    assert found["train.json: base::2: 'RandZoomd' has no argument 'antialias' of its own"] == "warning"
    assert found["train.json: loss: 'DiceLoss' has no argument 'sigmoit'"] == "error"


def test_an_evaluation_that_is_a_program_of_its_own_is_no_overlay(tmp_path):
    # as an overlay "nowhere" would have no parent in the training config
    program = {**TRAIN, "dataset_dir": ".", "nowhere": {"deep": 1}, "nowhere#deep": 2}
    assert set(severities(write(tmp_path, evaluate=program)).values()) == {"note"}
    del program["dataset_dir"]
    found = severities(write(tmp_path, evaluate=program))
    assert found["evaluate.json: 'nowhere#deep' has no target in the train config"] == "error"


def test_a_config_that_is_a_folder(tmp_path):
    root = write(tmp_path)
    (root / "configs" / "train.json").unlink()
    (root / "configs" / "train.json").mkdir()
    assert severities(root)["configs/train.json is a folder"] == "error"


def test_a_config_that_another_one_of_its_name_hides_is_named(tmp_path):
    root = write(tmp_path)
    (root / "configs" / "train.yaml").write_text("dataset_dir: old\n")
    assert severities(root)["of configs/train.json and train.yaml the first is used; remove what is old"] == "warning"


LOGGING = "[loggers]\nkeys=root\n[handlers]\nkeys=console\n[formatters]\nkeys=\n[logger_root]\nhandlers=console\n"


@pytest.mark.parametrize(
    ("content", "phrase"),
    [
        (LOGGING, "logging.conf names 'console' in [handlers] but has no [handler_console]"),
        ("[loggers]\nkeys=\n[handlers]\nkeys=\n", "logging.conf has no [formatters] with 'keys'"),
        ("keys=root", "logging.conf cannot be read (File contains no section headers"),
    ],
)
def test_a_broken_logging_conf_is_an_error(tmp_path, content, phrase):
    root = write(tmp_path)
    (root / "configs" / "logging.conf").write_text(content)
    assert [severity for problem, severity in severities(root).items() if phrase in problem] == ["error"]


def test_the_command_prints_by_severity_and_fails_for_errors_only(tmp_path, capsys):
    root = write(tmp_path)
    (root / "LICENSE").unlink()
    assert main(["check", str(root)]) in (0, None)
    out = capsys.readouterr().out
    assert f"{root}: warning: LICENSE is missing\n{root}: note: metadata.json has no" in out
    with pytest.raises(InputError, match=r"has 1 problem: LICENSE is missing"):
        check_bundle(root)
    write(tmp_path, train={**TRAIN, "loss": {"_target_": "NoLoss"}})
    with pytest.raises(SystemExit) as stop:
        main(["check", str(root)])
    assert stop.value.code == 2
    streams = capsys.readouterr()
    assert "has 1 error: train.json: loss: 'NoLoss' does not exist" in streams.err
    assert streams.out.index("error:") < streams.out.index("note:")


ODD = [
    None, 0, 1.5, True, "", [], {}, ["a", 1], {"a": 1}, "@", "%", "$", "@a#b", "%a", "%x.json#y", "$@", "@@@", "@##train",
    {"_target_": 5}, {"_target_": "UNet", "keys": 3}, {"_target_": None}, [[]], "@train", 10**30, {"": ""}, {"1": 2},
    {"_target_": "monai"}, {"_target_": "os.."}, {"_target_": ""}, {"_target_": "print"}, {"_target_": "torch.nn"},
]  # fmt: skip
ODD_IDS = ["a#b", "+a", "@x", "train#x#y", "", "_meta_", "#", "::"]


def places(content, place=()):
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for name, value in items:
        yield (*place, name)
        yield from places(value, (*place, name))


def mutated(content: dict, draw: random.Random) -> dict:
    content = copy.deepcopy(content)
    for _ in range(draw.randint(1, 4)):
        *parents, last = draw.choice([*places(content)] or [("x",)])
        parent = content
        for name in parents:
            parent = parent[name]
        parent[last] = copy.deepcopy(draw.choice(ODD))
        if draw.random() < 0.2:
            content[draw.choice(ODD_IDS)] = copy.deepcopy(draw.choice(ODD))
    return content


def test_no_mutation_of_a_bundle_ends_with_a_traceback(tmp_path):
    lines = []
    for seed in range(120):
        draw = random.Random(seed)
        name = draw.choice([*CONFIGS])
        root = write(tmp_path, **{name: mutated(CONFIGS[name], draw)})
        try:
            assert all(problem.severity for problem in by_severity(find_problems(root)))
            find_code(root)
        except InputError as error:
            lines.append(str(error))
    assert len(lines) < 60
    assert not any("\n" in line for line in lines)


@pytest.mark.parametrize("door", [find_problems, build_network])
def test_a_yaml_that_contains_itself_is_one_line(tmp_path, door):
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "metadata.json").write_text('{"version": "0"}')
    for name in ("train", "inference"):
        (tmp_path / "configs" / f"{name}.yaml").write_text("a: &a\n  - *a\nnetwork_def:\n  _target_: UNet\n")
    try:
        said = " ".join(map(str, door(tmp_path)))
    except InputError as error:
        said = str(error)
    assert "has an anchor that contains itself" in said
    # a config that cannot be read runs nothing
    assert find_code(tmp_path) == []
