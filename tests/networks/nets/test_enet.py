# SPDX-License-Identifier: Apache-2.0
"""ENet against the same network written down a second time, and its pooling against PyTorch's."""

from __future__ import annotations

import pytest
import torch
from networks.nets.plain_layers import Plain, image, randomise
from torch import nn
from torch.nn import functional as F

from akd_monai.networks.nets import ENet
from akd_monai.networks.nets.enet import _doubled, _max_pool, _max_pool_with_places, _max_unpool

RUN = ["plain", 2, "5x1", 4, "plain", 8, "5x1", 16]


def branch(p: Plain, x, name, middle):
    """1x1, norm, PReLU; the middle; norm, PReLU; 1x1, norm."""
    x = p.prelu(p.norm(p.conv(x, f"{name}.0"), f"{name}.1"), f"{name}.2", 1)
    x, at = middle(x)
    x = p.prelu(p.norm(x, f"{name}.{at}"), f"{name}.{at + 1}", 1)
    return p.norm(p.conv(x, f"{name}.{at + 2}"), f"{name}.{at + 3}")


def bottleneck(p: Plain, x, name, kind):
    def middle(y):
        if kind == "5x1":
            y = p.conv(y, f"{name}.branch.3")
            assert p.values[f"{name}.branch.3.weight"].shape[2:] == (5, 1)
            return p.conv(y, f"{name}.branch.4"), 5
        return p.conv(y, f"{name}.branch.3", dilation=1 if kind == "plain" else kind), 4

    return p.prelu(branch(p, x, f"{name}.branch", middle) + x, f"{name}.act", 1)


def down(p: Plain, x, name):
    pooled, where = F.max_pool2d(x, 2, return_indices=True)
    main = p.norm(p.conv(pooled, f"{name}.main.0"), f"{name}.main.1")
    side = branch(p, x, f"{name}.branch", lambda y: (p.conv(y, f"{name}.branch.3", stride=2), 4))
    return p.prelu(main + side, f"{name}.act", 1), where


def up(p: Plain, x, name, where):
    main = F.max_unpool2d(p.norm(p.conv(x, f"{name}.main.0"), f"{name}.main.1"), where, 2)
    side = branch(p, x, f"{name}.branch", lambda y: (p.double_size(y, f"{name}.branch.3"), 4))
    return p.prelu(main + side, f"{name}.act", 1)


def enet(p: Plain, x):
    x = torch.cat([p.conv(x, "initial.conv", stride=2), F.max_pool2d(x, 2)], 1)
    x = p.prelu(p.norm(x, "initial.act.0"), "initial.act.1", 1)
    x, where1 = down(p, x, "down1")
    for i in range(4):
        x = bottleneck(p, x, f"stage1.{i}", "plain")
    x, where2 = down(p, x, "down2")
    for stage in ("stage2", "stage3"):
        for i, kind in enumerate(RUN):
            x = bottleneck(p, x, f"{stage}.{i}", kind)
    x = up(p, x, "up4", where2)
    for i in range(2):
        x = bottleneck(p, x, f"stage4.{i}", "plain")
    x = bottleneck(p, up(p, x, "up5", where1), "stage5", "plain")
    return p.double_size(x, "head")


@pytest.mark.parametrize("channels", [1, 3])
def test_network_is_the_one_written_down(channels):
    network = randomise(ENet(2, channels, 3))
    x = image(2, channels, 136, 144)  # maps wider than the widest dilation
    torch.testing.assert_close(network(x), enet(Plain(network, 1e-5), x), rtol=1e-9, atol=1e-9)


def test_every_block_takes_part():
    network = ENet(2, 1, 2)
    network(torch.randn(2, 1, 32, 32)).square().sum().backward()
    assert [name for name, value in network.named_parameters() if value.grad is None] == []


def tied(kind: str) -> torch.Tensor:
    x = torch.randn(2, 3, 8, 12, generator=torch.Generator().manual_seed(0))
    if kind == "zeros":
        return torch.zeros_like(x)
    if kind == "rectified":
        return x.clamp(min=0)
    return x.round() if kind == "rounded" else x


@pytest.mark.parametrize("kind", ["distinct", "rounded", "rectified", "zeros"])
def test_pooling_and_unpooling_are_those_of_pytorch_also_with_ties(kind):
    ours, theirs = tied(kind).requires_grad_(), tied(kind).requires_grad_()
    value, which = _max_pool(ours)
    wanted, where = nn.MaxPool2d(2, return_indices=True)(theirs)
    assert torch.equal(value, wanted)
    factor = torch.randn(value.shape, generator=torch.Generator().manual_seed(1))
    out, wanted_out = _max_unpool(value * factor, which), nn.MaxUnpool2d(2)(wanted * factor, where)
    assert torch.equal(out, wanted_out)
    pull = torch.randn(out.shape, generator=torch.Generator().manual_seed(2))
    (out * pull).sum().backward()
    (wanted_out * pull).sum().backward()
    assert torch.equal(ours.grad, theirs.grad)


@pytest.mark.parametrize("kind", ["distinct", "rounded", "rectified", "zeros"])
def test_an_exported_network_pools_alike_also_with_ties(kind):
    x = tied(kind)
    value, where = nn.MaxPool2d(2, return_indices=True)(x)
    found, places = _max_pool_with_places(x)
    assert torch.equal(found, value)
    factor = torch.randn(value.shape, generator=torch.Generator().manual_seed(1))
    assert torch.equal(_doubled(value * factor) * places, nn.MaxUnpool2d(2)(value * factor, where))


def test_the_exported_form_is_used_in_an_export_alone_and_gives_the_same_logits():
    network = ENet(2, 1, 2).eval()
    x = torch.randn(2, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    # flat regions tie in every block
    x[..., :16] = 0.25
    program = torch.export.export(network, (x,))
    pools = [node for node in program.graph.nodes if "max_pool2d" in str(node.target)]
    # of the first stage, and two in each of the two that keep the places
    assert len(pools) == 5
    with torch.no_grad():
        wanted = network(x)
        assert torch.equal(program.module()(x), wanted)
        assert torch.equal(torch.jit.script(network)(x), wanted)


def test_the_first_of_equal_pixels_is_taken():
    value, which = _max_pool(torch.tensor([[[[1.0, 7.0], [7.0, 7.0]]]]))
    assert (value.item(), which.item()) == (7.0, 1)


def test_dropout_is_by_channel_at_the_end_of_each_branch():
    network = ENet(2, 1, 2, dropout=0.25)
    drops = [m for m in network.modules() if isinstance(m, nn.Dropout2d)]
    assert len(drops) == 27
    assert {m.p for m in drops} == {0.25}
    assert isinstance(network.stage1[0].branch[-1], nn.Dropout2d)
