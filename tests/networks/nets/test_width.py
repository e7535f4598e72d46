# SPDX-License-Identifier: Apache-2.0
"""Narrower and wider students: rounded channels, parameters worked out by hand, layers and weights of the default."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from networks.nets.plain_layers import Plain, image, randomise
from networks.nets.test_enet import enet

from akd_monai.bundle import build_network, change_bundle, write_bundle
from akd_monai.errors import InputError
from akd_monai.networks.nets import ENet, ERFNet, ESPNet
from akd_monai.networks.nets._width import scaled_widths

STUDENTS = [(ENet, 353_545), (ESPNet, 182_719), (ERFNet, 2_062_872)]
# channels of the layers that are distilled, at half the width
LAYERS = [(ENet, 8, 64), (ESPNet, 8, 128), (ERFNet, 8, 64)]
PAGE = Path(__file__).parents[3] / "docs" / "reference" / "networks.md"


def count(network: torch.nn.Module) -> int:
    return sum(value.numel() for value in network.parameters())


@pytest.mark.parametrize(("network", "parameters"), STUDENTS)
def test_the_default_is_the_published_width_to_the_bit(network, parameters):
    torch.manual_seed(0)
    plain = network(2, 1, 2).state_dict()
    torch.manual_seed(0)
    one = network(2, 1, 2, width_multiplier=1).state_dict()
    assert list(plain) == list(one)
    assert all(torch.equal(plain[name], one[name]) for name in plain)
    assert count(network(2, 1, 2)) == parameters


def test_parameters_of_half_an_erfnet_by_hand():
    def residual(channels):
        # two pairs of 3x1 and 1x3 convolutions with bias, two normalisations
        return 4 * (3 * channels**2 + channels) + 2 * 2 * channels

    encoder = (
        (9 * 1 * 7 + 7 + 16) + (9 * 8 * 24 + 24 + 64) + 5 * residual(32) + (9 * 32 * 32 + 32 + 128) + 8 * residual(64)
    )
    decoder = (9 * 64 * 32 + 32 + 64) + 2 * residual(32) + (9 * 32 * 8 + 8 + 16) + 2 * residual(8) + (4 * 8 * 2 + 2)
    assert encoder + decoder == 518_984
    assert count(ERFNet(2, 1, 2, width_multiplier=0.5)) == 518_984


def test_widths_are_multiples_of_four_and_halves_go_up():
    assert scaled_widths("ENet", (4, 16, 64), 0.125) == [4, 4, 8]
    # 4 x 1.5 = 6 lies between 4 and 8, 16 x 0.625 = 10 between 8 and 12
    assert scaled_widths("ENet", (4, 16), 1.5) == [8, 24]
    assert scaled_widths("ENet", (4, 16), 0.625) == [4, 12]


@pytest.mark.parametrize("network", [ENet, ESPNet, ERFNet])
@pytest.mark.parametrize("width", [0.125, 0.25, 0.3, 0.75, 1.5])
def test_every_width_gives_logits_of_the_size_of_its_image(network, width):
    logits = network(2, 3, 4, width_multiplier=width)(torch.zeros(2, 3, 16, 24))
    assert logits.shape == (2, 4, 16, 24)


@pytest.mark.parametrize("width", [0.5, 2.0])
def test_another_width_is_the_same_network_written_down(width):
    network = randomise(ENet(2, 1, 3, width_multiplier=width))
    x = image(2, 1, 136, 144)
    torch.testing.assert_close(network(x), enet(Plain(network, 1e-5), x), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("network", "low", "high"), LAYERS)
def test_layers_for_distillation_keep_their_names_and_change_their_channels(network, low, high):
    half = network(2, 1, 2, width_multiplier=0.5)
    seen = {}
    for layer in network.layers.values():
        half.get_submodule(layer).register_forward_hook(lambda _m, _i, out, at=layer: seen.update({at: out.shape[1]}))
    half(torch.zeros(1, 1, 16, 16))
    assert [seen[network.layers["low"]], seen[network.layers["high"]]] == [low, high]


@pytest.mark.parametrize("network", [ENet, ESPNet, ERFNet])
@pytest.mark.parametrize("given", [0, 0.1, 5, -1, float("nan"), True, "0.5", None])
def test_other_widths_are_refused_in_one_line(network, given):
    with pytest.raises(InputError, match=f"^{network.__name__} takes a width_multiplier from 0.125 to 4, got") as error:
        network(2, 1, 2, width_multiplier=given)
    assert "\n" not in str(error.value)


def test_a_narrow_first_block_takes_fewer_channels():
    with pytest.raises(InputError, match="takes 1 to 7 channels, since its first block has 8 in all, got 8"):
        ENet(2, 8, 2, width_multiplier=0.5)


@pytest.mark.parametrize("name", ["enet", "espnet", "erfnet"])
def test_a_bundle_has_the_width_as_a_setting_of_all_its_configs(name, tmp_path):
    root = write_bundle(name, tmp_path / name)
    change_bundle(root, {"network_def#width_multiplier": 0.5})
    counts = {count(build_network(root, config=config)) for config in ("train.json", "inference.json")}
    network = {"enet": ENet, "espnet": ESPNet, "erfnet": ERFNet}[name]
    assert counts == {count(network(2, 1, 2, width_multiplier=0.5))}


def test_the_page_counts_as_the_networks_do():
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| `width_multiplier` ")]
    for line in rows:
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        width = float(cells[0].removeprefix("`width_multiplier` "))
        wanted = [f"{count(network(2, 1, 2, width_multiplier=width)):,}" for network in (ESPNet, ENet, ERFNet)]
        assert cells[1:] == wanted
    assert len(rows) == 5
