# SPDX-License-Identifier: Apache-2.0
"""Configs of every shape, with code in every place that MONAI knows: none of it runs without trust."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn
from trust_tools import PLAIN, Canary, filled

from akd_monai.bundle import build_network, find_code, find_problems
from akd_monai.errors import InputError

WAYS = [
    "CODE", "$1 + 1", "@evil", "@target", "@a", "@a::b", "@list::0", "@##evil", "@::::evil", "@#evil", "@::evil",
    "@######evil",
    "%evil", "%target", "%a", "%a::b", "%##evil", "%::evil", "%other.json::evil", "%other.json#target", "%other.yaml::evil",
    "%other.yaml::net", "%nowhere", "%nowhere.json::x", "@_meta_::evil", "%_meta_::evil", "@", "%", "$", "@network_def",
]  # fmt: skip
TARGETS = [
    "BasicUNet", "torch.nn.Conv2d", "torch.nn.ReLU", "torch.nn.ModuleList", "monai.networks.blocks.Convolution",
    "DenseNet121",
    "akd_monai.networks.nets.ENet", "evilnet.Net", "evilnet.anything", "evilnet", "evil.scripts.net.Net", "builtins.open",
    "os.system", "os.mkdir", "this.Net", "antigravity", "save_state", "convert_to_torchscript", "exec", "numpy.load",
    "torch.nn.attention._fa4._fa4_import_module", "torch.nn.modules.module.register_module_forward_hook",
    "torch.nn.modules.module.torch.load", "", ".", "torch.nn.", "..evilnet.Net", "@evil", "%evil", "CODE",
]  # fmt: skip
ARGUMENTS = [
    "spatial_dims",
    "in_channels",
    "out_channels",
    "features",
    "act",
    "modules",
    "kernel_size",
    "path",
    "file",
    "mode",
]
KEYS = [
    "_requires_",
    "_disabled_",
    "_desc_",
    "_mode_",
    "_debug_",
    "_args_",
    "pretrained",
    "progress",
    "model_url",
    "a",
    "b",
]

plain = st.none() | st.booleans() | st.integers(-2, 8) | st.sampled_from(["batch", "relu", "debug", "callable", "true"])
leaves = plain | st.sampled_from(WAYS)


def component(values):
    arguments = st.dictionaries(st.sampled_from(ARGUMENTS + KEYS), values, max_size=4)
    targets = st.sampled_from(TARGETS) | values
    return st.builds(lambda target, given: {**given, "_target_": target}, targets, arguments)


def hurt(values):
    """A network that would load, with something else in one or two places."""
    return st.dictionaries(st.sampled_from(ARGUMENTS + KEYS), values, max_size=2).map(lambda given: {**PLAIN, **given})


def nested(values):
    return (
        st.lists(values, max_size=3)
        | st.dictionaries(st.sampled_from(ARGUMENTS + KEYS), values, max_size=3)
        | component(values)
        | hurt(values)
    )


contents = st.recursive(leaves, nested, max_leaves=6)
configs = st.fixed_dictionaries(
    {"network_def": hurt(contents) | component(contents) | contents},
    optional={"a": contents, "list": st.lists(contents, max_size=2), "network_def#act": contents, "imports": contents},
)


@pytest.fixture(scope="module")
def canary(tmp_path_factory):
    made = Canary(tmp_path_factory.mktemp("fuzz"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(made.root)
        patch.syspath_prepend("")
        patch.syspath_prepend(str(made.root))

        def caught(*_, **__):
            made.file.write_text("a network, a shell or a debugger")
            raise OSError("caught")

        for name in ("pdb.runcall", "builtins.breakpoint", "os.system", "socket.create_connection"):
            patch.setattr(name, caught)
        yield made


@pytest.mark.fault(
    "Bundles that are not trusted",
    "any config",
    injected="hypothesis makes configs around a canary",
    outcome="never runs it",
)
@settings(
    max_examples=250,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(config=configs, as_yaml=st.booleans(), checked=st.sampled_from([True, False, False, False]))
def test_the_canary_never_sings(canary, config, as_yaml, checked):
    full = {"evil": canary.code, "target": canary.target, **filled(config, canary)}
    canary.write(full, as_yaml=as_yaml)
    refusal = ""
    try:
        assert isinstance(build_network(canary.bundle), nn.Module)
    except InputError as error:
        refusal = str(error)
    assert "\n" not in refusal
    if checked:
        find_code(canary.bundle)
        find_problems(canary.bundle)
    canary.assert_silent()
    assert sorted(path.name for path in Path(canary.root).iterdir()) == [
        "apex", "evil", "evilnet.py", "other.json", "other.yaml",
    ]  # fmt: skip
    assert "" in sys.path
    assert not nn.modules.module._global_forward_hooks
