# SPDX-License-Identifier: Apache-2.0
"""What the networks take and refuse, the layers they name, and that they train alike twice."""

from __future__ import annotations

import re

import pytest
import torch

from akd_monai.errors import InputError
from akd_monai.networks import probe_layers
from akd_monai.networks.nets import DeepLabV3Plus, ENet, ERFNet, ESPNet, UNetPlusPlus

FEATURES = (4, 6, 8, 10, 12)
STUDENTS = (ENet, ESPNet, ERFNet)
ALL = (*STUDENTS, UNetPlusPlus, DeepLabV3Plus)


def small(make, *arguments, **options):
    extra = {"features": FEATURES} if make is UNetPlusPlus else {}
    return make(*arguments, **extra, **options)


def on_meta(make, *arguments, **options):
    with torch.device("meta"):
        return make(*arguments, **options).eval()


@pytest.mark.parametrize("make", ALL, ids=lambda n: n.__name__)
@pytest.mark.parametrize("size", [(16, 16), (48, 80)])
def test_logits_have_the_size_of_the_image(make, size):
    assert on_meta(make, 2, 2, 5)(torch.zeros(2, 2, *size, device="meta")).shape == (2, 5, *size)


@pytest.mark.parametrize("make", [*STUDENTS, UNetPlusPlus], ids=lambda n: n.__name__)
@pytest.mark.parametrize(("sides", "above"), [((33, 64), (40, 64)), ((24, 31), (24, 32)), ((7, 250), (8, 256))])
def test_odd_sizes_are_refused_with_the_next_valid_size(make, sides, above):
    stride = make.stride
    above = [-(-s // stride) * stride for s in above]
    wanted = f"{make.__name__} takes sides that are multiples of {stride}, got {list(sides)}; pad to {above}"
    with pytest.raises(InputError, match=re.escape(wanted)) as error:
        on_meta(make, 2, 1, 2)(torch.zeros(1, 1, *sides, device="meta"))
    assert f"DivisiblePadd(k={stride})" in str(error.value)
    assert on_meta(make, 2, 1, 2)(torch.zeros(1, 1, *above, device="meta")).shape[2:] == tuple(above)


@pytest.mark.parametrize("sides", [(1, 1), (9, 31), (250, 333)])
def test_deeplabv3plus_takes_any_size(sides):
    assert on_meta(DeepLabV3Plus, 2, 1, 2)(torch.zeros(1, 1, *sides, device="meta")).shape == (1, 2, *sides)


@pytest.mark.parametrize("make", ALL, ids=lambda n: n.__name__)
@pytest.mark.parametrize("shape", [(1, 3, 32, 32), (1, 1, 32), (1, 1, 32, 32, 32), (32, 32)])
def test_wrong_channels_or_dimensions_are_refused(make, shape):
    with pytest.raises(InputError, match=re.escape(f"takes [batch, 1, and 2 sides], got {list(shape)}")):
        on_meta(make, 2, 1, 2)(torch.zeros(shape, device="meta"))


@pytest.mark.parametrize("make", [*STUDENTS, DeepLabV3Plus], ids=lambda n: n.__name__)
def test_3d_is_refused_where_there_is_none(make):
    with pytest.raises(InputError, match=f"{make.__name__} takes spatial_dims 2, got 3; UNetPlusPlus works in 3D"):
        make(3, 1, 2)


def test_unetplusplus_in_3d():
    network = UNetPlusPlus(3, 1, 2, features=FEATURES)
    assert network(torch.zeros(1, 1, 16, 32, 16)).shape == (1, 2, 16, 32, 16)
    with pytest.raises(InputError, match=re.escape("got [16, 30, 16]; pad to [16, 32, 16]")):
        network(torch.zeros(1, 1, 16, 30, 16))
    with pytest.raises(InputError, match="takes spatial_dims 2 or 3, got 1"):
        UNetPlusPlus(1, 1, 2)


BAD = [
    ({"out_channels": 0}, "takes an integer of at least 1 as out_channels, got 0"),
    ({"in_channels": 1.0}, "takes an integer of at least 1 as in_channels, got 1.0"),
    ({"in_channels": True}, "takes an integer of at least 1 as in_channels, got True"),
    ({"dropout": 1.0}, "takes a dropout from 0 to below 1, got 1.0; 0 turns it off"),
    ({"dropout": "0.1"}, "takes a dropout from 0 to below 1, got '0.1'"),
]


@pytest.mark.parametrize("make", ALL, ids=lambda n: n.__name__)
@pytest.mark.parametrize(("change", "message"), BAD, ids=[str(b[0]) for b in BAD])
def test_wrong_arguments_are_refused(make, change, message):
    with pytest.raises(InputError, match=re.escape(f"{make.__name__} {message}")):
        make(**{"spatial_dims": 2, "in_channels": 1, "out_channels": 2, **change})


@pytest.mark.parametrize("make", [ENet, ERFNet], ids=lambda n: n.__name__)
def test_stem_holds_the_pooled_image(make):
    with pytest.raises(InputError, match="takes 1 to 15 channels, since its first block has 16 in all, got 16"):
        make(2, 16, 2)
    assert make(2, 15, 2).eval()(torch.zeros(1, 15, 16, 16)).shape == (1, 2, 16, 16)


TAPS = {
    ENet: {"initial": (16, 2), "stage3": (128, 8), "stage5": (16, 2)},
    ESPNet: {"stage1": (16, 2), "merge3": (256, 8), "merge2": (129, 4), "merge1": (17, 2)},
    ERFNet: {"down1": (16, 2), "stage3": (128, 8), "stage5": (16, 2)},
    UNetPlusPlus: {"node_1_0": (128, 2), "node_3_0": (512, 8), "node_4_0": (1024, 16), "node_0_4": (64, 1)},
    DeepLabV3Plus: {"stem1": (32, 2), "exit": (2048, 8), "aspp": (256, 8), "decoder": (256, 4)},
}


@pytest.mark.parametrize("make", ALL, ids=lambda n: n.__name__)
def test_layers_named_in_the_documentation(make):
    network = on_meta(make, 2, 1, 2)
    shapes = probe_layers(network, TAPS[make], (1, 1, 64, 96), device="meta")
    assert shapes == {name: (1, c, 64 // s, 96 // s) for name, (c, s) in TAPS[make].items()}
    low, high = make.layers["low"], make.layers["high"]
    assert (TAPS[make][low][1], TAPS[make][high][1]) == (2, 8)
    for name in TAPS[make]:
        assert f"``{name}``" in make.__doc__


@pytest.mark.parametrize("make", [*STUDENTS, UNetPlusPlus], ids=lambda n: n.__name__)
def test_training_is_deterministic_and_allowed_to_be(make):
    def gradients():
        torch.manual_seed(3)
        network = small(make, 2, 1, 2)
        network(torch.randn(2, 1, 32, 32)).square().sum().backward()
        return [p.grad for p in network.parameters()]

    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        first, second = gradients(), gradients()
    finally:
        torch.use_deterministic_algorithms(before)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
