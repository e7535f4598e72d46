# SPDX-License-Identifier: Apache-2.0
"""ENet: early downsampling, bottleneck blocks, and a small decoder that reuses the pooling indices."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional as F

from akd_monai.networks.layers import VectorizedBatchNorm2d, VectorizedPReLU
from akd_monai.networks.nets._checks import check_arguments, check_input
from akd_monai.networks.nets._width import scaled_widths

__all__ = ["ENet"]


class ENet(nn.Module):
    """ENet for 2D images; each side must be a multiple of 8.

    353,545 parameters for one input channel and two classes; all blocks are used. Convolutions have no bias, each PReLU
    has one shared slope.

    Layers: ``initial`` (low) at 1/2 of the input size, 16 channels; ``stage3`` (high), the end of the third stage, at 1/8,
    128 channels; ``stage5``, the last decoder stage, at 1/2, 16 channels.

    Args:
        spatial_dims: 2.
        in_channels: channels of the image, fewer than 16.
        out_channels: classes.
        dropout: probability of channel dropout in every block.
        width_multiplier: scales all channels but those of image and classes, from 0.125 to 4; each is rounded to a multiple
            of 4 and is at least 4.

    Raises:
        InputError: for arguments out of range, and in ``forward`` for an image of the wrong shape.

    Example:
        >>> ENet(2, 1, 2)(torch.zeros(1, 1, 32, 40)).shape
        torch.Size([1, 2, 32, 40])

    Source: Paszke et al., 2016, arXiv:1606.02147, section 3 and table 1.
    """

    layers: ClassVar[dict[str, str]] = {"low": "initial", "high": "stage3"}
    stride: ClassVar[int] = 8

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        dropout: float = 0.1,
        width_multiplier: float = 1.0,
    ) -> None:
        super().__init__()
        w4, w16, w32, w64, w128 = scaled_widths("ENet", (4, 16, 32, 64, 128), width_multiplier)
        check_arguments("ENet", spatial_dims, in_channels, out_channels, [dropout], stem=w16)
        self.in_channels = in_channels
        self.initial = _Initial(in_channels, w16)
        self.down1 = _Down(w16, w16, w64, dropout)
        self.stage1 = nn.Sequential(*(_Bottleneck(w64, w16, dropout) for _ in range(4)))
        self.down2 = _Down(w64, w32, w128, dropout)
        self.stage2 = _context_stage(w128, w32, dropout)
        self.stage3 = _context_stage(w128, w32, dropout)
        self.up4 = _Up(w128, w16, w64, dropout)
        self.stage4 = nn.Sequential(*(_Bottleneck(w64, w16, dropout) for _ in range(2)))
        self.up5 = _Up(w64, w4, w16, dropout)
        self.stage5 = _Bottleneck(w16, w4, dropout)
        self.head = nn.ConvTranspose2d(w16, out_channels, kernel_size=2, stride=2, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits ``[B, out_channels, H, W]`` for an image ``[B, in_channels, H, W]``."""
        check_input(x, "ENet", 2, self.in_channels, 8)
        x, where1 = self.down1(self.initial(x))
        x, where2 = self.down2(self.stage1(x))
        x = self.stage3(self.stage2(x))
        x = self.stage4(self.up4(x, where2))
        x = self.stage5(self.up5(x, where1))
        logits: torch.Tensor = self.head(x)
        return logits


def _max_pool(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Pool 2x2 blocks; return the maxima and which of the four pixels each was, ``0..3`` row by row.

    Equal to ``MaxPool2d(2, return_indices=True)``, the first of equal pixels included, but it can be traced and exported.

    Example:
        >>> value, which = _max_pool(torch.tensor([[[[1.0, 5.0], [3.0, 2.0]]]]))
        >>> value.item(), which.item()
        (5.0, 1)
    """
    if not torch.jit.is_scripting():  # noqa: SIM102 - TorchScript would compile the second condition too
        if torch.compiler.is_exporting():
            return _max_pool_with_places(x)
    n, c, h, w = x.shape
    blocks = F.pixel_unshuffle(x, 2).view(n, c, 4, h // 2, w // 2)
    value, which = blocks.max(dim=2)
    return value, which


def _max_unpool(x: torch.Tensor, which: torch.Tensor) -> torch.Tensor:
    """Put each value back where :func:`_max_pool` found its maximum, zeros elsewhere.

    Example:
        >>> _max_unpool(torch.tensor([[[[5.0]]]]), torch.tensor([[[[1]]]])).tolist()
        [[[[0.0, 5.0], [0.0, 0.0]]]]
    """
    if not torch.jit.is_scripting():  # noqa: SIM102 - TorchScript would compile the second condition too
        if torch.compiler.is_exporting():
            return _doubled(x) * which
    n, c, h, w = x.shape
    places = torch.stack([which == 0, which == 1, which == 2, which == 3], dim=2).to(x.dtype)
    return F.pixel_shuffle((places * x.unsqueeze(2)).reshape(n, 4 * c, h, w), 2)


def _max_pool_with_places(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Pool 2x2 blocks as :func:`_max_pool`; return the maxima, and at the size of ``x`` 1 where each was, 0 elsewhere.

    An exported network pools so: engines keep its values in their own order, which a split of axes would undo.

    Example:
        >>> value, places = _max_pool_with_places(torch.tensor([[[[1.0, 5.0], [5.0, 2.0]]]]))
        >>> value.item(), places.tolist()
        (5.0, [[[[0.0, 1.0], [0.0, 0.0]]]])
    """
    h, w = x.shape[2:]
    value = F.max_pool2d(x, 2)
    # the first of equal pixels has the highest rank
    rank = torch.tensor([[4.0, 3.0], [2.0, 1.0]], dtype=x.dtype, device=x.device).repeat(h // 2, w // 2)
    ranked = (x == _doubled(value)).to(x.dtype) * rank
    places = (ranked == _doubled(F.max_pool2d(ranked, 2))).to(x.dtype)
    return value, places


def _doubled(x: torch.Tensor) -> torch.Tensor:
    """Repeat each pixel in a 2x2 block."""
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


def _bn_act(channels: int) -> list[nn.Module]:
    return [VectorizedBatchNorm2d(channels), VectorizedPReLU()]


def _branch(inputs: int, middle: list[nn.Module], width: int, outputs: int, dropout: float) -> nn.Sequential:
    """1x1 reduction, the middle, 1x1 expansion, dropout."""
    return nn.Sequential(
        nn.Conv2d(inputs, width, 1, bias=False),
        *_bn_act(width),
        *middle,
        *_bn_act(width),
        nn.Conv2d(width, outputs, 1, bias=False),
        VectorizedBatchNorm2d(outputs),
        nn.Dropout2d(dropout),
    )


class _Initial(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs - inputs, 3, stride=2, padding=1, bias=False)
        self.act = nn.Sequential(*_bn_act(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.act(torch.cat([self.conv(x), F.max_pool2d(x, 2)], 1))
        return out


class _Bottleneck(nn.Module):
    def __init__(self, channels: int, width: int, dropout: float, dilation: int = 1, asymmetric: bool = False) -> None:
        super().__init__()
        if asymmetric:
            middle: list[nn.Module] = [
                nn.Conv2d(width, width, (5, 1), padding=(2, 0), bias=False),
                nn.Conv2d(width, width, (1, 5), padding=(0, 2), bias=False),
            ]
        else:
            middle = [nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation, bias=False)]
        self.branch = _branch(channels, middle, width, channels, dropout)
        self.act = VectorizedPReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.act(self.branch(x) + x)
        return out


class _Down(nn.Module):
    def __init__(self, inputs: int, width: int, outputs: int, dropout: float) -> None:
        super().__init__()
        self.main = nn.Sequential(nn.Conv2d(inputs, outputs, 1, bias=False), VectorizedBatchNorm2d(outputs))
        middle: list[nn.Module] = [nn.Conv2d(width, width, 2, stride=2, bias=False)]
        self.branch = _branch(inputs, middle, width, outputs, dropout)
        self.act = VectorizedPReLU()

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        pooled, which = _max_pool(x)
        return self.act(self.main(pooled) + self.branch(x)), which


class _Up(nn.Module):
    def __init__(self, inputs: int, width: int, outputs: int, dropout: float) -> None:
        super().__init__()
        self.main = nn.Sequential(nn.Conv2d(inputs, outputs, 1, bias=False), VectorizedBatchNorm2d(outputs))
        middle: list[nn.Module] = [nn.ConvTranspose2d(width, width, 2, stride=2, bias=False)]
        self.branch = _branch(inputs, middle, width, outputs, dropout)
        self.act = VectorizedPReLU()

    def forward(self, x: torch.Tensor, which: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.act(_max_unpool(self.main(x), which) + self.branch(x))
        return out


def _context_stage(channels: int, width: int, dropout: float) -> nn.Sequential:
    """Plain, dilated by 2, asymmetric, dilated by 4, plain, dilated by 8, asymmetric, dilated by 16."""
    blocks = []
    for dilation in (2, 4, 8, 16):
        if dilation in (2, 8):
            blocks.append(_Bottleneck(channels, width, dropout))
        else:
            blocks.append(_Bottleneck(channels, width, dropout, asymmetric=True))
        blocks.append(_Bottleneck(channels, width, dropout, dilation=dilation))
    return nn.Sequential(*blocks)
