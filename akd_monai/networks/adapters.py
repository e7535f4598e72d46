# SPDX-License-Identifier: Apache-2.0
"""Adapters from the student's channels to the teacher's."""

from __future__ import annotations

import torch
from monai.networks.layers.factories import Conv
from torch import nn


class FeatureAdapter(nn.Module):
    """Map features to another number of channels by a 1x1 convolution without bias.

    It trains with the student and is no part of it.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the student's features.
        out_channels: channels of the teacher's features.

    Example:
        >>> FeatureAdapter(2, 4, 8)(torch.zeros(1, 4, 5, 5)).shape
        torch.Size([1, 8, 5, 5])

    Source: arXiv 2404.02738, section 2, "1x1 kernel"; Romero et al., 2015, arXiv:1412.6550, for the idea.
    """

    def __init__(self, spatial_dims: int, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = Conv[Conv.CONV, spatial_dims](in_channels, out_channels, kernel_size=1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``[B, out_channels, *spatial]`` for ``[B, in_channels, *spatial]``."""
        return self.conv(x)
