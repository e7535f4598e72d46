# SPDX-License-Identifier: Apache-2.0
"""Operations of one forward pass, as PyTorch counts them and as the published comparison did."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

__all__ = ["count_operations"]

_NORMS = ("batch_norm", "group_norm", "layer_norm")
_POOLS = ("max", "amax", "mean")


def count_operations(network: nn.Module, x: torch.Tensor) -> dict[str, float]:
    """Run ``network(x)`` once and return its operations in 1e9, by three conventions.

    ``conv`` are the convolutions, two operations for a multiplication with its addition. ``other`` are matrix products
    and attention, counted alike. ``table1`` is the convention of the published comparison: one for each multiplication
    with its addition, where a transposed convolution counts at the size of its output; one for each output element
    of a convolution with bias; two for each normalised element; one for each element that enters a ReLU or its
    relatives, or a pooling, and for each that upsampling returns; the sum doubled.

    Example:
        >>> layer = nn.ConvTranspose2d(1, 1, 2, stride=2)  # 4 products for each of 9 pixels, 36 pixels out
        >>> counts = count_operations(layer, torch.zeros(1, 1, 3, 3))
        >>> {name: round(1e9 * value) for name, value in counts.items()}
        {'conv': 72, 'other': 0, 'table1': 360}

    Source: arXiv 2404.02738, table 1, for the figures that ``table1`` reproduces; see ``docs/reference/networks.md``.
    """
    with FlopCounterMode(display=False) as flops, _Table1Counter() as table1:
        network(x)
    counts = flops.get_flop_counts().get("Global", {})
    conv = sum(n for operation, n in counts.items() if "convolution" in str(operation))
    other = sum(counts.values()) - conv
    return {"conv": conv / 1e9, "other": other / 1e9, "table1": (2 * table1.total + other) / 1e9}


class _Table1Counter(TorchDispatchMode):
    """Sum the operations of a pass by the published comparison's convention, before doubling."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.total += _cost(func._overloadpacket.__name__, args, result)
        return result


def _cost(name: str, args: tuple[Any, ...], result: Any) -> int:
    if name.endswith("convolution"):
        return _convolution_cost(args[1], args[2], result)
    count = 0
    if any(norm in name for norm in _NORMS):
        count = 2 * args[0].numel()
    elif "relu" in name or "pool" in name or name in _POOLS:
        count = args[0].numel()
    elif "upsample" in name:
        count = result.numel()
    return count


def _convolution_cost(weight: torch.Tensor, bias: torch.Tensor | None, result: torch.Tensor) -> int:
    pixels = result.numel() // result.shape[1]
    products = pixels * weight.numel()
    return products if bias is None else products + result.numel()
