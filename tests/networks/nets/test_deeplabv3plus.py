# SPDX-License-Identifier: Apache-2.0
"""DeepLabV3+ against the same network written down a second time, in each of its forms."""

from __future__ import annotations

import pytest
import torch
from networks.nets.plain_layers import Plain, image, randomise
from torch import nn
from torch.nn import functional as F

from akd_monai.errors import InputError
from akd_monai.networks.nets import DeepLabV3Plus
from akd_monai.networks.nets.deeplabv3plus import _ASPP, _Block


def sep(p: Plain, x, name, stride=1, dilation=1):
    x = p.norm(p.conv(x, f"{name}.0", stride, dilation, groups=x.shape[1]), f"{name}.1")
    return p.conv(x, f"{name}.2")


def bn_relu(p: Plain, x, name):
    return p.norm(x, name).clamp(min=0)


def conv_bn_relu(p: Plain, x, name, dilation=1):
    return bn_relu(p, p.conv(x, f"{name}.0", dilation=dilation), f"{name}.1")


def block(p: Plain, x, name, stride=1, dilation=1, relu_first=True, rectified=False, bare=None):
    """Three times ReLU (the first only if asked for), separable convolution, norm; ``bare`` has no norm."""
    y, at = x, 0
    for i in range(3):
        if i or relu_first:
            y, at = y.clamp(min=0), at + 1
        last = i == 2 and stride > 1
        y, at = sep(p, y, f"{name}.body.{at}", stride if last else 1, 1 if last else dilation), at + 1
        if i != bare:
            y, at = p.norm(y, f"{name}.body.{at}"), at + 1
    shortcut = x.clamp(min=0) if rectified and relu_first else x
    if f"{name}.shortcut.0.weight" in p.values:
        shortcut = p.norm(p.conv(shortcut, f"{name}.shortcut.0", stride), f"{name}.shortcut.1")
    return y + shortcut


def aspp(p: Plain, x, name, rates):
    parts = [conv_bn_relu(p, x, f"{name}.local")]
    parts += [conv_bn_relu(p, x, f"{name}.{n}", r) for n, r in zip(("near", "middle", "far"), rates, strict=True)]
    mean = conv_bn_relu(p, x.mean((2, 3), keepdim=True), f"{name}.pooled.1")
    return conv_bn_relu(p, torch.cat([*parts, mean.expand_as(parts[0])], 1), f"{name}.project.0")


def deeplab(p: Plain, image, stride=8, canonical=False, rectified=False):
    def resize(x, like):
        return F.interpolate(x, like.shape[2:], mode="bilinear", align_corners=True)

    rate = 16 // stride
    x = bn_relu(p, p.conv(image, "stem1.0", stride=2), "stem1.1")
    x = bn_relu(p, p.conv(x, "stem2.0"), "stem2.1")
    skip = block(p, x, "entry1.0", stride=2, relu_first=False).clamp(min=0)
    x = block(p, skip, "entry2", stride=2, relu_first=False)
    x = block(p, x, "entry3", stride=stride // 8, rectified=rectified)
    for i in range(16):
        x = block(p, x, f"middle.{i}", dilation=rate, rectified=rectified)
    x = block(p, x, "exit.0", dilation=rate, rectified=rectified, bare=None if canonical else 1).clamp(min=0)
    for i in (2, 5, 8):
        x = bn_relu(p, sep(p, x, f"exit.{i}", dilation=2 * rate), f"exit.{i + 1}")
    x = resize(aspp(p, x, "aspp", (6 * rate, 12 * rate, 18 * rate)), skip)
    x = torch.cat([x, conv_bn_relu(p, skip, "low_level")], 1)
    x = conv_bn_relu(p, conv_bn_relu(p, x, "decoder.0"), "decoder.2")
    return resize(p.conv(x, "head.1"), image)


def network(**form) -> nn.Module:
    # in float32, since 55 million numbers are enough
    built = randomise(DeepLabV3Plus(2, 1, 2, **form)).float()
    with torch.no_grad():
        for block_ in [m for m in built.modules() if isinstance(m, _Block)]:
            # keeps sixteen residual sums near 1
            for norm in [m for m in block_.body if isinstance(m, nn.BatchNorm2d)][-1:]:
                norm.weight.mul_(0.3)
    return built


FORMS = [{}, {"rectified_shortcut": True}, {"canonical": True, "output_stride": 16}, {"width": 0.25}]


@pytest.mark.parametrize("form", FORMS, ids=["default", "rectified", "canonical at 16", "narrow"])
def test_network_is_the_one_written_down(form):
    net = network(**form)
    x = image(1, 1, 61, 50).float()
    with torch.no_grad():
        wanted = deeplab(
            Plain(net, 1e-5),
            x,
            form.get("output_stride", 8),
            form.get("canonical", False),
            form.get("rectified_shortcut", False),
        )
        found = net(x)
    assert found.shape == (1, 2, 61, 50)
    scale = float(wanted.std())
    torch.testing.assert_close(found / scale, wanted / scale, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("rectified", [False, True])
@pytest.mark.parametrize("bare", [None, 1])
def test_block_is_the_one_written_down(rectified, bare):
    net = nn.ModuleDict({"b": _Block(6, (6, 8, 8), 1, 2, True, rectified, bare)})
    p, x = Plain(randomise(net), 1e-5), image(2, 6, 9, 7)
    wanted = block(p, x, "b", dilation=2, rectified=rectified, bare=bare)
    torch.testing.assert_close(net["b"](x), wanted, rtol=1e-10, atol=1e-10)


def test_pyramid_is_the_one_written_down_with_maps_wider_than_its_rates():
    net = nn.ModuleDict({"a": _ASPP(3, 8, [12, 24, 36], 0.5)})
    p, x = Plain(randomise(net), 1e-5), image(1, 3, 40, 39)
    torch.testing.assert_close(net["a"](x), aspp(p, x, "a", (12, 24, 36)), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("stride", "rates"), [(8, [12, 24, 36]), (16, [6, 12, 18])])
def test_rates_of_the_pyramid(stride, rates):
    with torch.device("meta"):
        pyramid = DeepLabV3Plus(2, 1, 2, output_stride=stride).aspp
    assert [m[0].dilation for m in (pyramid.near, pyramid.middle, pyramid.far)] == [(r, r) for r in rates]


def test_dropout_rates():
    with torch.device("meta"):
        nets = DeepLabV3Plus(2, 1, 2), DeepLabV3Plus(2, 1, 2, dropout=0.2)
    assert [[m.p for m in n.modules() if isinstance(m, nn.Dropout)] for n in nets] == [[0.5, 0.5, 0.1], [0.2] * 3]


def test_training_on_one_image_is_refused_with_the_cure():
    with torch.device("meta"):
        net, x = DeepLabV3Plus(2, 1, 2), torch.zeros(1, 1, 32, 32)
    with pytest.raises(
        InputError, match=r"cannot train on a batch of 1.* use a batch_size of 2 or more and drop_last=True"
    ):
        net(x)
    assert net.eval()(x).shape == (1, 2, 32, 32)


def test_a_stride_that_is_not_there():
    with pytest.raises(InputError, match="takes output_stride 8 or 16, got 32"):
        DeepLabV3Plus(2, 1, 2, output_stride=32)


def test_width_scales_the_channels_of_every_layer():
    """An eighth of 32, 64, 128, 256, 728, 1024, 1536, 2048 and 48, worked out by hand."""
    with torch.device("meta"):
        net = DeepLabV3Plus(2, 1, 2, width=0.125)
    norms = {name: m.num_features for name, m in net.named_modules() if isinstance(m, nn.BatchNorm2d)}
    wanted = {
        "stem1.1": 4,
        "stem2.1": 8,
        "low_level.1": 6,
        "decoder.0.1": 32,
        "decoder.2.1": 32,
        "aspp.project.0.1": 32,
    }
    wanted |= {"entry1.0.body.1": 16, "entry2.shortcut.1": 32, "entry3.shortcut.1": 91, "middle.15.body.8": 91}
    wanted |= {"exit.0.shortcut.1": 128, "exit.3": 192, "exit.6": 192, "exit.9": 256}
    assert {name: norms[name] for name in wanted} == wanted
    assert net.head[1].weight.shape == (2, 32, 1, 1)


@pytest.mark.parametrize("width", [0, -0.5, "half", float("nan")])
def test_a_width_that_is_no_factor(width):
    with pytest.raises(InputError, match=r"width must be a finite number above 0, got"):
        DeepLabV3Plus(2, 1, 2, width=width)
