# SPDX-License-Identifier: Apache-2.0
"""Features of a network by module path, without changing the network."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from akd_monai.errors import InputError, UnknownNameError, unknown_name
from akd_monai.networks._wrappers import unwrap
from akd_monai.networks.heads import Head, select_head

__all__ = ["FeatureTaps", "list_layers", "probe_layers", "unwrap"]


def list_layers(module: nn.Module) -> list[str]:
    """Return every module path of a network, in the order of definition.

    Example:
        >>> list_layers(nn.Sequential(nn.Conv2d(1, 1, 1), nn.Sequential(nn.ReLU())))
        ['0', '1', '1.0']
    """
    return [name for name, _ in unwrap(module).named_modules(remove_duplicate=False) if name]


class FeatureTaps:
    """Keep the outputs of named layers of the latest forward pass.

    Each forward pass first releases the tensors of the previous one. A layer that runs several times in one pass leaves its
    last output. Tap a network that ``torch.compile`` wraps before its first pass: a graph that is already compiled ignores
    new hooks.

    Args:
        module: the network; wrappers are removed as by :func:`unwrap`.
        layers: module paths, such as ``"encoder.3"``.

    Raises:
        UnknownNameError: for a path that does not exist.
        InputError: in the forward pass when a layer's output is no tensor or ``DataParallel`` splits the batch, and by
            :attr:`features` when a layer did not run.

    Example:
        >>> network = nn.Sequential(nn.Identity(), nn.Flatten())
        >>> with FeatureTaps(network, ["0"]) as taps:
        ...     _ = network(torch.zeros(1, 2, 3))
        ...     taps.features["0"].shape
        torch.Size([1, 2, 3])
    """

    def __init__(self, module: nn.Module, layers: Iterable[str]) -> None:
        self._layers = list(dict.fromkeys([layers] if isinstance(layers, str) else layers))
        self._found: dict[str, torch.Tensor] = {}
        self._compiled = _is_compiled(module)
        self._handles: list[Any] = []
        inner = unwrap(module)
        modules = dict(inner.named_modules(remove_duplicate=False))
        for layer in self._layers:
            if layer not in modules or not layer:
                raise _unknown_layer(inner, layer)
        if self._layers:
            # on the network itself, so that the features of one pass are never mixed with those of the previous one
            self._handles.append(inner.register_forward_pre_hook(lambda _, __: self.clear()))
        for layer in self._layers:
            self._handles.append(modules[layer].register_forward_hook(self._hook(layer)))

    def _hook(self, layer: str) -> Any:
        def keep(module: nn.Module, _: Any, output: Any) -> None:
            if getattr(module, "_is_replica", False):
                raise InputError(
                    f"layer {layer!r} runs in a copy of the network for a part of the batch only, made by DataParallel; "
                    "use DistributedDataParallel or one device to read features."
                )
            if not isinstance(output, torch.Tensor):
                raise InputError(
                    f"layer {layer!r} gives a {type(output).__name__}, not a tensor; tap a layer before or after it."
                )
            self._found[layer] = output

        return keep

    @property
    def features(self) -> dict[str, torch.Tensor]:
        """Outputs of the latest forward pass by module path, in the order of ``layers``."""
        missing = [layer for layer in self._layers if layer not in self._found]
        if missing:
            remedy = "tap layers that run in every pass"
            if self._compiled:
                remedy += ", and before the first pass of a network under torch.compile"
            raise InputError(f"layers {missing} did not run in the latest forward pass; {remedy}.")
        return {layer: self._found[layer] for layer in self._layers}

    def clear(self) -> None:
        """Release the tensors."""
        self._found.clear()

    def close(self) -> None:
        """Remove the hooks and release the tensors."""
        for handle in self._handles:
            handle.remove()
        self._handles = []
        self.clear()

    def __enter__(self) -> FeatureTaps:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()


def _is_compiled(module: nn.Module) -> bool:
    wrapped = getattr(module, "module", None)
    return any(hasattr(m, "_orig_mod") or getattr(m, "_compiled_call_impl", None) for m in (module, wrapped))


def _unknown_layer(network: nn.Module, layer: str) -> UnknownNameError:
    layers = list_layers(network)
    # hundreds of paths would hide the message, so only the outermost are listed, and those that the wrong one resembles
    near = difflib.get_close_matches(layer, layers, n=3, cutoff=0.5) or _with_same_last_name(layer, layers)
    shown = [known for known in layers if "." not in known or known in near]
    remedy = "akd_monai.networks.list_layers(network) lists all layers"
    return unknown_name("layer", layer, shown, where=f"in {type(network).__name__}", remedy=remedy)


def _with_same_last_name(layer: str, layers: Sequence[str]) -> list[str]:
    last = layer.rsplit(".", 1)[-1]
    return [known for known in layers if known.rsplit(".", 1)[-1] == last][:3]


def probe_layers(
    module: nn.Module,
    layers: Iterable[str | None],
    input_shape: Sequence[int],
    device: str | torch.device = "cpu",
    *,
    head: Head = None,
    where: str = "network",
) -> dict[str, tuple[int, ...]]:
    """Return the output shapes of layers for a zero input, by module path.

    One forward pass in ``eval`` mode, without gradients; modes, buffers and random state are restored.

    Args:
        module: the network; wrappers are removed as by :func:`unwrap`.
        layers: module paths; ``None`` or ``""`` asks for the network's logits, returned under ``""``.
        input_shape: ``(batch, channels, *spatial)``.
        device: where the network is.
        head: which of several outputs are the logits, see :func:`~akd_monai.networks.select_head`.
        where: whose network it is, for messages: ``"teacher"``, ``"student"`` or ``"network"``.

    Raises:
        UnknownNameError: for a path that does not exist.
        InputError: when a layer's output is no tensor or a layer does not run, or the network has no such head.

    Example:
        >>> probe_layers(nn.Sequential(nn.Conv2d(1, 4, 1)), ["0", None], (1, 1, 8, 8))
        {'0': (1, 4, 8, 8), '': (1, 4, 8, 8)}
    """
    wanted = [layers] if isinstance(layers, str) else list(layers)
    paths = [layer for layer in wanted if layer]
    inner = unwrap(module)
    dtype = next((p.dtype for p in inner.parameters() if p.is_floating_point()), torch.float32)
    with FeatureTaps(inner, paths) as taps, _restored(inner, device), torch.no_grad():
        output = inner(torch.zeros(tuple(input_shape), dtype=dtype, device=device))
        shapes = {name: tuple(value.shape) for name, value in taps.features.items()}
    if len(paths) < len(wanted):
        logits = select_head(output, head, where=where, network=inner, image_size=input_shape[2:])
        shapes[""] = tuple(logits.shape)
    return shapes


@contextmanager
def _restored(module: nn.Module, device: str | torch.device) -> Iterator[None]:
    """Run in ``eval`` mode; then restore modes, buffers and random state."""
    # monai.networks.utils.eval_mode ends with train() on the network, which would set layers that were frozen in eval
    # mode to training
    modes = [(m, m.training) for m in module.modules()]
    buffers = [(b, b.clone()) for b in module.buffers()]
    gpus = [torch.device(device)] if torch.device(device).type == "cuda" else []
    try:
        with torch.random.fork_rng(devices=gpus):
            module.eval()
            yield
    finally:
        for m, training in modes:
            m.training = training
        with torch.no_grad():
            for buffer, before in buffers:
                # only where it changed, since a graph that is still to be differentiated may hold it
                if not buffer.is_meta and not torch.equal(buffer, before):
                    buffer.copy_(before)
