# SPDX-License-Identifier: Apache-2.0
"""Teachers that need no trust: they load, with the weights that MONAI draws."""

from __future__ import annotations

import pytest
import torch
from monai.bundle import ConfigParser
from trust_tools import PLAIN

from akd_monai.bundle import build_network, find_code, load_network, write_bundle


def net(**arguments):
    return {**PLAIN, **arguments}


TEACHERS = {
    "BasicUNet": (PLAIN, {}),
    "UNet": ({"_target_": "UNet", "spatial_dims": 2, "in_channels": 1, "out_channels": 2, "channels": [4, 8],
              "strides": [2]}, {}),
    "SegResNet": ({"_target_": "SegResNet", "spatial_dims": 2, "init_filters": 8, "in_channels": 1, "out_channels": 2}, {}),
    "SwinUNETR": ({"_target_": "SwinUNETR", "in_channels": 1, "out_channels": 2, "feature_size": 12, "depths": [1, 1, 1, 1],
                   "num_heads": [1, 1, 1, 1], "spatial_dims": 2}, {}),
    "DynUNet": ({"_target_": "DynUNet", "spatial_dims": 2, "in_channels": 1, "out_channels": 2, "kernel_size": [3, 3, 3],
                 "strides": [1, 2, 2], "upsample_kernel_size": [2, 2], "filters": [4, 8, 8]}, {}),
    "full name": ({**PLAIN, "_target_": "monai.networks.nets.BasicUNet"}, {}),
    "name of the module": ({**PLAIN, "_target_": "monai.networks.nets.basic_unet.BasicUNet"}, {}),
    "plain values by references": (net(features="@widths", out_channels="@head::classes"),
                                   {"widths": [4] * 6, "head": {"classes": 2}}),
    "reference to metadata": (net(dropout="@_meta_::rate"), {}),
    "relative reference": (net(out_channels="@##classes", in_channels="@::::one"), {"classes": 2, "one": 1}),
    "macro": (net(features="%widths"), {"widths": [4] * 6}),
    "macro across files": (net(features="%plain.json::widths"), {}),
    "macro across YAML files": (net(features="%plain.yaml::widths"), {}),
    "network_def is a reference": ("@net", {"net": PLAIN}),
    "nested blocks": (
        {"_target_": "torch.nn.ModuleList", "modules": [
            {"_target_": "Convolution", "spatial_dims": 2, "in_channels": 1, "out_channels": 4},
            {"_target_": "SkipConnection", "submodule": {"_target_": "torch.nn.Conv2d", "in_channels": 4, "out_channels": 4,
                                                         "kernel_size": 1}},
            "@shared", "@shared",
        ]},
        {"shared": {"_target_": "torch.nn.Conv2d", "in_channels": 8, "out_channels": 2, "kernel_size": 1}},
    ),
    "layers by name and arguments": (net(act=["leakyrelu", {"negative_slope": 0.2}], norm=["batch", {"affine": True}]), {}),
    "pretrained: false": ({"_target_": "DenseNet121", "spatial_dims": 2, "in_channels": 1, "out_channels": 2,
                           "block_config": [1, 1], "pretrained": False}, {}),
    "described and enabled": (net(_desc_="a small teacher, 50 % of the size @ work", _disabled_=False), {}),
    "disabled argument": (net(act={"_target_": "torch.nn.ReLU", "_disabled_": True}), {}),
    "code elsewhere": (PLAIN, {"imports": ["$import evilnet"], "run": ["$open('canary', 'w')"]}),
}  # fmt: skip


@pytest.mark.parametrize("as_yaml", [False, True], ids=["json", "yaml"])
@pytest.mark.parametrize("name", TEACHERS)
def test_legal_teacher_loads_with_the_weights_that_monai_draws(canary, name, as_yaml):
    network, ids = TEACHERS[name]
    for suffix in ("json", "yaml"):
        (canary.root / f"plain.{suffix}").write_text('{"widths": [4, 4, 4, 4, 4, 4]}')
    canary.write_metadata(rate=0.1, task="a network, @ 50 % of the size")
    canary.write({**ids, "network_def": network}, as_yaml=as_yaml)
    torch.manual_seed(3)
    ours = build_network(canary.bundle)
    canary.assert_silent()
    parser = ConfigParser({**{k: v for k, v in ids.items() if k not in ("imports", "run")}, "network_def": network})
    parser.read_meta({"rate": 0.1})
    torch.manual_seed(3)
    theirs = parser.get_parsed_content("network_def")
    assert type(ours) is type(theirs)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True))
    torch.save(ours.state_dict(), canary.bundle / "models" / "model.pt")
    assert not load_network(canary.bundle).training


def test_metadata_may_hold_any_text(canary):
    canary.write_metadata(task="%no such macro", authors="$no code", links=["@::::no", "%other.json::evil", "@evil"])
    canary.write({"network_def": PLAIN})
    assert canary.attack() == ""
    canary.assert_silent()


@pytest.mark.parametrize("part", ["deeplabv3plus", "enet", "erfnet", "espnet", "unetplusplus"])
def test_own_bundles_are_legal_teachers_without_findings(tmp_path, part):
    root = write_bundle(part, tmp_path / part)
    torch.manual_seed(3)
    ours = build_network(root).state_dict()
    torch.manual_seed(3)
    trusted = build_network(root, trust_bundle=True).state_dict()
    assert all(torch.equal(ours[key], value) for key, value in trusted.items())
    assert {line.split(":")[0] for line in find_code(root)} == {"reaches out", "expressions"}
