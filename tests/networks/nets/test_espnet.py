# SPDX-License-Identifier: Apache-2.0
"""ESPNet against the same network written down a second time."""

from __future__ import annotations

import pytest
import torch
from networks.nets.plain_layers import Plain, image, randomise
from torch import nn
from torch.nn import functional as F

from akd_monai.networks.nets import ESPNet


def bn_act(p: Plain, x, name, at=0):
    """Norm and PReLU with a slope for each channel, the parts ``at`` and the next of a sequence."""
    return p.prelu(p.norm(x, f"{name}.{at}"), f"{name}.{at + 1}", x.shape[1])


def pyramid(p: Plain, x, name, outputs, stride=1, residual=False):
    n = outputs // 5
    narrow = p.conv(x, f"{name}.reduce", stride=stride)
    assert p.values[f"{name}.reduce.weight"].shape == (n, x.shape[1], *((1, 1) if stride == 1 else (3, 3)))
    d = {k: p.conv(narrow, f"{name}.d{k}", dilation=k) for k in (1, 2, 4, 8, 16)}
    assert [v.shape[1] for v in d.values()] == [outputs - 4 * n, n, n, n, n]
    joined = torch.cat([d[1], d[2], d[2] + d[4], d[2] + d[4] + d[8], d[2] + d[4] + d[8] + d[16]], 1)
    return bn_act(p, joined + x if residual else joined, f"{name}.act")


def shrink(x):
    """The mean of 3x3 pixels around every second one, zeros outside counted."""
    return F.conv2d(x.flatten(0, 1)[:, None], x.new_full((1, 1, 3, 3), 1 / 9), stride=2, padding=1).view(
        *x.shape[:2], x.shape[2] // 2, x.shape[3] // 2
    )


def espnet(p: Plain, x, classes):
    half = shrink(x)
    s1 = bn_act(p, p.conv(x, "stage1.0", stride=2), "stage1", 1)
    c1 = bn_act(p, torch.cat([s1, half], 1), "merge1")
    d2 = pyramid(p, c1, "down2", 64, stride=2)
    last = d2
    for i in range(2):
        last = pyramid(p, last, f"stage2.{i}", 64, residual=True)
    c2 = bn_act(p, torch.cat([last, d2, shrink(half)], 1), "merge2")
    d3 = pyramid(p, c2, "down3", 128, stride=2)
    last = d3
    for i in range(3):
        last = pyramid(p, last, f"stage3.{i}", 128, residual=True)
    c3 = bn_act(p, torch.cat([d3, last], 1), "merge3")
    u3 = p.double_size(p.norm(p.conv(c3, "up4.0"), "up4.1"), "up4.2")
    z2 = p.conv(c2, "skip4")
    merged = pyramid(p, bn_act(p, torch.cat([z2, u3], 1), "stage4"), "stage4.2", max(classes, 5))
    u2 = bn_act(p, p.double_size(merged, "up5.0"), "up5", 1)
    out = bn_act(p, p.conv(torch.cat([u2, c1], 1), "stage5.0"), "stage5", 1)
    return p.double_size(out, "head")


@pytest.mark.parametrize(("channels", "classes"), [(1, 2), (3, 1), (2, 7)])
def test_network_is_the_one_written_down(channels, classes):
    network = randomise(ESPNet(2, channels, classes))
    x = image(2, channels, 144, 136)  # maps wider than the widest dilation
    torch.testing.assert_close(network(x), espnet(Plain(network, 1e-3), x, classes), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("classes", "width"), [(1, 5), (2, 5), (5, 5), (12, 12)])
def test_the_decoders_block_has_one_channel_or_more_for_each_dilation(classes, width):
    network = ESPNet(2, 1, classes).eval()
    assert network.up5[0].weight.shape[:2] == (width, classes)
    assert network(torch.zeros(1, 1, 16, 16)).shape == (1, classes, 16, 16)


def test_no_convolution_has_a_bias():
    convolutions = [m for m in ESPNet(2, 1, 2).modules() if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d))]
    assert len(convolutions) == 55
    assert all(m.bias is None for m in convolutions)
