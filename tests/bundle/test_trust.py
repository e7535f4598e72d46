# SPDX-License-Identifier: Apache-2.0
"""Without trust no code of a teacher's config runs and nothing of it is imported: attacks, and teachers that must load."""

from __future__ import annotations

import contextlib
import pdb
import sys

import pytest
import torch
from monai.bundle import ConfigParser
from torch import nn
from trust_tools import PLAIN, Canary, resolve_by_monai

from akd_monai.__main__ import main
from akd_monai.bundle import build_network, find_code, find_problems, load_network, write_bundle
from akd_monai.errors import InputError

RUNS = "which would run as code"
NO_CLASS = "which is no network class on the list"
LOADS = "which would load or download something"
CHANGES = "which changes how"
NOWHERE = "which does not exist"
CYCLE = "refer to itself"
MACRO = "a macro or relative reference that cannot be resolved"
YAML = "is no valid YAML"


@pytest.fixture
def canary(tmp_path, monkeypatch):
    made = Canary(tmp_path)
    monkeypatch.chdir(tmp_path)
    # as python -m does
    monkeypatch.syspath_prepend("")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(pdb, "runcall", lambda *_, **__: made.file.write_text("pdb"))
    monkeypatch.setattr("builtins.breakpoint", lambda *_, **__: made.file.write_text("breakpoint"))

    def offline(*_, **__):
        made.file.write_text("network")
        raise OSError("no network in tests")

    monkeypatch.setattr("socket.create_connection", offline)
    monkeypatch.setattr("urllib.request.urlopen", offline)
    monkeypatch.setattr("torch.hub.load_state_dict_from_url", offline)
    yield made
    for name in list(sys.modules):
        if name.split(".")[0] in ("evil", "evilnet", "apex"):
            del sys.modules[name]


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


def filled(content, canary):
    """Put the canary's own expression and target in their places."""
    if content == "CODE":
        return canary.code
    if content == "TARGET":
        return canary.target
    if isinstance(content, dict):
        return {key: filled(value, canary) for key, value in content.items()}
    return [filled(value, canary) for value in content] if isinstance(content, list) else content


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


LISTED = {
    "imports": (["$import evilnet"], "foreign code: inference.json: imports::0: '$import evilnet'"),
    "handler": (
        {"_target_": "evil.scripts.net.Net"},
        "foreign code: inference.json: handler: target 'evil.scripts.net.Net'",
    ),
    "run": (["$__import__('os').system('ls')"], "reaches out: inference.json: run::0: \"$__import__('os')"),
    "loaded": ({"_target_": "torch.hub.load"}, "reaches out: inference.json: loaded: target 'torch.hub.load'"),
    "mode": ({"_target_": "torch.nn.ReLU", "_mode_": "debug"}, "foreign code: inference.json: mode: _mode_ 'debug'"),
    "sum": ("$1 + 1", "expressions: 1 that compute values, in inference.json (1)"),
    "far": ("%other.json::evil", "reaches out: inference.json: far: "),
    "colour \x1b[31m": ("$import evilnet", "foreign code: inference.json: colour ?[31m: '$import evilnet'"),
}


# each once written so that a search for words in the line as it stands does not find what it does
HIDDEN = [
    """$f'{__import__("os").system("ls")}'""",
    """$"\\'" + open("x").read() + "\\'\"""",
    "$\uff45\uff56\uff41\uff4c('1')",
    "$vars(torch.serialization)['o' + 's']",
    "$torch.ops.load_library('x')",
    "$torch.zeros(1).numpy().tofile('x')",
    "$monai.utils.optional_import('evilnet')",
    "$from torch.hub import load_state_dict_from_url as relu",
    {"_target_": "monai.utils.optional_import", "module": "evilnet"},
    {"_target_": "numpy.fromfile", "file": "x"},
    "$(not python",
]


@pytest.mark.parametrize("hidden", HIDDEN)
def test_what_reaches_out_is_named_however_it_is_written(canary, hidden):
    canary.write({"network_def": PLAIN, "hidden": hidden})
    assert [line for line in find_code(canary.bundle) if line.startswith("reaches out: inference.json: hidden: ")]
    canary.assert_silent()


@pytest.mark.parametrize("import_", ["$import\\\nevilnet", "$\x0cfrom evilnet import a", "$from . import a"])
def test_a_foreign_import_is_named_however_it_is_written(canary, import_):
    canary.write({"network_def": PLAIN, "hidden": import_})
    assert [line for line in find_code(canary.bundle) if line.startswith("foreign code: inference.json: hidden: ")]
    canary.assert_silent()


@pytest.mark.parametrize(
    "harmless", ["$@a#b + @c::d", "$'import os' + \"open\"", "$@network_def.load_state_dict({})", "$import akd_monai"]
)
def test_what_computes_a_value_is_counted(canary, harmless):
    canary.write({"network_def": PLAIN, "harmless": harmless})
    assert find_code(canary.bundle)[-1] == "expressions: 1 that compute values, in inference.json (1)"


@pytest.mark.parametrize("name", LISTED)
def test_check_lists_what_would_run(canary, capsys, name):
    content, line = LISTED[name]
    canary.write({"network_def": PLAIN, name: content})
    assert any(found.startswith(line) for found in find_code(canary.bundle))
    # whatever else is wrong with the bundle must not keep the list back
    with contextlib.suppress(SystemExit):
        main(["check", str(canary.bundle)])
    assert f"{canary.bundle}: would run: {line}" in capsys.readouterr().out
    canary.assert_silent()


def test_an_overlay_is_read_with_what_it_changes(canary):
    canary.write({"network_def": PLAIN})
    configs = canary.bundle / "configs"
    (configs / "train.json").write_text('{"network_def": {"_target_": "BasicUNet"}, "train": {"x": "$1"}}')
    (configs / "distill.json").write_text(
        '{"train#x": {"_target_": "evilnet.Net"}, "network_def#_target_": "evilnet.Net"}'
    )
    found = find_code(canary.bundle)
    assert "foreign code: distill.json: train::x: target 'evilnet.Net' (not checked, would be imported)" in found
    assert any(line.startswith("network: distill.json: the target 'evilnet.Net'") for line in found)
    (configs / "distill.json").write_text('{"nowhere#deep#_target_": "evilnet.Net"}')
    assert any("target 'evilnet.Net'" in line for line in find_code(canary.bundle))
    canary.assert_silent()


def test_a_long_list_is_cut(canary):
    canary.write({"network_def": PLAIN, "many": [f"$import evil{n}" for n in range(30)]})
    found = [line for line in find_code(canary.bundle) if line.startswith("foreign code")]
    assert len(found) == 9
    assert found[-1] == "foreign code: and 22 more"


def test_unknown_targets_of_installed_packages_are_still_problems(canary):
    canary.write({"network_def": PLAIN, "a": {"_target_": "monai.losses.NoLoss"}, "b": {"_target_": "evilnet.NoNet"}})
    problems = find_problems(canary.bundle)
    assert "inference.json: a: 'monai.losses.NoLoss' does not exist" in problems
    assert not any("evilnet" in problem for problem in problems)


def test_a_program_among_the_installed_modules_is_not_started(canary):
    # importing it runs f2py
    canary.write({"network_def": PLAIN, "a": {"_target_": "numpy.f2py.__main__.main"}})
    assert canary.attack() == ""
    assert "numpy.f2py.__main__" not in sys.modules


def test_an_id_that_leads_nowhere_is_one_line(canary):
    canary.write({"network_def": PLAIN, "a": "text", "a#b#c": 1})
    assert "sets an id that leads nowhere" in canary.attack()
    assert any("sets an id that leads nowhere" in problem for problem in find_problems(canary.bundle))


def test_relative_references_and_macros_are_no_problems(canary):
    canary.write({"network_def": net(out_channels="@##classes", features="%widths"), "classes": 2, "widths": [4] * 6})
    assert not any(
        "network_def" in problem or "cannot be resolved" in problem for problem in find_problems(canary.bundle)
    )
