# SPDX-License-Identifier: Apache-2.0
"""What an inference config says is read, and refused by name where only PyTorch can do it."""

from __future__ import annotations

import json

import pytest
from trust_tools import Canary

from akd_monai.bundle import write_bundle
from akd_monai.deploy._from_bundle import recipe_of_bundle
from akd_monai.deploy._recipe import recipe_of_metadata
from akd_monai.deploy._steps import written_step
from akd_monai.errors import InputError

PARTS = ("enet", "espnet", "erfnet", "deeplabv3plus", "unetplusplus")


@pytest.fixture
def bundle(tmp_path):
    return write_bundle("enet", tmp_path / "bundle")


def change(bundle, **content):
    path = bundle / "configs" / "inference.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **content}))


@pytest.mark.parametrize("part", PARTS)
def test_recipes_of_the_projects_bundles(tmp_path, part):
    recipe = recipe_of_bundle(write_bundle(part, tmp_path / "bundle"))
    assert recipe.input_shape == (1, 384, 384)
    assert recipe.labels == {1: "prostate"}
    assert [written_step(step) for step in recipe.preprocessing[:2]] == [
        {"name": "Orientation", "axcodes": "RAS"},
        {"name": "Resize", "spatial_size": (384, 384, -1)},
    ]
    names = [type(step).__name__ for step in (*recipe.preprocessing[2:], *recipe.postprocessing)]
    assert names == ["ScaleIntensityRangePercentiles", "NormalizeIntensity", "Activations", "Invert", "AsDiscrete"]
    # what is written into a file is what is read from it
    assert recipe_of_metadata(recipe.as_metadata(), "a file") == recipe


def test_a_config_in_the_style_of_the_model_zoo(bundle):
    change(
        bundle,
        preprocessing={
            "_target_": "Compose",
            "transforms": [
                {"_target_": "LoadImaged", "keys": ["image", "label"]},
                {"_target_": "EnsureChannelFirstd", "keys": "image"},
                {"_target_": "monai.transforms.Spacingd", "keys": ["image", "label"], "pixdim": [1.5, 1.5, 2.0],
                 "mode": ["bilinear", "nearest"]},
                {"_target_": "ScaleIntensityRanged", "keys": "image", "a_min": -57, "a_max": 164, "b_min": 0, "b_max": 1,
                 "clip": True},
                {"_target_": "Flipd", "keys": "image", "_disabled_": True},
                {"_target_": "Flipd", "keys": "label"},
                {"_target_": "EnsureTyped", "keys": "image", "device": "@device"},
            ],
        },
        inferer={"_target_": "SlidingWindowInferer", "roi_size": [96, 96, 96], "sw_batch_size": 4, "overlap": 0.5},
    )  # fmt: skip
    recipe = recipe_of_bundle(bundle)
    assert [type(step).__name__ for step in recipe.preprocessing] == ["Spacing", "ScaleIntensityRange"]
    assert recipe.input_shape == (1, 96, 96, 96)


def transforms(*more):
    return {"_target_": "Compose", "transforms": [{"_target_": "LoadImaged", "keys": "image"}, *more]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"preprocessing": transforms({"_target_": "CropForegroundd", "keys": "image"})}, "has CropForeground, which"),
        ({"preprocessing": transforms({"_target_": "my_code.Resized", "keys": "image"})}, "has my_code.Resized, which"),
        ({"preprocessing": transforms("$my_code.transform()")}, "an expression in place of a transform in 'preprocessing'"),
        (
            {"preprocessing": transforms({"_target_": "Spacingd", "keys": "image", "pixdim": "$my_code.size()"})},
            "has Spacing with an expression as pixdim",
        ),
        (
            {"preprocessing": transforms({"_target_": "LoadImaged", "keys": "image", "reader": "PILReader"})},
            "has LoadImage with reader = 'PILReader'",
        ),
        ({"inferer": {"_target_": "SimpleInferer"}}, "has SimpleInferer, which cannot"),
        ({"inferer": "$my_code.inferer()"}, "has no inferer that can be read without running it"),
        ({"postprocessing": {"_target_": "Compose", "transforms": []}}, "exactly one Invert and one AsDiscrete"),
        (
            {"postprocessing": [{"_target_": "KeepLargestConnectedComponentd", "keys": "pred"}]},
            "has KeepLargestConnectedComponent, which cannot",
        ),
        ({"preprocessing": None}, "no list of transforms under 'preprocessing'"),
    ],
)  # fmt: skip
def test_what_is_not_covered_is_refused_by_name(bundle, content, message):
    change(bundle, **content)
    with pytest.raises(InputError, match=message) as caught:
        recipe_of_bundle(bundle)
    assert caught.value.code == "not-exportable"
    assert "inference.json of bundle" in str(caught.value)


def test_interpolated_class_numbers_are_refused(bundle):
    path = bundle / "configs" / "inference.json"
    steps = json.loads(path.read_text())["postprocessing"]["transforms"]
    check, softmax, invert, decide, save = steps
    change(bundle, postprocessing=[check, softmax, decide, invert, save])
    with pytest.raises(InputError, match="interpolates class numbers"):
        recipe_of_bundle(bundle)
    change(bundle, postprocessing=[check, softmax, decide, {**invert, "nearest_interp": True}, save])
    assert recipe_of_bundle(bundle).decision.argmax


def test_nothing_of_a_hostile_config_runs(tmp_path):
    canary = Canary(tmp_path)
    canary.write(
        {
            "preprocessing": [canary.code, canary.target],
            "inferer": canary.target,
            "postprocessing": [{"_target_": "AsDiscreted", "keys": "pred", "argmax": canary.code}],
        }
    )
    shape = {"num_channels": 1, "spatial_shape": [8, 8]}
    canary.write_metadata(network_data_format={"inputs": {"image": shape}, "outputs": {"pred": shape}})
    with pytest.raises(InputError, match="expression in place of a transform"):
        recipe_of_bundle(canary.bundle)
    canary.assert_silent()


def test_the_modality_of_the_bundle_is_recorded(tmp_path):
    recipe = recipe_of_bundle(write_bundle("enet", tmp_path / "bundle"))
    assert recipe.as_metadata()["akd_monai.modality"] == '"MR"'
