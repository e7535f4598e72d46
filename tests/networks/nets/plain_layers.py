# SPDX-License-Identifier: Apache-2.0
"""The arithmetic of layers in float64, on parameters found by name, to write networks down a second time."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F


def randomise(network: nn.Module, seed: int = 0) -> nn.Module:
    """Draw every parameter and buffer, so that no order, epsilon or bias can hide behind zeros and ones."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in network.state_dict().items():
            if not value.is_floating_point():
                continue
            if name.endswith("running_var"):
                value.copy_(0.5 + torch.rand(value.shape, generator=generator))
            elif value.ndim < 2:
                value.copy_(0.5 * torch.randn(value.shape, generator=generator) + 0.5)
            else:
                # the scale keeps values near 1 through many layers
                fan_in = value[0].numel()
                value.copy_(torch.randn(value.shape, generator=generator) * fan_in**-0.5)
    return network.double().eval()


def image(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Plain:
    """Layers of a network by the names of their parameters."""

    def __init__(self, network: nn.Module, eps: float) -> None:
        self.values = network.state_dict()
        self.eps = eps

    def conv(self, x, name, stride=1, dilation=1, groups=1):
        """A convolution whose padding keeps the size at stride 1; the bias is there or not."""
        weight = self.values[f"{name}.weight"]
        padding = [dilation * (k - 1) // 2 if k > 1 else 0 for k in weight.shape[2:]]
        spread = [dilation if k > 1 else 1 for k in weight.shape[2:]]
        return F.conv2d(x, weight, self.values.get(f"{name}.bias"), stride, padding, spread, groups)

    def norm(self, x, name):
        mean, var, weight, bias = (
            self.values[f"{name}.{k}"][:, None, None] for k in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / torch.sqrt(var + self.eps) * weight + bias

    def prelu(self, x, name, slopes):
        slope = self.values[f"{name}.weight"]
        assert len(slope) == slopes
        return torch.where(x > 0, x, x * slope[:, None, None])

    def double_size(self, x, name):
        """A 2x2 transposed convolution of stride 2: each pixel becomes four, and none overlap."""
        weight = self.values[f"{name}.weight"]
        n, _, h, w = x.shape
        spread = torch.einsum("nihw,ioab->nohawb", x, weight).reshape(n, weight.shape[1], 2 * h, 2 * w)
        bias = self.values.get(f"{name}.bias")
        return spread if bias is None else spread + bias[:, None, None]
