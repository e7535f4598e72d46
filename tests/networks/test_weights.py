# SPDX-License-Identifier: Apache-2.0
"""Weights are read strictly and as tensors only."""

from __future__ import annotations

import re

import pytest
import torch
from torch import nn

from akd_monai import networks
from akd_monai.errors import InputError
from akd_monai.networks import load_weights
from akd_monai.networks.nets import ENet, ESPNet


class Bomb:
    """Running code is what reading a pickle can do."""

    def __reduce__(self):
        return (exec, ("raise SystemExit('code ran')",))


def small() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))


@pytest.mark.parametrize("wrap", ["plain", "model", "state_dict", "network", "module.", "_orig_mod.", "both", "turned"])
def test_wrappers_are_removed(tmp_path, wrap):
    torch.manual_seed(1)
    trained, fresh = small(), small()
    state = dict(trained.state_dict())
    joined = {"both": "_orig_mod.module.", "turned": "module._orig_mod."}
    prefix = joined.get(wrap, wrap if wrap.endswith(".") else "")
    state = {prefix + k: v for k, v in state.items()}
    torch.save({wrap: state} if wrap in ("model", "state_dict", "network") else state, tmp_path / "model.pt")
    load_weights(fresh, tmp_path / "model.pt")
    assert all(torch.equal(v, trained.state_dict()[k]) for k, v in fresh.state_dict().items())


def test_a_network_whose_own_keys_begin_like_a_wrapper(tmp_path):
    network = nn.ModuleDict({"module": nn.Linear(2, 2)})
    torch.save(network.state_dict(), tmp_path / "model.pt")
    other = nn.ModuleDict({"module": nn.Linear(2, 2)})
    load_weights(other, tmp_path / "model.pt")
    assert torch.equal(other["module"].weight, network["module"].weight)


@pytest.mark.fault(
    "Damaged checkpoints and weights",
    "weights of another network",
    injected="other keys",
    outcome="refused; keys are counted and named",
)
def test_keys_that_do_not_fit_are_counted_and_named(tmp_path):
    torch.save(ENet(2, 1, 2).state_dict(), tmp_path / "model.pt")
    with pytest.raises(
        InputError, match=r"do not fit ESPNet: \d+ keys missing \['down2\.act\.0\.bias'.* use the weights"
    ):
        load_weights(ESPNet(2, 1, 2), tmp_path / "model.pt")


def test_shapes_that_do_not_fit_are_named_and_nothing_is_loaded(tmp_path):
    torch.save(ENet(2, 1, 3).state_dict(), tmp_path / "model.pt")
    network = ENet(2, 1, 2)
    before = {k: v.clone() for k, v in network.state_dict().items()}
    with pytest.raises(
        InputError, match=re.escape("1 of another shape ['head.weight [16, 3, 2, 2] instead of [16, 2, 2, 2]']")
    ):
        load_weights(network, tmp_path / "model.pt")
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())


def test_a_missing_key_is_not_forgiven(tmp_path):
    state = small().state_dict()
    del state["1.bias"]
    torch.save(state, tmp_path / "model.pt")
    with pytest.raises(InputError, match=re.escape("1 keys missing ['1.bias'], 0 unexpected []")):
        load_weights(small(), tmp_path / "model.pt")


@pytest.mark.fault(
    "Bundles that are not trusted",
    "a weights file with code in its pickle",
    injected="a pickle that calls a function",
    outcome="refused, nothing runs",
)
def test_a_file_that_would_run_code(tmp_path):
    torch.save({"state_dict": Bomb()}, tmp_path / "model.pt")
    with pytest.raises(InputError, match=r"cannot be read as tensors only: it holds more than tensors.*could run code"):
        load_weights(small(), tmp_path / "model.pt")


@pytest.mark.parametrize("content", [b"", b"no weights", b"PK\x03\x04 torn"])
def test_a_file_that_is_damaged(tmp_path, content):
    (tmp_path / "model.pt").write_bytes(content)
    with pytest.raises(InputError, match=r"cannot be read as tensors only: ."):
        load_weights(small(), tmp_path / "model.pt")


@pytest.mark.parametrize("content", [[1, 2], {"epoch": 3}, torch.zeros(2), {0: torch.zeros(2)}], ids=str)
def test_a_file_without_a_state_dict(tmp_path, content):
    torch.save(content, tmp_path / "model.pt")
    with pytest.raises(InputError, match=r"hold no state dict; save network\.state_dict"):
        load_weights(small(), tmp_path / "model.pt")


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match=r"do not exist; give the path of a file written by torch\.save"):
        load_weights(small(), tmp_path / "model.pt")


def test_a_name_that_was_removed_says_what_to_use():
    with pytest.raises(InputError, match="FeatureAdapter no longer exists; set adapter of a distillation term to"):
        _ = networks.FeatureAdapter


class WithMask(nn.Module):
    """A buffer of attention that holds infinity, as some networks save one."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(2, 2)
        self.register_buffer("mask", torch.tensor([0.0, -torch.inf]))


@pytest.mark.fault(
    "Damaged checkpoints and weights",
    "weights of a training that diverged",
    injected="one parameter or statistic is NaN, one parameter infinite",
    outcome="refused, one line names the tensor; the network is unchanged",
)
@pytest.mark.parametrize(
    ("key", "value"), [("linear.weight", torch.nan), ("linear.bias", -torch.inf), ("mask", torch.nan)]
)
def test_values_that_are_no_numbers_are_refused(key, value, tmp_path):
    network = WithMask()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    state = {name: tensor.clone() for name, tensor in before.items()}
    state[key].view(-1)[-1] = value
    torch.save(state, tmp_path / "w.pt")
    with pytest.raises(InputError, match=rf"hold NaN or infinity in 1 of 3 tensors, {key} first; a training"):
        load_weights(network, tmp_path / "w.pt")
    torch.testing.assert_close(network.state_dict(), before, rtol=0, atol=0)


def test_infinity_in_a_buffer_is_allowed(tmp_path):
    torch.save(WithMask().state_dict(), tmp_path / "w.pt")
    network = WithMask()
    load_weights(network, tmp_path / "w.pt")
    assert network.mask[1] == -torch.inf
