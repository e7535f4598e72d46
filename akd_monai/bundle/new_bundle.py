# SPDX-License-Identifier: Apache-2.0
"""Write a whole bundle for a network of one's own, from the parts of the project's bundles."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from pydoc import ErrorDuringImport, locate
from typing import Any

import torch
from monai.bundle import ComponentLocator, ConfigComponent
from torch import nn

from akd_monai.bundle.assemble import write_bundle
from akd_monai.bundle.check import check_bundle
from akd_monai.bundle.new_part import NewBundle, new_part, readme_of
from akd_monai.errors import InputError
from akd_monai.networks.taps import list_layers, probe_layers

_TASK = "Segmentation of the whole prostate gland on axial T2-weighted MRI"


def new_bundle(
    name: str,
    network: str,
    *,
    bundles_dir: str | Path = "bundles",
    high: str | None = None,
    low: str | None = None,
    in_channels: int = 1,
    out_channels: int | None = None,
    class_names: str | Sequence[str] | None = None,
    spatial_size: int | Sequence[int] = 384,
    network_args: Mapping[str, Any] | None = None,
    role: str = "student",
    task: str | None = None,
    authors: str | None = None,
    reference: str | None = None,
) -> str:
    """Write the folder ``bundles_dir/name`` and return a line that names it.

    The network is built once and given an empty image, so that what is written is known to fit: channels, classes, size
    and layers. It is called with ``spatial_dims=2``, ``in_channels`` and ``out_channels``, as far as it has arguments of
    these names, and with ``network_args``.

    Args:
        name: of the bundle and its folder: letters, digits, ``_`` and ``-``.
        network: where the class can be imported from, such as ``"my_pkg.MyNet"``, or the name of one of MONAI's.
        bundles_dir: folder of the bundles.
        high: module path of the features to distil, best at 1/8 of the input's size; by default the entry ``"high"`` of
            the class's attribute ``layers``.
        low: module path of early features, best at 1/2, for losses that want them; by default as above.
        in_channels: channels of the image.
        out_channels: classes, background included; by default one more than ``class_names``, or 2.
        class_names: names of the classes without the background; a text is split at commas.
        spatial_size: side, or both sides, to which slices are resized.
        network_args: further arguments of the network.
        role: ``"student"``, or ``"teacher"`` for a bundle without ``distill.json``.
        task: one sentence without full stop.
        authors: of the bundle.
        reference: the network's publication.

    Raises:
        InputError: for a network that cannot be imported, built or run so, and for a folder that is already there.
    """
    root = _folder(bundles_dir, name)
    classes = _classes(out_channels, class_names)
    if isinstance(in_channels, bool) or not isinstance(in_channels, int) or in_channels < 1:
        raise InputError(f"in_channels must be a whole number of 1 or more, got {in_channels!r}.")
    if role not in ("student", "teacher"):
        raise InputError(f"role must be student or teacher, got {role!r}.")
    size = _size(spatial_size)
    definition, built = _build(network, in_channels, len(classes) + 1, network_args)
    shape = (1, in_channels, *size)
    _check_logits(built, network, shape, len(classes) + 1)
    layers = _layers(built, shape, high, low)
    about = NewBundle(
        name,
        definition,
        in_channels,
        classes,
        size,
        layers,
        teacher=role == "teacher",
        task=task or (_TASK if classes == ["prostate"] else f"Segmentation of {', '.join(classes)} on MRI"),
        authors=authors or f"The authors of {network}",
        reference=reference,
        facts=_facts(built, layers, shape),
    )
    write_bundle(new_part(about), root)
    readme = root / "docs" / "README.md"
    readme.write_text(readme_of(readme.read_text(encoding="utf-8"), about), encoding="utf-8")
    check_bundle(root)
    return f"Written: {root} ({about.facts['parameters']} parameters; {about.facts['layers']})"


def _folder(bundles_dir: str | Path, name: str) -> Path:
    if not re.fullmatch(r"\w[\w-]*", str(name), flags=re.ASCII):
        raise InputError(f"name must be made of letters, digits, _ and -, got {name!r}.")
    root = Path(bundles_dir) / str(name)
    if root.exists():
        raise InputError(f"{str(root)!r} is already there; give another name, or remove it if it is not needed.")
    return root


def _classes(out_channels: int | None, class_names: str | Sequence[str] | None) -> list[str]:
    if isinstance(class_names, str):
        class_names = class_names.split(",")
    names = [str(n).strip() for n in class_names or ()]
    count = out_channels if out_channels is not None else len(names) + 1 if names else 2
    if isinstance(count, bool) or not isinstance(count, int) or count < 2:
        raise InputError(
            f"out_channels counts the background too, so it must be a whole number of 2 or more, got {count!r}."
        )
    names = names or (["prostate"] if count == 2 else [f"class {i}" for i in range(1, count)])
    if len(names) != count - 1 or "" in names or len(set(names)) < len(names):
        raise InputError(
            f"class_names must be {count - 1} different names, one for each class without the background, got {names}."
        )
    return names


def _size(value: int | Sequence[int]) -> list[int]:
    sides: Any = [value, value] if isinstance(value, int) else value
    if not isinstance(sides, (list, tuple)) or len(sides) != 2 or not all(type(s) is int and s > 0 for s in sides):
        raise InputError(f"spatial_size must be one side or two, whole numbers above 0, got {value!r}.")
    return list(sides)


def _build(
    network: str, in_channels: int, out_channels: int, given: Mapping[str, Any] | None
) -> tuple[dict[str, Any], nn.Module]:
    """Import and build the network; return its definition for the configs too."""
    if given is not None and not isinstance(given, Mapping):
        raise InputError(f"network_args must be a dictionary such as \"{{'width': 16}}\", got {given!r}.")
    found = _locate(network)
    try:
        parameters: Mapping[str, inspect.Parameter] = inspect.signature(found).parameters
    except (TypeError, ValueError):
        parameters = {}
    takes_all = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
    standard = {"spatial_dims": 2, "in_channels": in_channels, "out_channels": out_channels}
    arguments = {k: v for k, v in standard.items() if takes_all or k in parameters} | dict(given or {})
    try:
        json.dumps(arguments)
        # drawing initial weights is no reason to disturb the caller's random numbers
        with torch.random.fork_rng(devices=[]):
            built = found(**arguments)
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"{network} cannot be built with {arguments}: {_line(error)}; give what it needs with network_args."
        ) from error
    return {"_target_": network, **arguments}, built


def _locate(network: str) -> Any:
    remedy = (
        "give the dotted path of a class that is installed or that python -m finds in this folder, such as my_pkg.MyNet"
    )
    try:
        component = ConfigComponent(config={"_target_": str(network)}, id="", locator=ComponentLocator())
        found = locate(str(component.resolve_module_name()))
    except ErrorDuringImport as error:
        raise InputError(f"{network!r} fails when it is imported: {_line(error)}; repair it first.") from error
    if found is None:
        raise InputError(f"there is no {network!r}; {remedy}.")
    if not (inspect.isclass(found) and issubclass(found, nn.Module)):
        raise InputError(f"{network!r} is no network class (torch.nn.Module); {remedy}.")
    return found


def _check_logits(built: nn.Module, network: str, shape: tuple[int, ...], classes: int) -> None:
    wanted = (shape[0], classes, *shape[2:])
    try:
        found = probe_layers(built, [None], shape)[""]
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"{network} fails on an image of shape {list(shape)}: {_line(error)}; give spatial_size and in_channels that "
            "it takes."
        ) from error
    if found != wanted:
        raise InputError(
            f"{network} gives {list(found)} for an image of shape {list(shape)}, wanted logits of shape {list(wanted)}; "
            "set its classes with out_channels or network_args, and let it give logits at the size of the image."
        )


def _layers(built: nn.Module, shape: tuple[int, ...], high: str | None, low: str | None) -> dict[str, str]:
    own = getattr(type(built), "layers", None)
    layers = {str(k): str(v) for k, v in own.items() if k in ("low", "high")} if isinstance(own, Mapping) else {}
    layers |= {k: str(v) for k, v in (("low", low), ("high", high)) if v is not None}
    if "high" not in layers:
        near = ", ".join(_at_eighth(built, shape)) or "none at 1/8 of the input's size; list_layers(network) lists all"
        raise InputError(f"give high, the layer to distil, by its module path; candidates: {near}.")
    for key, found in zip(layers, probe_layers(built, list(layers.values()), shape).values(), strict=True):
        if len(found) != len(shape):
            raise InputError(
                f"layer {layers[key]!r} for {key} gives a tensor of shape {list(found)}, no map; choose another."
            )
    return layers


def _at_eighth(built: nn.Module, shape: tuple[int, ...]) -> list[str]:
    """Return the last few layers of the upper two levels that give maps at 1/8 of the input's size."""
    sides = [side // 8 for side in shape[2:]]
    found: set[str] = set()
    upper = [name for name in list_layers(built) if name.count(".") < 2]

    def look(name: str) -> Callable[..., None]:
        def keep(_module: nn.Module, _inputs: Any, output: Any) -> None:
            if isinstance(output, torch.Tensor) and list(output.shape[2:]) == sides:
                found.add(name)

        return keep

    handles = [built.get_submodule(name).register_forward_hook(look(name)) for name in upper]
    try:
        probe_layers(built, [None], shape)
    finally:
        for handle in handles:
            handle.remove()
    return [name for name in upper if name in found][-6:]


def _facts(built: nn.Module, layers: Mapping[str, str], shape: tuple[int, ...]) -> dict[str, str]:
    maps = probe_layers(built, list(layers.values()), shape)
    told = []
    for key, layer in layers.items():
        _, channels, height, width = maps[layer]
        told.append(f"{key} `{layer}`, {channels} channels at {height} x {width}")
    return {"parameters": f"{sum(p.numel() for p in built.parameters()):,}", "layers": "; ".join(told)}


def _line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
