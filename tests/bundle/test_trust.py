# SPDX-License-Identifier: Apache-2.0
"""Without trust no code of a teacher's config runs and nothing of it is imported."""

from __future__ import annotations

import sys

import pytest
import torch
from monai.bundle import ConfigParser
from torch import nn
from trust_tools import PLAIN, filled, resolve_by_monai

from akd_monai.bundle import build_network, find_code
from akd_monai.errors import InputError

RUNS = "which would run as code"
NO_CLASS = "which is no network class on the list"
LOADS = "which would load or download something"
CHANGES = "which changes how"
NOWHERE = "which does not exist"
CYCLE = "refer to itself"
MACRO = "a macro or relative reference that cannot be resolved"
YAML = "is no valid YAML"


def net(**arguments):
    return {**PLAIN, **arguments}


# name: (network_def, further ids of the config, what the refusal says); CODE and TARGET stand for the canary's own
ATTACKS = {
    # expressions where they stand
    "network_def": ("CODE", {}, RUNS),
    "argument": (net(dropout="CODE"), {}, RUNS),
    "argument in a list": (net(features=[4, 4, 4, 4, 4, "CODE"]), {}, RUNS),
    "argument in a dict in a list": (net(act=["relu", {"inplace": "CODE"}]), {}, RUNS),
    "_requires_": (net(_requires_="CODE"), {}, "_requires_"),
    "_requires_ in a list": (net(_requires_=["@evil"]), {"evil": "CODE"}, "_requires_"),
    "_disabled_": (net(_disabled_="CODE"), {}, RUNS),
    "_disabled_ by a reference": (net(_disabled_="@evil"), {"evil": "CODE"}, RUNS),
    "_desc_": (net(_desc_="CODE"), {}, RUNS),
    "_desc_ by a reference": (net(_desc_="@evil"), {"evil": "CODE"}, RUNS),
    # references
    "reference": (net(dropout="@evil"), {"evil": "CODE"}, RUNS),
    "chain of references": (net(dropout="@a"), {"a": "@b", "b": "@c", "c": "CODE"}, RUNS),
    "reference into a dict": (net(dropout="@a::b"), {"a": {"b": "CODE"}}, RUNS),
    "reference by the old sign": (net(dropout="@a#b"), {"a": {"b": "CODE"}}, RUNS),
    "reference to a target": (net(dropout="@evil"), {"evil": "TARGET"}, NO_CLASS),
    "reference to metadata": (net(dropout="@_meta_::evil"), {}, RUNS),
    "reference to itself": (net(dropout="@network_def"), {}, CYCLE),
    "network_def is a reference": ("@evil", {"evil": "TARGET"}, NO_CLASS),
    # relative references
    "relative reference": (net(dropout="@##evil"), {"evil": "CODE"}, RUNS),
    "relative reference by the new sign": (net(dropout="@::::evil"), {"evil": "CODE"}, RUNS),
    "relative reference in a list": (net(features=[4, 4, 4, 4, 4, "@::::::evil"]), {"evil": "CODE"}, RUNS),
    "relative reference to nowhere": (net(dropout="@######evil"), {"evil": "CODE"}, MACRO),
    # macros
    "macro": (net(dropout="%evil"), {"evil": "CODE"}, RUNS),
    "macro of a target": ("%evil", {"evil": "TARGET"}, NO_CLASS),
    "relative macro": (net(dropout="%##evil"), {"evil": "CODE"}, RUNS),
    "macro of a macro": (net(dropout="%a"), {"a": "%b", "b": "CODE"}, RUNS),
    "macro of metadata": (net(dropout="%_meta_::evil"), {}, RUNS),
    "macro across files": (net(dropout="%other.json::evil"), {}, RUNS),
    "macro across files by the old sign": (net(dropout="%other.json#evil"), {}, RUNS),
    "macro across YAML files": (net(dropout="%other.yaml::evil"), {}, RUNS),
    "macro of a target in a file": ("%other.json::target", {}, NO_CLASS),
    "macro of a network in a file": ("%other.json::net", {}, RUNS),
    "macro of a macro in a file": (net(dropout="%other.json::again"), {}, RUNS),
    "macro to nowhere": (net(dropout="%nowhere"), {}, MACRO),
    "macro in _target_": ({"_target_": "%evil"}, {"evil": "builtins.open"}, NO_CLASS),
    # targets
    "function of Python": ({"_target_": "os.system", "command": "touch canary"}, {}, NO_CLASS),
    "builtin": ("TARGET", {}, NO_CLASS),
    "builtin by its short name": ({"_target_": "exec", "source": "open('canary', 'w')"}, {}, NO_CLASS),
    "module of the working folder": ({"_target_": "evilnet.Net"}, {}, NO_CLASS),
    "module of the working folder, alone": ({"_target_": "evilnet"}, {}, NO_CLASS),
    "the bundle's scripts": ({"_target_": "evil.scripts.net.Net"}, {}, NO_CLASS),
    "a name that is none": ({"_target_": "evil.net.anything"}, {}, NO_CLASS),
    "this": ({"_target_": "this.Net"}, {}, NO_CLASS),
    "antigravity": ({"_target_": "antigravity"}, {}, NO_CLASS),
    "target of an argument": (net(act={"_target_": "evilnet.anything"}), {}, NO_CLASS),
    "target by a reference": ({"_target_": "@evil"}, {"evil": "os.system"}, NO_CLASS),
    "target by an expression": ({"_target_": "CODE"}, {}, NO_CLASS),
    "target that is a dict": ({"_target_": {"_target_": "evilnet.Net"}}, {}, NO_CLASS),
    "target with a space": ({"_target_": "torch.nn.Conv2d "}, {}, NO_CLASS),
    "save_state": ({"_target_": "monai.networks.utils.save_state", "src": {}, "path": "canary"}, {}, NO_CLASS),
    "save_state by its short name": ({"_target_": "save_state", "src": {}, "path": "canary"}, {}, NO_CLASS),
    "convert_to_torchscript": (
        {"_target_": "convert_to_torchscript", "model": PLAIN, "filename_or_obj": "canary"}, {}, NO_CLASS,
    ),
    "torch.load by way of torch.nn": ({"_target_": "torch.nn.modules.module.torch.load", "f": "x"}, {}, NO_CLASS),
    "torch.hub.load by way of MONAI": ({"_target_": "monai.networks.nets.densenet.torch.hub.load"}, {}, NO_CLASS),
    "import of a module by name": (
        {"_target_": "torch.nn.attention._fa4._fa4_import_module", "module_path": "evilnet"}, {}, NO_CLASS,
    ),
    "hook for every module": (
        {
            "_target_": "torch.nn.modules.module.register_module_forward_hook",
            "hook": {"_target_": "evilnet.anything", "_mode_": "callable"},
        },
        {},
        NO_CLASS,
    ),
    "class that is no network": ({"_target_": "torch.nn.Parameter"}, {}, NO_CLASS),
    "class that loads a network": ({"_target_": "PerceptualLoss", "spatial_dims": 2}, {}, NO_CLASS),
    "class that downloads by default": ({"_target_": "EfficientNetBN", "model_name": "efficientnet-b0"}, {}, NO_CLASS),
    # how a class is run
    "debug mode": (net(_mode_="debug"), {}, CHANGES),
    "callable mode": (net(_mode_="callable"), {}, CHANGES),
    "mode of a part": (net(act={"_target_": "torch.nn.ReLU", "_mode_": "debug"}), {}, CHANGES),
    "_debug_": (net(_debug_=True), {}, CHANGES),
    "pretrained": ({"_target_": "DenseNet121", "spatial_dims": 2, "in_channels": 3, "out_channels": 2, "pretrained": True},
                   {}, LOADS),
    "pretrained by a reference": (
        {"_target_": "SENet154", "spatial_dims": 2, "in_channels": 3, "num_classes": 2, "pretrained": "@yes"},
        {"yes": 1},
        LOADS,
    ),
    "address of weights": ({"_target_": "HoVerNet", "pretrained_url": "http://localhost/x"}, {}, LOADS),
    "disabled target": ({"_target_": "evilnet.Net", "_disabled_": True}, {}, NO_CLASS),
}  # fmt: skip


@pytest.mark.fault(
    "Bundles that are not trusted",
    "a teacher's config tries to run code or import a module",
    injected="67 attacks as JSON and YAML: expressions, macros, references, targets, modes, downloads",
    outcome="refused in one line, the canary stays silent",
)
@pytest.mark.parametrize("as_yaml", [False, True], ids=["json", "yaml"])
@pytest.mark.parametrize("name", ATTACKS)
def test_attack_is_refused_and_nothing_runs(canary, name, as_yaml):
    network, ids, message = ATTACKS[name]
    canary.write(filled({**ids, "network_def": network}, canary), as_yaml=as_yaml)
    refusal = canary.attack()
    canary.assert_silent()
    assert message in refusal
    assert "\n" not in refusal
    if message in (RUNS, NO_CLASS, LOADS, CHANGES):
        assert f"'python -m akd_monai check {canary.bundle}' showed what it would run" in refusal
        assert "--trust_teacher" in refusal
        # what is refused is named by check too
        assert [line for line in find_code(canary.bundle) if line.startswith("network: ")]


@pytest.mark.parametrize("network", ["%evil", "@evil", "CODE", "TARGET"], ids=str)
def test_the_canary_sings_without_the_gate(canary, network):
    canary.write(filled({"network_def": network, "evil": "CODE"}, canary))
    resolve_by_monai(canary)
    assert canary.file.exists()


@pytest.mark.parametrize("target", ["evilnet.Net", "evil.scripts.net.Net"])
def test_modules_sing_without_the_gate(canary, target):
    canary.write({"network_def": {"_target_": target}})
    resolve_by_monai(canary)
    assert canary.file.exists()


YAML_CODE = {
    "!!python/object/apply": "network_def: !!python/object/apply:os.system ['touch canary']",
    "!!python/name": "network_def: {_target_: !!python/name:os.system }",
    "!!python/module": "network_def: !!python/module:evilnet",
    "!!python/object/new": "network_def: !!python/object/new:evilnet.Net []",
}


@pytest.mark.fault(
    "Bundles that are not trusted",
    "`!!python` in YAML",
    injected="tags that make objects",
    outcome="refused in one line",
)
@pytest.mark.parametrize("name", YAML_CODE)
def test_code_in_yaml_is_one_line(canary, name):
    canary.write(YAML_CODE[name], as_yaml=True)
    refusal = canary.attack()
    canary.assert_silent()
    assert YAML in refusal
    assert "\n" not in refusal


def test_code_in_yaml_that_a_macro_brings_is_one_line(canary):
    (canary.root / "third.yaml").write_text(YAML_CODE["!!python/object/apply"])
    canary.write({"network_def": "%third.yaml::network_def"})
    assert MACRO in canary.attack()
    canary.assert_silent()


@pytest.mark.parametrize(
    ("value", "message"), [("2020-01-01", "type date"), ("!!binary aGk=", "type bytes"), ("!!set {a}", "type set")]
)
def test_values_that_json_has_not_are_refused(canary, value, message):
    canary.write(f"network_def: {{_target_: BasicUNet, features: {value}}}", as_yaml=True)
    assert message in canary.attack()


@pytest.mark.fault(
    "Bundles that are not trusted",
    "a module of an optional package's name in the working folder",
    injected="`apex` beside the bundle",
    outcome="not imported",
)
def test_an_optional_package_is_not_taken_from_the_working_folder(canary, monkeypatch):
    # MONAI looks for NVIDIA's apex when this layer is asked for, once
    monkeypatch.setattr("monai.networks.utils._has_nvfuser", None)
    canary.write({"network_def": net(norm="instance_nvfuser", spatial_dims=3)})
    canary.attack()
    canary.assert_silent()
    assert str(canary.root) in sys.path


def test_import_statements_of_the_config_do_not_run(canary):
    canary.write({"imports": ["$import evilnet"], "network_def": PLAIN, "initialize": [canary.code]})
    assert canary.attack() == ""
    canary.assert_silent()


@pytest.mark.fault(
    "Bundles that are not trusted",
    "a target that would leave a hook in the process",
    injected="a hook for every module",
    outcome="refused, the student's outputs are unchanged",
)
def test_no_hook_stays_in_the_process(canary):
    layer = nn.Conv2d(1, 1, 1)
    before = layer(torch.ones(1, 1, 2, 2))
    network, ids, _ = ATTACKS["hook for every module"]
    canary.write({**ids, "network_def": network})
    canary.attack()
    assert torch.equal(layer(torch.ones(1, 1, 2, 2)), before)
    assert not torch.nn.modules.module._global_forward_hooks


@pytest.mark.fault(
    "Bundles that are not trusted",
    "a config that unfolds to more than memory holds",
    injected="macros that double 29 times",
    outcome="refused",
)
def test_a_config_that_stands_for_too_much_is_refused(canary):
    canary.write(
        "a0: &a0 [1, 1]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 30)), as_yaml=True
    )
    with pytest.raises(InputError, match="has no network_def"):
        build_network(canary.bundle)
    macros = {f"a{n}": [f"%a{n - 1}", f"%a{n - 1}"] for n in range(1, 30)}
    canary.write({"a0": [1, 1], **macros, "network_def": net(features="@a29")})
    assert "stands for more than 1,000,000 values" in canary.attack()


@pytest.mark.fault(
    "Bundles that are not trusted",
    "a config nested very deeply",
    injected="900 levels",
    outcome="one line",
)
def test_a_deep_config_is_one_line(canary):
    canary.write('{"network_def": ' + "[" * 900 + "]" * 900 + "}")
    assert "nested too deeply" in canary.attack()


def test_trust_must_be_said_as_such(canary):
    canary.write({"network_def": canary.target})
    with pytest.raises(InputError, match="trust_bundle must be one of True, False, got 'no'"):
        build_network(canary.bundle, trust_bundle="no")
    canary.assert_silent()


def test_trust_runs_it(canary):
    canary.write({"network_def": {"_target_": "evilnet.Net"}})
    assert type(build_network(canary.bundle, trust_bundle=True)).__name__ == "Net"
    assert canary.file.exists()


@pytest.mark.fault(
    "Bundles that are not trusted",
    "a config is exchanged between check and construction",
    injected="the file changes after it was read",
    outcome="what was checked is built",
)
def test_what_was_checked_is_what_is_built(canary, monkeypatch):
    canary.write({"network_def": net(features="@widths"), "widths": [4] * 6})
    resolve = ConfigParser.resolve_macro_and_relative_ids

    def once(parser):
        resolve(parser)
        # a second reading of the file would see this
        canary.write({"network_def": canary.target})

    monkeypatch.setattr(ConfigParser, "resolve_macro_and_relative_ids", once)
    assert type(build_network(canary.bundle)).__name__ == "BasicUNet"
    canary.assert_silent()


# legal teachers: network_def, further ids
