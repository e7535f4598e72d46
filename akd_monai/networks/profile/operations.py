# SPDX-License-Identifier: Apache-2.0
"""Operations of one forward pass, as PyTorch counts them and as the published comparison did."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

_NORMS = ("batch_norm", "group_norm", "layer_norm")
_POOLS = ("max", "amax", "mean")


def count_operations(network: nn.Module, x: torch.Tensor) -> dict[str, float]:
    """Run ``network(x)`` once and return its operations in 1e9, by three countings.

    ``conv`` are the convolutions, two operations for a multiplication with its addition. ``other`` are matrix products
    and attention, counted alike. ``table1`` is the convention of the published comparison: one for each multiplication
    with its addition, where a transposed convolution is charged at the size of its output; one for each output element
    of a convolution with bias; two for each element that is normalised; one for each that goes through a ReLU or its
    relatives; one for each element that is pooled, and for each that upsampling gives; the whole doubled.

    Example:
        >>> layer = nn.ConvTranspose2d(1, 1, 2, stride=2)  # 4 products for each of 9 pixels, 36 pixels out
        >>> counts = count_operations(layer, torch.zeros(1, 1, 3, 3))
        >>> {name: round(1e9 * value) for name, value in counts.items()}
        {'conv': 72, 'other': 0, 'table1': 360}

    Source: arXiv 2404.02738, table 1, for the figures that the third counting meets; see ``docs/reference/networks.md``.
    """
    with FlopCounterMode(display=False) as flops, _Table1Counter() as table1:
        network(x)
    counts = flops.get_flop_counts().get("Global", {})
    conv = sum(n for operation, n in counts.items() if "convolution" in str(operation))
    other = sum(counts.values()) - conv
    return {"conv": conv / 1e9, "other": other / 1e9, "table1": (2 * table1.total + other) / 1e9}


class _Table1Counter(TorchDispatchMode):
    """Add up what a pass costs by the published comparison's convention, before it is doubled."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.total += _cost(func._overloadpacket.__name__, args, result)
        return result


def _cost(name: str, args: tuple, result: Any) -> int:
    if name.endswith("convolution"):
        weight, bias = args[1], args[2]
        pixels = result.numel() // result.shape[1]
        return pixels * weight.numel() + (0 if bias is None else result.numel())
    if any(norm in name for norm in _NORMS):
        return 2 * args[0].numel()
    if "relu" in name or "pool" in name or name in _POOLS:
        return args[0].numel()
    return result.numel() if "upsample" in name else 0
