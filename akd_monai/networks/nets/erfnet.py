# SPDX-License-Identifier: Apache-2.0
"""ERFNet: residual blocks of factorized, one-dimensional convolutions."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional as F

from akd_monai.networks.layers import VectorizedBatchNorm2d
from akd_monai.networks.nets._checks import check_arguments, check_input
from akd_monai.networks.nets._width import scaled_widths

__all__ = ["ERFNet"]

_EPS = 1e-3
_REFERENCE_DROPOUT = (0.03, 0.3)


class ERFNet(nn.Module):
    """ERFNet for 2D images; each side must be a multiple of 8.

    2,062,872 parameters for one input channel and two classes, all of them used: the encoder's own classifier, which
    only serves its pre-training, is omitted.

    Layers: ``down1`` (low) at 1/2 of the input size, 16 channels; ``stage3`` (high), the end of the encoder, at 1/8, 128
    channels; ``stage5``, the last decoder stage, at 1/2, 16 channels.

    Args:
        spatial_dims: 2.
        in_channels: channels of the image, fewer than 16.
        out_channels: classes.
        dropout: probability of channel dropout in all blocks of the encoder; None for the reference's 0.03 at 1/4 and 0.3
            at 1/8 of the input size. The decoder has none.
        width_multiplier: scales all channels but those of image and classes, from 0.125 to 4; each is rounded to a multiple
            of 4 and is at least 4.

    Raises:
        InputError: for arguments out of range, and in ``forward`` for an image of the wrong shape.

    Example:
        >>> ERFNet(2, 1, 2)(torch.zeros(1, 1, 32, 40)).shape
        torch.Size([1, 2, 32, 40])

    Source: Romera et al., 2018, IEEE Transactions on Intelligent Transportation Systems 19(1), section III and table I.
    """

    layers: ClassVar[dict[str, str]] = {"low": "down1", "high": "stage3"}
    stride: ClassVar[int] = 8

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        dropout: float | None = None,
        width_multiplier: float = 1.0,
    ) -> None:
        super().__init__()
        w16, w64, w128 = scaled_widths("ERFNet", (16, 64, 128), width_multiplier)
        early, late = _REFERENCE_DROPOUT if dropout is None else (dropout, dropout)
        check_arguments("ERFNet", spatial_dims, in_channels, out_channels, [early, late], stem=w16)
        self.in_channels = in_channels
        self.down1 = _Down(in_channels, w16)
        self.down2 = _Down(w16, w64)
        self.stage2 = nn.Sequential(*(_Residual(w64, early) for _ in range(5)))
        self.down3 = _Down(w64, w128)
        self.stage3 = nn.Sequential(*(_Residual(w128, late, dilation) for _ in range(2) for dilation in (2, 4, 8, 16)))
        self.up4 = _up(w128, w64)
        self.stage4 = nn.Sequential(_Residual(w64, 0.0), _Residual(w64, 0.0))
        self.up5 = _up(w64, w16)
        self.stage5 = nn.Sequential(_Residual(w16, 0.0), _Residual(w16, 0.0))
        self.head = nn.ConvTranspose2d(w16, out_channels, 2, stride=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits ``[B, out_channels, H, W]`` for an image ``[B, in_channels, H, W]``."""
        check_input(x, "ERFNet", 2, self.in_channels, 8)
        x = self.stage2(self.down2(self.down1(x)))
        x = self.stage3(self.down3(x))
        x = self.stage4(self.up4(x))
        x = self.stage5(self.up5(x))
        logits: torch.Tensor = self.head(x)
        return logits


class _Down(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs - inputs, 3, stride=2, padding=1)
        self.norm = VectorizedBatchNorm2d(outputs, eps=_EPS)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(self.norm(torch.cat([self.conv(x), F.max_pool2d(x, 2)], 1)))


def _up(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.ConvTranspose2d(inputs, outputs, 3, stride=2, padding=1, output_padding=1),
        VectorizedBatchNorm2d(outputs, eps=_EPS),
        nn.ReLU(),
    )


class _Residual(nn.Module):
    """Two pairs of a vertical and a horizontal convolution, the second pair dilated, and an identity shortcut."""

    def __init__(self, channels: int, dropout: float, dilation: int = 1) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for d in (1, dilation):
            layers += [
                nn.Conv2d(channels, channels, (3, 1), padding=(d, 0), dilation=(d, 1)),
                nn.ReLU(),
                nn.Conv2d(channels, channels, (1, 3), padding=(0, d), dilation=(1, d)),
                VectorizedBatchNorm2d(channels, eps=_EPS),
                nn.ReLU(),
            ]
        layers[-1] = nn.Dropout2d(dropout)
        self.branch = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(self.branch(x) + x)
