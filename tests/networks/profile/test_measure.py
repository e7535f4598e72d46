# SPDX-License-Identifier: Apache-2.0
"""Parameters and operations of the networks, against figures worked out from their published descriptions."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from akd_monai.networks import count_operations, profile_network
from akd_monai.networks.nets import DeepLabV3Plus, ENet, ERFNet, ESPNet, UNetPlusPlus

SIZES = [(1, 1), (1, 2), (3, 1), (3, 2)]
PARAMETERS = {
    ESPNet: (182_094, 182_719, 183_080, 183_725),
    ENet: (353_481, 353_545, 353_697, 353_761),
    ERFNet: (2_062_807, 2_062_872, 2_063_021, 2_063_086),
    UNetPlusPlus: (36_628_481, 36_628_546, 36_629_633, 36_629_698),
    DeepLabV3Plus: (54_746_705, 54_746_962, 54_747_281, 54_747_538),
}
# one channel, two classes, 384 x 384: convolutions, two for a multiplication with its addition, in 1e9
CONVOLUTIONS = {ESPNet: 1.199, ENet: 2.112, ERFNet: 14.869, UNetPlusPlus: 619.89, DeepLabV3Plus: 272.48}
# the same by the rules behind the published table, for one-channel stems and with every block run
TABLE1 = {ESPNet: 1.2427, ENet: 2.2699, UNetPlusPlus: 621.3755, DeepLabV3Plus: 273.9458}


def on_meta(make, *arguments, **options):
    """A network without memory: shapes only."""
    with torch.device("meta"):
        return make(*arguments, **options).eval()


def size_of(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def operations(network: nn.Module, size: int = 384) -> dict[str, float]:
    with torch.no_grad():
        return count_operations(network, torch.zeros(1, 1, size, size, device="meta"))


@pytest.mark.parametrize("make", PARAMETERS, ids=lambda n: n.__name__)
def test_parameters(make):
    assert tuple(size_of(on_meta(make, 2, *size)) for size in SIZES) == PARAMETERS[make]


def test_parameters_of_the_forms_of_deeplabv3plus():
    assert size_of(on_meta(DeepLabV3Plus, 2, 1, 2, canonical=True)) == 54_699_858
    assert size_of(on_meta(DeepLabV3Plus, 2, 1, 2, rectified_shortcut=True)) == 54_746_962
    assert size_of(on_meta(DeepLabV3Plus, 2, 1, 2, output_stride=16)) == 54_746_962


@pytest.mark.parametrize("make", CONVOLUTIONS, ids=lambda n: n.__name__)
def test_operations_of_the_convolutions(make):
    assert operations(on_meta(make, 2, 1, 2))["conv"] == pytest.approx(CONVOLUTIONS[make], rel=1e-3)


def test_operations_of_deeplabv3plus_at_stride_16():
    found = operations(on_meta(DeepLabV3Plus, 2, 1, 2, canonical=True, output_stride=16))
    assert found["conv"] == pytest.approx(93.0, rel=1e-3)


@pytest.mark.parametrize("make", TABLE1, ids=lambda n: n.__name__)
def test_operations_by_the_published_rules(make):
    assert operations(on_meta(make, 2, 1, 2))["table1"] == pytest.approx(TABLE1[make], rel=1e-3)


def test_operations_of_erfnet_by_the_published_rules_without_its_relus():
    network = on_meta(ERFNet, 2, 1, 2)
    # each ReLU once: two downs at 1/2 and 1/4, one at 1/8, two ups, and four in each residual block
    pixels = {2: 192 * 192, 4: 96 * 96, 8: 48 * 48}
    relus = 16 * pixels[2] + 64 * pixels[4] + 128 * pixels[8] + 64 * pixels[4] + 16 * pixels[2]
    relus += 4 * (5 * 64 * pixels[4] + 8 * 128 * pixels[8] + 2 * 64 * pixels[4] + 2 * 16 * pixels[2])
    assert operations(network)["table1"] - 2 * relus / 1e9 == pytest.approx(16.5671, rel=1e-5)


def test_each_rule_by_hand():
    layers = {
        "convolution with bias": (nn.Conv2d(2, 3, 3), (1, 2, 6, 6), 16 * 3 * 2 * 9 + 16 * 3),
        "transposed": (nn.ConvTranspose2d(2, 3, 2, stride=2, bias=False), (1, 2, 6, 6), 144 * 3 * 2 * 4),
        "grouped": (nn.Conv2d(4, 4, 3, groups=4, bias=False), (1, 4, 5, 5), 9 * 4 * 9),
        "norm": (nn.BatchNorm2d(2).eval(), (1, 2, 6, 6), 2 * 72),
        "prelu": (nn.PReLU(), (1, 2, 6, 6), 72),
        "pool, by its input": (nn.MaxPool2d(2), (1, 2, 6, 6), 72),
        "upsampling, by its output": (nn.Upsample(scale_factor=2.0, mode="bilinear"), (1, 2, 6, 6), 288),
        "softmax, not counted": (nn.Softmax(dim=1), (1, 2, 6, 6), 0),
        "linear": (nn.Linear(6, 5, bias=False), (1, 6), 30),
    }
    for name, (layer, shape, wanted) in layers.items():
        found = count_operations(layer, torch.zeros(shape))["table1"]
        assert round(found * 1e9) == 2 * wanted, name


def test_profile_leaves_the_network_alone():
    network = ENet(2, 1, 2).train()
    before = {k: v.clone() for k, v in network.state_dict().items()}
    facts = profile_network(network, (1, 1, 32, 32), repeats=2)
    assert network.training
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())
    assert facts["parameters"] == facts["trainable_parameters"] == 353_545
    assert facts["time_min_ms"] <= facts["time_ms"] <= facts["time_max_ms"]
    assert facts["checkpoint_bytes"] > 4 * 353_545
    assert facts["gflops_other"] == 0
