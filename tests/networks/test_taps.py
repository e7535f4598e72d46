# SPDX-License-Identifier: Apache-2.0
"""Features by module path: found under wrappers, of the latest pass, and nothing left on the network."""

from __future__ import annotations

import gc
import re
import weakref

import pytest
import torch
from torch import nn

from akd_monai.errors import InputError, UnknownNameError
from akd_monai.networks import FeatureTaps, list_layers, probe_layers, unwrap
from akd_monai.networks.nets import ENet


class Net(nn.Module):
    """Two layers, one of them run only when asked for, and one that returns a pair."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(1, 3, 1), nn.BatchNorm2d(3), nn.Dropout(0.5))
        self.decoder = nn.ModuleDict({"conv": nn.Conv2d(3, 2, 1)})
        self.optional = nn.Identity()
        self.pair = nn.AdaptiveMaxPool2d(1, return_indices=True)
        self.use_optional = False

    def forward(self, x):
        x = self.encoder(x)
        self.pair(x)
        return self.decoder["conv"](self.optional(x) if self.use_optional else x)


IMAGE = torch.arange(8.0).view(1, 1, 2, 4)


def test_features_are_the_layers_outputs_and_keep_the_graph():
    network = Net().eval()
    with FeatureTaps(network, ["decoder.conv", "encoder", "encoder.0"]) as taps:
        out = network(IMAGE)
        found = taps.features
    assert list(found) == ["decoder.conv", "encoder", "encoder.0"]
    assert torch.equal(found["encoder.0"], network.encoder[0](IMAGE))
    assert found["decoder.conv"] is out
    found["encoder"].sum().backward()
    assert network.encoder[0].weight.grad is not None


def test_a_second_pass_replaces_the_first():
    network = Net().eval()
    with FeatureTaps(network, ["encoder.0"]) as taps:
        network(IMAGE)
        first = weakref.ref(taps.features["encoder.0"])
        network(IMAGE + 1)
        gc.collect()
        assert first() is None
        assert torch.equal(taps.features["encoder.0"], network.encoder[0](IMAGE + 1))


def test_a_layer_that_did_not_run_in_the_latest_pass_is_named():
    network = Net().eval()
    network.use_optional = True
    with FeatureTaps(network, ["encoder", "optional"]) as taps:
        network(IMAGE)
        assert set(taps.features) == {"encoder", "optional"}
        network.use_optional = False
        network(IMAGE)
        with pytest.raises(InputError, match=re.escape("layers ['optional'] did not run in the latest forward pass")):
            _ = taps.features


def hooks(network):
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in network.modules())


def test_no_hook_or_tensor_remains():
    network = Net().eval()
    with FeatureTaps(network, ["encoder", "encoder.0"]) as taps:
        assert hooks(network) == 3
        network(IMAGE)
        kept = weakref.ref(taps.features["encoder"])
    gc.collect()
    assert hooks(network) == 0
    assert kept() is None
    with pytest.raises(InputError, match="did not run"):
        _ = taps.features


def test_hooks_go_when_the_body_of_the_with_statement_fails():
    network = Net()
    with pytest.raises(RuntimeError, match="on purpose"), FeatureTaps(network, ["encoder"]):
        raise RuntimeError("on purpose")
    assert hooks(network) == 0


@pytest.mark.parametrize(
    ("layer", "hint"),
    [("stagee3", "Did you mean 'stage3'"), ("decoder.head", "Did you mean 'head'"), ("", "")],
    ids=["misspelt", "elsewhere", "empty"],
)
def test_unknown_layers_come_with_near_matches(layer, hint):
    with pytest.raises(UnknownNameError, match=re.escape(f"unknown layer {layer!r} in ENet.")) as error:
        FeatureTaps(ENet(2, 1, 2), [layer])
    assert hint in str(error.value)
    assert "list_layers(network) lists all layers" in str(error.value)
    # the outermost layers and up to three that are near, not hundreds
    known = str(error.value).split("Known: ")[1].split(". akd_monai")[0].split(", ")
    assert known[:3] == ["initial", "down1", "stage1"]
    assert len(known) <= 14


def test_an_unknown_layer_leaves_no_hook():
    network = Net()
    with pytest.raises(UnknownNameError):
        FeatureTaps(network, ["encoder", "encodr"])
    assert hooks(network) == 0


def test_an_output_that_is_no_tensor():
    network = Net().eval()
    with (
        FeatureTaps(network, ["pair"]),
        pytest.raises(InputError, match="layer 'pair' gives a tuple, not a tensor; tap a layer before or after it"),
    ):
        network(IMAGE)


def test_names_are_those_below_torch_compile():
    network = Net().eval()
    compiled = torch.compile(network, backend="eager")
    assert unwrap(compiled) is network
    assert list_layers(compiled) == list_layers(network)
    with FeatureTaps(compiled, ["encoder.0"]) as taps:
        compiled(IMAGE)
        assert torch.equal(taps.features["encoder.0"], network.encoder[0](IMAGE))


def test_names_are_those_below_ddp_and_compile(tmp_path):
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'meeting'}", rank=0, world_size=1)
    try:
        network = Net().eval()
        wrapped = nn.parallel.DistributedDataParallel(network)
        assert unwrap(wrapped) is unwrap(torch.compile(wrapped, backend="eager")) is network
        with FeatureTaps(wrapped, ["encoder.0"]) as taps:
            wrapped(IMAGE)
            assert torch.equal(taps.features["encoder.0"], network.encoder[0](IMAGE))
    finally:
        torch.distributed.destroy_process_group()


def test_a_network_whose_child_is_called_module_is_no_wrapper():
    outer = nn.ModuleDict({"module": nn.Identity()})
    assert unwrap(outer) is outer


def test_probe_gives_shapes_and_changes_nothing():
    network = Net().train()
    network.encoder[1].eval()
    modes = [m.training for m in network.modules()]
    state = {k: v.clone() for k, v in network.state_dict().items()}
    random = torch.get_rng_state()
    shapes = probe_layers(network, ["encoder", None], (2, 1, 5, 7))
    assert shapes == {"encoder": (2, 3, 5, 7), "": (2, 2, 5, 7)}
    assert [m.training for m in network.modules()] == modes
    assert all(torch.equal(v, state[k]) for k, v in network.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    assert hooks(network) == 0


def test_probe_of_a_network_that_returns_several_maps():
    class Several(nn.Module):
        def forward(self, x):
            return [x, x]

    with pytest.raises(
        InputError, match=r"network: several outputs could be its logits: 0 \[1, 1, 4, 4\].*one by head"
    ):
        probe_layers(Several(), [None], (1, 1, 4, 4))
    assert probe_layers(Several(), [None], (1, 1, 4, 4), head=1) == {"": (1, 1, 4, 4)}
