# SPDX-License-Identifier: Apache-2.0
"""A bundle written for a user's network is complete, says what the user said, trains, and mistakes are told at once."""

from __future__ import annotations

import json
import re
import sys
import types
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from bundle_tools import small_bundle
from torch import nn

from akd_monai.__main__ import main
from akd_monai.bundle import (
    build_network,
    distillation_layer,
    find_problems,
    input_shape,
    new_bundle,
    read_metadata,
)
from akd_monai.bundle._parts import CONFIGS
from akd_monai.errors import InputError

MINE = "net_of_a_user.Mine"


class Mine(nn.Module):
    """A network as a user writes it, outside of this package."""

    def __init__(self, in_channels: int, out_channels: int, width: int = 4) -> None:
        super().__init__()
        self.low = nn.Conv2d(in_channels, width, 3, stride=2, padding=1)
        self.deep = nn.Sequential(nn.Conv2d(width, width, 4, stride=4), nn.BatchNorm2d(width))
        self.pair = nn.AdaptiveMaxPool2d(1, return_indices=True)
        self.flat = nn.Flatten()
        self.head = nn.ConvTranspose2d(width, out_channels, 8, stride=8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.deep(self.low(x))
        self.pair(x)
        self.flat(x)
        return self.head(x)


class Half(Mine):
    layers = {"low": "low", "high": "deep"}  # noqa: RUF012

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x)[..., ::2, ::2]


class Named(Mine):
    layers = {"low": "low", "high": "deep"}  # noqa: RUF012


class Needy(Mine):
    def __init__(self, in_channels: int, out_channels: int, depth: int) -> None:
        super().__init__(in_channels, out_channels)


@pytest.fixture(autouse=True)
def module(monkeypatch):
    made = types.ModuleType("net_of_a_user")
    for thing in (Mine, Half, Named, Needy):
        setattr(made, thing.__name__, thing)
    made.function = lambda: None
    monkeypatch.setitem(sys.modules, "net_of_a_user", made)


def config(root: Path, name: str) -> dict:
    return json.loads((root / "configs" / name).read_text(encoding="utf-8"))


def test_bundle_is_complete_and_builds_the_network(tmp_path):
    root = new_bundle("mine", MINE, bundles_dir=tmp_path, high="deep", spatial_size=32, network_args={"width": 6})
    assert root == tmp_path / "mine"
    assert "high `deep`, 6 channels at 4 x 4" in (root / "docs" / "README.md").read_text()
    assert find_problems(root) == []
    # a class of one's own is on no list, so one's own bundle is trusted
    with pytest.raises(InputError, match=r"the target 'net_of_a_user.Mine' .*, which is no network class"):
        build_network(root)
    network = build_network(root, trust_bundle=True)
    assert isinstance(network, Mine)
    assert network.low.out_channels == 6
    assert distillation_layer(root, "high") == config(root, "distill.json")["student_layer"] == "deep"
    assert input_shape(read_metadata(root)) == [1, 32, 32]
    assert {p.name for p in (root / "configs").iterdir()} == {*CONFIGS, "logging.conf"}


def test_layers_of_the_class_are_the_default(tmp_path):
    new_bundle("a", "net_of_a_user.Named", bundles_dir=tmp_path, spatial_size=16)
    assert read_metadata(tmp_path / "a")["distillation_layers"] == {"low": "low", "high": "deep"}
    new_bundle("b", "net_of_a_user.Named", bundles_dir=tmp_path, spatial_size=16, high="deep.1")
    assert read_metadata(tmp_path / "b")["distillation_layers"] == {"low": "low", "high": "deep.1"}


def test_teacher_has_no_overlay_and_no_folds(tmp_path):
    new_bundle("t", "net_of_a_user.Named", bundles_dir=tmp_path, spatial_size=16, role="teacher")
    assert not (tmp_path / "t" / "configs" / "distill.json").exists()
    assert config(tmp_path / "t", "train.json")["folds"] is None
    assert find_problems(tmp_path / "t") == []


def test_the_same_options_give_a_bundle_of_the_project(tmp_path):
    target = "akd_monai.networks.nets.ENet"
    new_bundle(
        "new", target, bundles_dir=tmp_path, spatial_size=32, network_args={"dropout": 0.1, "width_multiplier": 1.0}
    )
    old = small_bundle("enet", tmp_path / "old")
    for name in ("inference.json", "evaluate.json", "distill.json", "preprocessing.json", "tracking.json"):
        assert config(tmp_path / "new", name) == config(old, name)
    ours, theirs = (config(tmp_path / b, "train.json") for b in ("new", "old"))
    changed = {"epochs", "batch_size", "samples_per_epoch", "folds"}  # made small for tests
    assert {k: v for k, v in ours.items() if k not in changed} == {k: v for k, v in theirs.items() if k not in changed}


def test_monais_networks_can_be_named_shortly(tmp_path):
    features = {"features": [4, 4, 4, 4, 4, 4]}
    new_bundle("u", "BasicUNet", bundles_dir=tmp_path, spatial_size=32, network_args=features, high="down_3")
    assert config(tmp_path / "u", "train.json")["network_def"]["spatial_dims"] == 2


ZONES = {"class_names": "peripheral zone, transition zone", "in_channels": 2, "spatial_size": [16, 24], "high": "deep"}


def test_several_classes_and_channels_are_said_everywhere(tmp_path):
    new_bundle(
        "zones", MINE, bundles_dir=tmp_path, **ZONES, task="Segmentation of the zones", authors="Us", reference="Ref"
    )
    root = tmp_path / "zones"
    metadata, train, evaluate = read_metadata(root), config(root, "train.json"), config(root, "evaluate.json")
    names = ["background", "peripheral zone", "transition zone"]
    assert input_shape(metadata) == [2, 16, 24]
    assert list(metadata["network_data_format"]["outputs"]["pred"]["channel_def"].values()) == names
    assert metadata["label_classes"] == "one channel, 0 is background, 1 is peripheral zone, 2 is transition zone"
    assert (metadata["authors"], metadata["copyright"]) == ("Us", "Copyright (c) Us")
    for transforms in (train["train"]["deterministic_transforms"], train["validate"]["preprocessing"]["transforms"]):
        assert "AsDiscreted" not in [t["_target_"] for t in transforms]
        assert [t["channel_wise"] for t in transforms if "Intensity" in t["_target_"]] == [True, True]
        assert transforms[0]["reader"] == {"_target_": "akd_monai.data.CheckedReader", "channels": 2}
        assert transforms[2]["_target_"] == "akd_monai.data.CheckVolumesd"
        assert (transforms[2]["channels"], transforms[2]["label_values"]) == (2, [0, 1, 2])
    for transforms in (
        train["validate"]["postprocessing"]["transforms"],
        evaluate["validate#postprocessing#transforms"],
    ):
        assert transforms[-1]["to_onehot"] == 3
    assert evaluate["validate#handlers"][1]["class_names"] == names[1:]
    readme = (root / "docs" / "README.md").read_text()
    for line in (
        "Segmentation of the zones. Network:",
        "- Target: background (0), peripheral zone (1), transition zone (2)",
        "slices of 16 x 24",
        "\nTwo channels.\n",
        "\nThree channels: background, peripheral zone, transition zone.\n",
        "[2] Ref",
    ):
        assert line in readme
    assert "gland" not in readme
    assert "384" not in readme


def write_zones(root: Path) -> None:
    """Four cases of two channels with labels 0, 1, 2."""
    random = np.random.default_rng(0)
    for number in range(4):
        label = np.zeros((16, 24, 3), np.uint8)
        label[4:12, 4:12], label[4:12, 12:20] = 1, 2
        image = np.stack([label == 1, label == 2], -1) * 5 + random.normal(size=(16, 24, 3, 2))
        root.joinpath("SITE").mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(image.astype(np.float32), np.eye(4)), root / "SITE" / f"Case{number:02}.nii.gz")
        nib.save(nib.Nifti1Image(label, np.eye(4)), root / "SITE" / f"Case{number:02}_segmentation.nii.gz")


def test_several_classes_and_channels_are_distilled_and_evaluated(tmp_path, capsys):
    write_zones(tmp_path / "data")
    for name, role in (("teacher", "teacher"), ("student", "student")):
        new_bundle(name, MINE, bundles_dir=tmp_path, **ZONES, role=role)
    torch.save(Mine(2, 3).state_dict(), tmp_path / "teacher" / "models" / "model.pt")
    paths = [f"--teacher={tmp_path}/teacher", f"--student={tmp_path}/student", f"--dataset_dir={tmp_path}/data"]
    options = ["--epochs=2", "--batch_size=2", "--folds=2", "--device=cpu"]
    with pytest.raises(SystemExit):
        main(["distill", *paths, *options])
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert "the target 'net_of_a_user.Mine' in 'network_def', which is no network class on the list" in line
    assert "pass --trust_teacher to distill" in line
    main(["distill", *paths, *options, "--trust_teacher"])
    main(["evaluate", f"--bundle={tmp_path}/student", f"--dataset_dir={tmp_path}/data", "--folds=2", "--device=cpu"])
    table = (tmp_path / "student" / "eval" / "per_case.csv").read_text()
    assert {line.split(",")[2] for line in table.splitlines()[1:]} == {"peripheral zone", "transition zone"}
    capsys.readouterr()


@pytest.mark.parametrize(
    ("network", "options", "message"),
    [
        ("net_of_a_user.Min", {}, "'net_of_a_user.Min' does not exist; give the dotted path of a class"),
        ("net_of_a_user.function", {}, "is no network class (torch.nn.Module)"),
        ("torch.optim.Adam", {}, "is no network class (torch.nn.Module)"),
        ("net_of_a_user.Needy", {}, "cannot be built with {'in_channels': 1, 'out_channels': 2}: "),
        (
            MINE,
            {"network_args": {"widht": 3}},
            "unexpected keyword argument 'widht'; give what it needs with network_args",
        ),
        (MINE, {"network_args": "width=3"}, "network_args must be a dictionary such as \"{'width': 16}\""),
        (MINE, {}, "give high, the layer to distil, by its module path; candidates: deep, deep.0, deep.1."),
        (MINE, {"high": "depe"}, "unknown layer 'depe' in Mine. Did you mean 'deep'"),
        (MINE, {"high": "pair"}, "layer 'pair' gives a tuple, not a tensor"),
        (MINE, {"high": "flat"}, "layer 'flat' for high gives a tensor of shape [1, 64], no map; choose another"),
        ("net_of_a_user.Half", {}, "gives [1, 2, 16, 16] for an image of shape [1, 1, 32, 32], wanted logits of shape"),
        (MINE, {"network_args": {"in_channels": 3}}, "fails on an image of shape [1, 1, 32, 32]: "),
        (MINE, {"network_args": {"out_channels": 5}}, "gives [1, 5, 32, 32] for an image"),
        ("akd_monai.networks.nets.ENet", {"spatial_size": 30}, "multiples of 8, got [30, 30]; pad to [32, 32]"),
        (
            MINE,
            {"out_channels": 1},
            "out_channels includes the background, so it must be an integer of 2 or more, got 1",
        ),
        (MINE, {"out_channels": 3, "class_names": "a"}, "class_names must be 2 different names"),
        (MINE, {"class_names": ["a", "a"]}, "class_names must be 2 different names"),
        (MINE, {"spatial_size": [32]}, "spatial_size must be one side or two, integers above 0, got [32]"),
        (MINE, {"spatial_size": 0}, "spatial_size must be one side or two, integers above 0, got 0"),
        (MINE, {"in_channels": 0}, "in_channels must be an integer of 1 or more, got 0"),
        (MINE, {"role": "pupil"}, "role must be one of 'student', 'teacher', got 'pupil'"),
        (MINE, {"name": "../mine"}, "name must be made of letters, digits, _ and -, got '../mine'"),
    ],
)
def test_mistakes_are_told_and_nothing_is_written(tmp_path, network, options, message):
    options = {"name": "mine", "bundles_dir": tmp_path / "bundles", "spatial_size": 32, **options}
    with pytest.raises(InputError, match=re.escape(message)):
        new_bundle(network=network, **options)
    assert not (tmp_path / "bundles").exists()


def test_a_folder_that_is_there_is_left_alone(tmp_path):
    (tmp_path / "mine").mkdir()
    with pytest.raises(InputError, match="exists already; give another name, or remove it"):
        new_bundle("mine", MINE, bundles_dir=tmp_path, high="deep")


def test_verb(tmp_path, capsys):
    main([
        "new_bundle", "--name=mine", f"--network={MINE}", f"--bundles_dir={tmp_path}", "--high=deep",
        "--spatial_size=[16,16]", "--class_names=a,b", "--network_args={'width': 5}",
    ])  # fmt: skip
    assert "Written: " in capsys.readouterr().out
    main(["check", str(tmp_path / "mine")])
    assert config(tmp_path / "mine", "evaluate.json")["validate#handlers"][1]["class_names"] == ["a", "b"]
