# SPDX-License-Identifier: Apache-2.0
"""A network for which a bundle is to be written: imported, built, and run once on an empty image."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from pydoc import ErrorDuringImport, locate
from typing import Any

import torch
from monai.bundle import ComponentLocator, ConfigComponent
from torch import nn

from akd_monai.errors import InputError
from akd_monai.networks.taps import list_layers, probe_layers

__all__ = ["build_candidate", "check_logits", "choose_layers", "describe"]

_REMEDY = (
    "give the dotted path of a class that is installed or that python -m finds in this folder, such as my_pkg.MyNet"
)
_LEVELS = ("low", "high")


def build_candidate(
    network: str, in_channels: int, out_channels: int, given: Mapping[str, Any] | None, spatial_dims: int = 2
) -> tuple[dict[str, Any], nn.Module]:
    """Import and build a network; return its definition for the configs, and the network.

    Raises:
        InputError: if it cannot be imported or built so.
    """
    if given is not None and not isinstance(given, Mapping):
        raise InputError(f"network_args must be a dictionary such as \"{{'width': 16}}\", got {given!r}.")
    found = _locate(network)
    arguments = _standard_arguments(found, spatial_dims, in_channels, out_channels) | dict(given or {})
    try:
        json.dumps(arguments)
        # drawing initial weights must not disturb the caller's random numbers
        with torch.random.fork_rng(devices=[]):
            built = found(**arguments)
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"{network} cannot be built with {arguments}: {_first_line(error)}; give what it needs with network_args."
        ) from error
    return {"_target_": network, **arguments}, built


def _locate(network: str) -> type[nn.Module]:
    try:
        component = ConfigComponent(config={"_target_": str(network)}, id="", locator=ComponentLocator())
        found = locate(str(component.resolve_module_name()))
    except ErrorDuringImport as error:
        raise InputError(f"{network!r} fails when it is imported: {_first_line(error)}; repair it first.") from error
    if found is None:
        raise InputError(f"{network!r} does not exist; {_REMEDY}.")
    if not (inspect.isclass(found) and issubclass(found, nn.Module)):
        raise InputError(f"{network!r} is no network class (torch.nn.Module); {_REMEDY}.")
    return found


def _standard_arguments(
    network: type[nn.Module], spatial_dims: int, in_channels: int, out_channels: int
) -> dict[str, Any]:
    """Return MONAI's usual arguments as far as ``network`` takes them."""
    parameters = inspect.signature(network).parameters
    takes_all = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
    standard = {"spatial_dims": spatial_dims, "in_channels": in_channels, "out_channels": out_channels}
    return {name: value for name, value in standard.items() if takes_all or name in parameters}


def check_logits(built: nn.Module, network: str, shape: tuple[int, ...], classes: int) -> None:
    """Run the network on an image of ``shape`` and check that it returns logits of the same size.

    Raises:
        InputError: if it fails, or returns another shape.
    """
    wanted = (shape[0], classes, *shape[2:])
    try:
        found = probe_layers(built, [None], shape)[""]
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"{network} fails on an image of shape {list(shape)}: {_first_line(error)}; give spatial_size and in_channels "
            "that it takes."
        ) from error
    if found != wanted:
        raise InputError(
            f"{network} gives {list(found)} for an image of shape {list(shape)}, wanted logits of shape {list(wanted)}; "
            "set its classes with out_channels or network_args, and let it give logits at the size of the image."
        )


def choose_layers(built: nn.Module, shape: tuple[int, ...], *, high: str | None, low: str | None) -> dict[str, str]:
    """Return the module paths of the layers to distil: those given, else those that the class names.

    Raises:
        InputError: if there is none for ``high``, naming candidates, or a layer returns no map.
        UnknownNameError: for a layer that does not exist.
    """
    layers = _own_layers(built)
    for level, given in (("low", low), ("high", high)):
        if given is not None:
            layers[level] = str(given)
    if "high" not in layers:
        near = ", ".join(_at_eighth(built, shape)) or "none at 1/8 of the input's size; list_layers(network) lists all"
        raise InputError(f"give high, the layer to distil, by its module path; candidates: {near}.")
    shapes = probe_layers(built, list(layers.values()), shape)
    for level, layer in layers.items():
        if len(shapes[layer]) != len(shape):
            raise InputError(
                f"layer {layer!r} for {level} gives a tensor of shape {list(shapes[layer])}, no map; choose another."
            )
    return layers


def _own_layers(built: nn.Module) -> dict[str, str]:
    own = getattr(type(built), "layers", None)
    if not isinstance(own, Mapping):
        return {}
    return {str(level): str(layer) for level, layer in own.items() if level in _LEVELS}


def _at_eighth(built: nn.Module, shape: tuple[int, ...]) -> list[str]:
    """Return the last few layers of the upper two levels that give maps at 1/8 of the input's size."""
    sides = [side // 8 for side in shape[2:]]
    found: set[str] = set()
    upper = [name for name in list_layers(built) if name.count(".") < 2]

    def hook(name: str) -> Callable[..., None]:
        def keep(_module: nn.Module, _inputs: Any, output: Any) -> None:
            if isinstance(output, torch.Tensor) and list(output.shape[2:]) == sides:
                found.add(name)

        return keep

    handles = [built.get_submodule(name).register_forward_hook(hook(name)) for name in upper]
    try:
        probe_layers(built, [None], shape)
    finally:
        for handle in handles:
            handle.remove()
    return [name for name in upper if name in found][-6:]


def describe(built: nn.Module, layers: Mapping[str, str], shape: tuple[int, ...]) -> dict[str, str]:
    """Return the number of parameters and the shapes of the layers' maps, in words."""
    maps = probe_layers(built, list(layers.values()), shape)
    told = []
    for level, layer in layers.items():
        _, channels, *sides = maps[layer]
        told.append(f"{level} `{layer}`, {channels} channels at {' x '.join(map(str, sides))}")
    return {"parameters": f"{sum(p.numel() for p in built.parameters()):,}", "layers": "; ".join(told)}


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
