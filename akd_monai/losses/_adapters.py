# SPDX-License-Identifier: Apache-2.0
"""The 1x1 convolutions that bring a student's map to the teacher's channels."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from akd_monai.losses._statements import is_altered

__all__ = ["conv1x1", "plain_weight"]


def conv1x1(spatial_dims: int, in_channels: int, out_channels: int, seed: int) -> nn.Module:
    """Return a 1x1 convolution without bias, initialised as PyTorch does but from ``seed`` alone.

    The global random state stays as it is, so that a run with an adapter draws the same batches as one without.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the student's map.
        out_channels: channels of the teacher's map.
        seed: of the weights.
    """
    kind = nn.Conv2d if spatial_dims == 2 else nn.Conv3d
    convolution: nn.Module = nn.utils.skip_init(kind, in_channels, out_channels, kernel_size=1, bias=False)
    generator = torch.Generator().manual_seed(seed)
    nn.init.kaiming_uniform_(convolution.weight, a=5**0.5, generator=generator)  # type: ignore[arg-type]
    return convolution


def plain_weight(adapter: nn.Module) -> Tensor | None:
    """Return the weights ``[K, C]`` of an adapter that is nothing but a matrix product, else ``None``."""
    # A derived class, such as a parametrized one, may compute anything.
    if not isinstance(adapter, (nn.Conv2d, nn.Conv3d)) or type(adapter) not in (nn.Conv2d, nn.Conv3d):
        return None
    if is_altered(adapter) or adapter.bias is not None or adapter.groups != 1:
        return None
    single = {*adapter.kernel_size, *adapter.stride} == {1}
    return adapter.weight.flatten(1) if single and set(adapter.padding) == {0} else None
