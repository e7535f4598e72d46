# SPDX-License-Identifier: Apache-2.0
"""Features of a network by module path, without touching the network."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import nn

from akd_monai.errors import InputError, UnknownNameError, near_matches


def unwrap(module: nn.Module) -> nn.Module:
    """Return the network under ``DataParallel``, ``DistributedDataParallel`` and ``torch.compile``."""
    while True:
        inner = getattr(module, "_orig_mod", None)
        if inner is None and isinstance(module, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            inner = module.module
        if not isinstance(inner, nn.Module):
            return module
        module = inner


def list_layers(module: nn.Module) -> list[str]:
    """Return every module path below a network, in the order of definition.

    Example:
        >>> list_layers(nn.Sequential(nn.Conv2d(1, 1, 1), nn.Sequential(nn.ReLU())))
        ['0', '1', '1.0']
    """
    return [name for name, _ in unwrap(module).named_modules() if name]


class FeatureTaps:
    """Keep the outputs of named sub-modules of the latest forward pass.

    Args:
        module: the network; wrappers are looked through.
        layers: module paths, such as ``"encoder.3"``.

    Raises:
        UnknownNameError: for a path that does not exist.
        InputError: in the forward pass when a layer's output is no tensor, and by :attr:`features` when a layer did not
            run.

    Example:
        >>> network = nn.Sequential(nn.Identity(), nn.Flatten())
        >>> with FeatureTaps(network, ["0"]) as taps:
        ...     _ = network(torch.zeros(1, 2, 3))
        ...     taps.features["0"].shape
        torch.Size([1, 2, 3])
    """

    def __init__(self, module: nn.Module, layers: Iterable[str]) -> None:
        self._layers = list(dict.fromkeys(layers))
        self._found: dict[str, torch.Tensor] = {}
        inner = unwrap(module)
        modules = dict(inner.named_modules())
        for layer in self._layers:
            if layer not in modules or not layer:
                known = [name for name in modules if name]
                raise UnknownNameError(
                    f"{type(inner).__name__} has no layer {layer!r}.{_hint(layer, known)} "
                    "akd_monai.networks.list_layers(network) lists all of them."
                )
        self._handles = [modules[layer].register_forward_hook(self._hook(layer)) for layer in self._layers]

    def _hook(self, layer: str) -> Any:
        def keep(_: nn.Module, __: Any, output: Any) -> None:
            if not isinstance(output, torch.Tensor):
                raise InputError(
                    f"layer {layer!r} gives a {type(output).__name__}, not a tensor; tap a layer before or after it."
                )
            self._found[layer] = output

        return keep

    @property
    def features(self) -> dict[str, torch.Tensor]:
        """Outputs of the latest forward pass by module path."""
        missing = [layer for layer in self._layers if layer not in self._found]
        if missing:
            raise InputError(
                f"layers {missing} did not run in the latest forward pass; tap layers that every pass goes through."
            )
        return dict(self._found)

    def clear(self) -> None:
        """Let go of the tensors."""
        self._found.clear()

    def close(self) -> None:
        """Remove the hooks and let go of the tensors."""
        for handle in self._handles:
            handle.remove()
        self._handles = []
        self.clear()

    def __enter__(self) -> FeatureTaps:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()


def _hint(layer: str, known: Sequence[str]) -> str:
    # near in spelling, or else the same last name somewhere else
    last = layer.rsplit(".", 1)[-1]
    return near_matches(layer, known) or near_matches(last, [k for k in known if k.rsplit(".", 1)[-1] == last])


def probe_layers(
    module: nn.Module, layers: Iterable[str | None], input_shape: Sequence[int], device: str | torch.device = "cpu"
) -> dict[str, tuple[int, ...]]:
    """Return the shapes that layers give for a zero input, by module path; ``None`` asks for the network's output, ``""``.

    One forward pass in ``eval`` mode, without a graph; modes, buffers and random state stay as they were.

    Args:
        module: the network.
        layers: module paths.
        input_shape: ``(batch, channels, *spatial)``.
        device: where the network is.

    Example:
        >>> probe_layers(nn.Sequential(nn.Conv2d(1, 4, 1)), ["0", None], (1, 1, 8, 8))
        {'0': (1, 4, 8, 8), '': (1, 4, 8, 8)}
    """
    wanted = list(layers)
    inner = unwrap(module)
    modes = [(m, m.training) for m in inner.modules()]
    try:
        inner.eval()
        with FeatureTaps(inner, [w for w in wanted if w is not None]) as taps, torch.no_grad():
            output = inner(torch.zeros(tuple(input_shape), device=device))
            shapes = {name: tuple(value.shape) for name, value in taps.features.items()}
    finally:
        for m, training in modes:
            m.training = training
    if None in wanted:
        if not isinstance(output, torch.Tensor):
            raise InputError(f"{type(inner).__name__} returns a {type(output).__name__}; wanted one tensor of logits.")
        shapes[""] = tuple(output.shape)
    return shapes
