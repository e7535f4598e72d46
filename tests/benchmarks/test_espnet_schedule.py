# SPDX-License-Identifier: Apache-2.0
"""What the comparison of ESPNet's trainings computes; no training is run."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from akd_monai.networks.nets import ESPNet
from benchmarks.espnet_schedule import VARIANTS, dice, of_parts


def test_a_part_of_a_network_has_a_learning_rate_of_its_own():
    network = ESPNet(2, 1, 2)
    rest, head = of_parts(("head",), 10)(network, 0.01)
    assert (rest["lr"], head["lr"]) == (0.01, pytest.approx(0.1))
    assert [parameter.shape for parameter in head["params"]] == [(2, 2, 2, 2)]
    assert len(rest["params"]) == len(list(network.parameters())) - 1


class Norm(nn.Module):
    """Two logits: 0, and the normalized image."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(1, affine=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([torch.zeros_like(x), self.norm(x)], 1)


def test_dice_with_running_statistics_and_with_those_of_the_batch():
    """Values 1, 2, 3, 4; running mean 0 marks all four, the batch's mean 2.5 the two that are labelled."""
    image = torch.tensor([1.0, 2.0, 3.0, 4.0]).reshape(1, 1, 2, 2)
    label = (image > 2.5).float()
    network = Norm()
    assert dice(network, [(image, label)], "running") == pytest.approx(2 * 2 / (4 + 2))
    assert dice(network, [(image, label)], "batch") == 1.0
    assert network.norm.running_mean.item() == 0.0


def test_variants_change_what_they_say():
    for name, (network, options) in VARIANTS.items():
        if "change" in options:
            built = ESPNet(2, 1, 2)
            before = [tensor.clone() for tensor in built.state_dict().values()]
            momenta = [m.momentum for m in built.modules() if isinstance(m, nn.BatchNorm2d)]
            options["change"](built)
            after = list(built.state_dict().values())
            same = all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
            assert same == (momenta != [m.momentum for m in built.modules() if isinstance(m, nn.BatchNorm2d)]), name
            assert network == "espnet"
