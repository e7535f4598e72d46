# SPDX-License-Identifier: Apache-2.0
"""Forward passes that compute shapes only, so that a network is tried on volumes of any size at once."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from monai.networks.layers import SkipConnection
from torch import nn

__all__ = ["LayerMap", "dry_run", "layer_maps"]


@dataclass(frozen=True)
class LayerMap:
    """The output of one layer.

    Args:
        layer: module path.
        channels: of its output.
        sides: spatial sides of its output.
    """

    layer: str
    channels: int
    sides: tuple[int, ...]


def dry_run(built: nn.Module, shape: Sequence[int], *, training: bool = False) -> Any:
    """Return what a network gives for an input of ``shape``, on the device ``meta`` where its layers allow that.

    The network itself stays as it is: a copy runs.

    Args:
        built: the network, on the CPU.
        shape: ``(batch, channels, *spatial)``.
        training: run it in training mode, in which some networks return several outputs.

    Raises:
        Exception: what the network raises for such an input.

    Example:
        >>> dry_run(nn.Conv3d(1, 2, 3, padding=1), (1, 1, 512, 512, 512)).shape
        torch.Size([1, 2, 512, 512, 512])
    """
    network = copy.deepcopy(built).train(training)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        try:
            return copy.deepcopy(network).to("meta")(torch.zeros(tuple(shape), device="meta"))
        except Exception as error:
            if not _is_for_lack_of_values(error):
                raise
        return network(torch.zeros(tuple(shape)))


def _is_for_lack_of_values(error: Exception) -> bool:
    return isinstance(error, NotImplementedError) or "meta" in str(error).lower()


def layer_maps(built: nn.Module, shape: Sequence[int]) -> list[LayerMap]:
    """Return the layers that give a map of features, in the order in which they do, for an input of ``shape``.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(1, 4, 2, stride=2), nn.Flatten())
        >>> layer_maps(net, (1, 1, 8, 8))
        [LayerMap(layer='0', channels=4, sides=(4, 4))]
    """
    network = copy.deepcopy(built)
    found: list[LayerMap] = []
    for name, module in network.named_modules():
        # what a skip connection gives are the features of two layers in one map
        if name and not isinstance(module, SkipConnection):
            module.register_forward_hook(_recorder(name, len(shape), found))
    dry_run(_Plain(network), shape)
    return list(dict.fromkeys(found))


class _Plain(nn.Module):
    """A module whose copies keep its hooks, which then write into one list."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def __deepcopy__(self, memo: dict[int, Any]) -> _Plain:
        return self

    def forward(self, x: torch.Tensor) -> Any:
        return self.network(x)


def _recorder(name: str, dims: int, found: list[LayerMap]) -> Callable[..., None]:
    def record(_module: nn.Module, _inputs: Any, output: Any) -> None:
        if isinstance(output, torch.Tensor) and output.ndim == dims:
            found.append(LayerMap(name, output.shape[1], tuple(output.shape[2:])))

    return record
