# SPDX-License-Identifier: Apache-2.0
"""UNet++: a U-Net with nested, dense skip connections."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from monai.networks.layers.factories import Conv, Norm, Pool
from torch import nn
from torch.nn import functional as F

from akd_monai.errors import InputError
from akd_monai.networks.nets._checks import check_arguments, check_input

__all__ = ["UNetPlusPlus"]


class UNetPlusPlus(nn.Module):
    r"""UNet++ without deep supervision, in 2D or 3D; each side must be a multiple of 16.

    With :math:`H` two 3x3 convolutions, each followed by batch normalisation and ReLU, and :math:`U` linear upsampling by
    two with aligned corners,

    .. math:: X_{i,0} = H(\mathrm{pool}(X_{i-1,0})), \quad X_{i,j} = H([X_{i,0}, \dots, X_{i,j-1}, U(X_{i+1,j-1})])

    and the logits are a 1x1 convolution of :math:`X_{0,4}`. 36,628,546 parameters for one input channel and two
    classes.

    Layers: ``node_1_0`` (low) at 1/2 of the input size, ``node_3_0`` (high) at 1/8, ``node_4_0`` at 1/16,
    ``node_0_4`` at full size; ``node_i_j`` is the output of node :math:`X_{i,j}`.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the image.
        out_channels: classes.
        features: widths of the five levels.
        dropout: probability of channel dropout after each node.

    Raises:
        InputError: for arguments out of range, and in ``forward`` for an image of the wrong shape.

    Example:
        >>> UNetPlusPlus(2, 1, 2, features=(4, 8, 8, 8, 8))(torch.zeros(1, 1, 32, 32)).shape
        torch.Size([1, 2, 32, 32])

    Source: Zhou et al., 2018, arXiv:1807.10165, section 3.
    """

    layers: ClassVar[dict[str, str]] = {"low": "node_1_0", "high": "node_3_0"}
    stride: ClassVar[int] = 16

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        features: Sequence[int] = (64, 128, 256, 512, 1024),
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_arguments("UNetPlusPlus", spatial_dims, in_channels, out_channels, [dropout], in_3d=True)
        _check_features(features)
        self.in_channels = in_channels
        self.spatial_dims = spatial_dims
        self.mode = "bilinear" if spatial_dims == 2 else "trilinear"
        w0, w1, w2, w3, w4 = features
        self.pool = Pool[Pool.MAX, spatial_dims](kernel_size=2)

        def node(inputs: int, width: int) -> nn.Sequential:
            return _node(spatial_dims, inputs, width, dropout)

        self.node_0_0 = node(in_channels, w0)
        self.node_1_0 = node(w0, w1)
        self.node_2_0 = node(w1, w2)
        self.node_3_0 = node(w2, w3)
        self.node_4_0 = node(w3, w4)
        self.node_0_1 = node(w0 + w1, w0)
        self.node_1_1 = node(w1 + w2, w1)
        self.node_2_1 = node(w2 + w3, w2)
        self.node_3_1 = node(w3 + w4, w3)
        self.node_0_2 = node(2 * w0 + w1, w0)
        self.node_1_2 = node(2 * w1 + w2, w1)
        self.node_2_2 = node(2 * w2 + w3, w2)
        self.node_0_3 = node(3 * w0 + w1, w0)
        self.node_1_3 = node(3 * w1 + w2, w1)
        self.node_0_4 = node(4 * w0 + w1, w0)
        self.head = Conv[Conv.CONV, spatial_dims](w0, out_channels, kernel_size=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits ``[B, out_channels, *spatial]`` for an image ``[B, in_channels, *spatial]``."""
        check_input(x, "UNetPlusPlus", self.spatial_dims, self.in_channels, 16)
        x00 = self.node_0_0(x)
        x10 = self.node_1_0(self.pool(x00))
        x20 = self.node_2_0(self.pool(x10))
        x30 = self.node_3_0(self.pool(x20))
        x40 = self.node_4_0(self.pool(x30))
        x01 = self.node_0_1(torch.cat([x00, self._up(x10)], 1))
        x11 = self.node_1_1(torch.cat([x10, self._up(x20)], 1))
        x21 = self.node_2_1(torch.cat([x20, self._up(x30)], 1))
        x31 = self.node_3_1(torch.cat([x30, self._up(x40)], 1))
        x02 = self.node_0_2(torch.cat([x00, x01, self._up(x11)], 1))
        x12 = self.node_1_2(torch.cat([x10, x11, self._up(x21)], 1))
        x22 = self.node_2_2(torch.cat([x20, x21, self._up(x31)], 1))
        x03 = self.node_0_3(torch.cat([x00, x01, x02, self._up(x12)], 1))
        x13 = self.node_1_3(torch.cat([x10, x11, x12, self._up(x22)], 1))
        x04 = self.node_0_4(torch.cat([x00, x01, x02, x03, self._up(x13)], 1))
        logits: torch.Tensor = self.head(x04)
        return logits

    def _up(self, x: torch.Tensor) -> torch.Tensor:
        return F.interpolate(x, scale_factor=2.0, mode=self.mode, align_corners=True)


def _check_features(features: Sequence[int]) -> None:
    if len(features) != 5 or not all(isinstance(width, int) and width > 0 for width in features):
        raise InputError(f"features must be five positive integers, the width of each level, got {features!r}.")


def _node(spatial_dims: int, inputs: int, width: int, dropout: float) -> nn.Sequential:
    conv = Conv[Conv.CONV, spatial_dims]
    norm = Norm[Norm.BATCH, spatial_dims]
    layers: list[nn.Module] = []
    for channels in (inputs, width):
        layers += [conv(channels, width, kernel_size=3, padding=1), norm(width), nn.ReLU()]
    layers.append(nn.Dropout2d(dropout) if spatial_dims == 2 else nn.Dropout3d(dropout))
    return nn.Sequential(*layers)
