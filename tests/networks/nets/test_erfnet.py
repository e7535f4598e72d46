# SPDX-License-Identifier: Apache-2.0
"""ERFNet against the same network written down a second time."""

from __future__ import annotations

import pytest
import torch
from networks.nets.plain_layers import Plain, image, randomise
from torch import nn
from torch.nn import functional as F

from akd_monai.networks.nets import ERFNet


def down(p: Plain, x, name):
    return p.norm(torch.cat([p.conv(x, f"{name}.conv", stride=2), F.max_pool2d(x, 2)], 1), f"{name}.norm").clamp(min=0)


def up(p: Plain, x, name):
    weight, bias = p.values[f"{name}.0.weight"], p.values[f"{name}.0.bias"]
    # a transposed convolution: zeros between the pixels, then the kernel turned around
    n, c, h, w = x.shape
    spread = x.new_zeros(n, c, 2 * h + 2, 2 * w + 2)
    spread[:, :, 1:-1:2, 1:-1:2] = x
    x = F.conv2d(spread, weight.transpose(0, 1).flip(2, 3), bias)
    return p.norm(x, f"{name}.1").clamp(min=0)


def residual(p: Plain, x, name, dilation):
    y = p.conv(x, f"{name}.branch.0").clamp(min=0)
    y = p.norm(p.conv(y, f"{name}.branch.2"), f"{name}.branch.3").clamp(min=0)
    y = p.conv(y, f"{name}.branch.5", dilation=dilation).clamp(min=0)
    y = p.norm(p.conv(y, f"{name}.branch.7", dilation=dilation), f"{name}.branch.8")
    assert [p.values[f"{name}.branch.{i}.weight"].shape[2:] for i in (0, 2, 5, 7)] == [(3, 1), (1, 3)] * 2
    return (y + x).clamp(min=0)


def erfnet(p: Plain, x):
    x = down(p, down(p, x, "down1"), "down2")
    for i in range(5):
        x = residual(p, x, f"stage2.{i}", 1)
    x = down(p, x, "down3")
    for i, dilation in enumerate([2, 4, 8, 16] * 2):
        x = residual(p, x, f"stage3.{i}", dilation)
    for name, stage in (("up4", "stage4"), ("up5", "stage5")):
        x = up(p, x, name)
        for i in range(2):
            x = residual(p, x, f"{stage}.{i}", 1)
    return p.double_size(x, "head")


@pytest.mark.parametrize("channels", [1, 3])
def test_network_is_the_one_written_down(channels):
    network = randomise(ERFNet(2, channels, 2))
    x = image(1, channels, 136, 144)  # maps wider than the widest dilation
    torch.testing.assert_close(network(x), erfnet(Plain(network, 1e-3), x), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("dropout", "rates"), [(None, {0.03, 0.3, 0.0}), (0.2, {0.2, 0.0})])
def test_dropout_of_the_encoder_alone(dropout, rates):
    network = ERFNet(2, 1, 2, dropout=dropout)
    found = {n.split(".")[0]: m.p for n, m in network.named_modules() if isinstance(m, nn.Dropout2d)}
    assert set(found.values()) == rates
    assert found["stage4"] == found["stage5"] == 0


def test_every_parameter_takes_part():
    network = ERFNet(2, 1, 2)
    network(torch.randn(2, 1, 16, 16)).square().sum().backward()
    assert [name for name, value in network.named_parameters() if value.grad is None] == []
