# SPDX-License-Identifier: Apache-2.0
"""ESPNet: pyramids of dilated convolutions on few channels, with the image concatenated again at each scale."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn

from akd_monai.networks.layers import VectorizedBatchNorm2d, VectorizedPReLU
from akd_monai.networks.nets._checks import check_arguments, check_input
from akd_monai.networks.nets._width import scaled_widths

__all__ = ["ESPNet"]

_BRANCHES = 5  # of dilations 1, 2, 4, 8, 16
_EPS = 1e-3


class ESPNet(nn.Module):
    r"""ESPNet with a light decoder for 2D images (p = 2, q = 3); each side must be a multiple of 8.

    A block reduces its input to a fifth of its width, convolves that with dilations 1, 2, 4, 8, 16 to
    :math:`d_1, \dots, d_{16}`, and joins running sums that start at the second, which avoids gridding artefacts:

    .. math:: [d_1,\; d_2,\; d_2 + d_4,\; d_2 + d_4 + d_8,\; d_2 + d_4 + d_8 + d_{16}]

    182,719 parameters for one input channel and two classes. No convolution has a bias. The decoder has as many channels as
    there are classes, but its pyramid block at least five, one for each dilation.

    Layers: ``stage1`` (low) at 1/2 of the input size, 16 channels; ``merge3`` (high), the end of the encoder, at 1/8, 256
    channels; ``merge1`` at 1/2 and ``merge2`` at 1/4 are the skip connections.

    Args:
        spatial_dims: 2.
        in_channels: channels of the image.
        out_channels: classes.
        dropout: probability of channel dropout after each pyramid block.
        width_multiplier: scales all channels but those of image and classes, from 0.125 to 4; each is rounded to a multiple
            of 4 and is at least 4.

    Raises:
        InputError: for arguments out of range, and in ``forward`` for an image of the wrong shape.

    Example:
        >>> ESPNet(2, 1, 2)(torch.zeros(1, 1, 32, 40)).shape
        torch.Size([1, 2, 32, 40])

    Source: Mehta et al., 2018, arXiv:1803.06815, sections 3 and 4.
    """

    layers: ClassVar[dict[str, str]] = {"low": "stage1", "high": "merge3"}
    stride: ClassVar[int] = 8

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        dropout: float = 0.0,
        width_multiplier: float = 1.0,
    ) -> None:
        super().__init__()
        w16, w64, w128 = scaled_widths("ESPNet", (16, 64, 128), width_multiplier)
        check_arguments("ESPNet", spatial_dims, in_channels, out_channels, [dropout])
        self.in_channels = in_channels
        width = max(out_channels, _BRANCHES)
        self.shrink = nn.AvgPool2d(3, stride=2, padding=1)
        self.stage1 = nn.Sequential(_conv(in_channels, w16, 3, stride=2), *_bn_act(w16))
        self.merge1 = nn.Sequential(*_bn_act(w16 + in_channels))
        self.down2 = _Pyramid(w16 + in_channels, w64, dropout, stride=2)
        self.stage2 = nn.Sequential(*(_Pyramid(w64, w64, dropout, residual=True) for _ in range(2)))
        self.merge2 = nn.Sequential(*_bn_act(2 * w64 + in_channels))
        self.down3 = _Pyramid(2 * w64 + in_channels, w128, dropout, stride=2)
        self.stage3 = nn.Sequential(*(_Pyramid(w128, w128, dropout, residual=True) for _ in range(3)))
        self.merge3 = nn.Sequential(*_bn_act(2 * w128))
        self.up4 = nn.Sequential(
            _conv(2 * w128, out_channels, 1),
            VectorizedBatchNorm2d(out_channels, eps=_EPS),
            _deconv(out_channels, out_channels),
        )
        self.skip4 = _conv(2 * w64 + in_channels, out_channels, 1)
        self.stage4 = nn.Sequential(*_bn_act(2 * out_channels), _Pyramid(2 * out_channels, width, dropout))
        self.up5 = nn.Sequential(_deconv(width, out_channels), *_bn_act(out_channels))
        self.stage5 = nn.Sequential(_conv(out_channels + w16 + in_channels, out_channels, 3), *_bn_act(out_channels))
        self.head = _deconv(out_channels, out_channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits ``[B, out_channels, H, W]`` for an image ``[B, in_channels, H, W]``."""
        check_input(x, "ESPNet", 2, self.in_channels, 8)
        half = self.shrink(x)
        quarter = self.shrink(half)
        x1 = self.merge1(torch.cat([self.stage1(x), half], 1))
        x2 = self.down2(x1)
        x2 = self.merge2(torch.cat([self.stage2(x2), x2, quarter], 1))
        x3 = self.down3(x2)
        x3 = self.merge3(torch.cat([x3, self.stage3(x3)], 1))
        x4 = self.stage4(torch.cat([self.skip4(x2), self.up4(x3)], 1))
        x5 = self.stage5(torch.cat([self.up5(x4), x1], 1))
        logits: torch.Tensor = self.head(x5)
        return logits


def _conv(inputs: int, outputs: int, size: int, stride: int = 1, dilation: int = 1) -> nn.Conv2d:
    padding = dilation * (size // 2)
    return nn.Conv2d(inputs, outputs, size, stride=stride, padding=padding, dilation=dilation, bias=False)


def _deconv(inputs: int, outputs: int) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(inputs, outputs, 2, stride=2, bias=False)


def _bn_act(channels: int) -> list[nn.Module]:
    return [VectorizedBatchNorm2d(channels, eps=_EPS), VectorizedPReLU(channels)]


class _Pyramid(nn.Module):
    """Reduce, convolve at five dilations, sum, concatenate; a block with a stride is never residual."""

    def __init__(self, inputs: int, outputs: int, dropout: float, stride: int = 1, residual: bool = False) -> None:
        super().__init__()
        narrow = outputs // _BRANCHES
        wide = outputs - narrow * (_BRANCHES - 1)
        self.reduce = _conv(inputs, narrow, 1 if stride == 1 else 3, stride=stride)
        self.d1 = _conv(narrow, wide, 3, dilation=1)
        self.d2 = _conv(narrow, narrow, 3, dilation=2)
        self.d4 = _conv(narrow, narrow, 3, dilation=4)
        self.d8 = _conv(narrow, narrow, 3, dilation=8)
        self.d16 = _conv(narrow, narrow, 3, dilation=16)
        self.residual = residual
        self.act = nn.Sequential(*_bn_act(outputs), nn.Dropout2d(dropout))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        narrow = self.reduce(x)
        sum2 = self.d2(narrow)
        sum3 = sum2 + self.d4(narrow)
        sum4 = sum3 + self.d8(narrow)
        sum5 = sum4 + self.d16(narrow)
        joined = torch.cat([self.d1(narrow), sum2, sum3, sum4, sum5], 1)
        if self.residual:
            joined = joined + x
        out: torch.Tensor = self.act(joined)
        return out
