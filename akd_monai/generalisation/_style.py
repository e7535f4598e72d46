# SPDX-License-Identifier: Apache-2.0
"""Networks that split an image into content and style, and put it together again, for 2D and 3D."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.networks.blocks import Convolution
from monai.networks.layers import Act
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["ContentStyleNetwork", "content_of"]

_EPSILON = 1e-5
_WIDTH = 32


def content_of(features: Tensor) -> Tensor:
    """Return features ``[B, C, *spatial]`` with mean 0 and variance 1 over space, which takes a first-order style away.

    Example:
        >>> content_of(torch.tensor([[[[1.0, 3.0]]]], dtype=torch.float64)).flatten().round(decimals=4).tolist()
        [-1.0, 1.0]
    """
    axes = tuple(range(2, features.dim()))
    variance, mean = torch.var_mean(features, axes, correction=0, keepdim=True)
    return (features - mean) * (variance + _EPSILON).rsqrt()


class ContentStyleNetwork(nn.Module):
    """Style encoder and decoder; the encoder of the content is the student.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of an image.
        content_channels: channels of the student's features.
        style_size: numbers of a style.
    """

    def __init__(self, spatial_dims: int, in_channels: int, content_channels: int, style_size: int) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            _convolution(spatial_dims, in_channels, _WIDTH // 2, strides=2),
            _convolution(spatial_dims, _WIDTH // 2, _WIDTH, strides=2),
        )
        self.to_style = nn.Linear(_WIDTH, style_size)
        self.to_scale = nn.Linear(style_size, 2 * _WIDTH)
        self.from_content = Convolution(spatial_dims, content_channels, _WIDTH, kernel_size=1, conv_only=True)
        self.coarse = _convolution(spatial_dims, _WIDTH, _WIDTH // 2)
        self.fine = Convolution(spatial_dims, _WIDTH // 2, in_channels, conv_only=True)

    def style(self, image: Tensor) -> Tensor:
        """Return the styles ``[B, S]`` of images: what is left of them without any position."""
        styles: Tensor = self.to_style(self.encoder(image).flatten(2).mean(2))
        return styles

    def decode(self, content: Tensor, style: Tensor, size: Sequence[int]) -> Tensor:
        """Return images of a spatial size from content ``[B, C, *spatial]`` and styles ``[B, S]``."""
        scale, shift = self.to_scale(style).chunk(2, dim=1)
        spread = (..., *(None,) * (content.dim() - 2))
        maps = content_of(self.from_content(content)) * (1 + scale[spread]) + shift[spread]
        half = [max(1, side // 2) for side in size]
        image: Tensor = self.fine(_resized(self.coarse(_resized(maps.relu(), half)), size))
        return image


def _convolution(spatial_dims: int, in_channels: int, out_channels: int, strides: int = 1) -> nn.Module:
    # no normalisation: it would take away the very style
    return Convolution(spatial_dims, in_channels, out_channels, strides=strides, norm=None, act=Act.RELU)


def _resized(maps: Tensor, size: Sequence[int]) -> Tensor:
    # nearest: its gradient is deterministic on a GPU
    return F.interpolate(maps, size=tuple(size), mode="nearest-exact")
