# SPDX-License-Identifier: Apache-2.0
"""The committed bundles are what their parts say, and what the bundles share is alike in all of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from bundle_tools import small_bundle

from akd_monai.bundle import assemble_bundles, change_bundle, find_problems
from akd_monai.bundle._parts import bundle_files, read_part
from akd_monai.bundle._transforms import image_transforms
from akd_monai.errors import InputError, UnknownNameError

BUNDLES = Path(__file__).parents[2] / "bundles"
NAMES = sorted(path.name for path in BUNDLES.iterdir())


def config(bundle: Path, name: str) -> dict:
    return json.loads((bundle / "configs" / name).read_text(encoding="utf-8"))


def test_committed_bundles_agree_with_their_parts():
    assert len(NAMES) == 5
    assert sorted(assemble_bundles(bundles_dir=BUNDLES, check=True)) == [BUNDLES / name for name in NAMES]


@pytest.mark.parametrize("name", NAMES)
def test_every_bundle_is_complete_and_consistent(name):
    assert find_problems(BUNDLES / name) == []


@pytest.mark.parametrize("name", NAMES)
def test_images_are_prepared_alike_in_training_validation_and_inference(name):
    train, inference = config(BUNDLES / name, "train.json"), config(BUNDLES / name, "inference.json")
    wanted = [t["_target_"] for t in inference["preprocessing"]["transforms"]]
    assert wanted[-2:] == ["ScaleIntensityRangePercentilesd", "NormalizeIntensityd"]
    for chain in (train["train"]["deterministic_transforms"], train["validate"]["preprocessing"]):
        assert image_transforms(chain) == image_transforms(inference["preprocessing"])


def test_an_edited_file_is_named(tmp_path):
    assemble_bundles(["enet"], bundles_dir=tmp_path)
    path = tmp_path / "prostate_mri_enet" / "configs" / "inference.json"
    path.write_text(path.read_text().replace("trilinear", "nearest"))
    with pytest.raises(
        InputError, match=r"1 files differ from their parts: .*inference.json; change akd_monai/bundle/parts"
    ):
        assemble_bundles(["enet"], bundles_dir=tmp_path, check=True)


def test_an_unknown_part_lists_near_matches(tmp_path):
    with pytest.raises(UnknownNameError, match=r"unknown part 'enett'. Did you mean 'enet'"):
        assemble_bundles(["enett"], bundles_dir=tmp_path)


def test_parts_give_each_bundle_its_own_network():
    networks = {json.loads(bundle_files(read_part(p))["configs/train.json"])["network_def"]["_target_"] for p in
                ("enet", "espnet", "erfnet", "unetplusplus", "deeplabv3plus")}  # fmt: skip
    assert len(networks) == 5


def test_a_change_reaches_every_config(tmp_path):
    root = small_bundle("enet", tmp_path / "student")
    change_bundle(root, {"network_def#dropout": 0.5})
    for name in ("train.json", "inference.json"):
        assert config(root, name)["network_def"]["dropout"] == 0.5


def test_a_change_of_nothing_writes_nothing(tmp_path):
    root = small_bundle("enet", tmp_path / "student")
    before = config(root, "train.json")
    with pytest.raises(UnknownNameError, match=r"unknown config id 'epoch' in the configs of .* Did you mean 'epochs'"):
        change_bundle(root, {"seed": 7, "epoch": 3})
    assert config(root, "train.json") == before
