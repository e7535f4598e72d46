# SPDX-License-Identifier: Apache-2.0
"""Load the network of a bundle, and nothing else of it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from pydoc import locate
from typing import Any

import torch
from monai.bundle import ComponentLocator, ConfigComponent, ConfigParser
from monai.bundle.reference_resolver import ReferenceResolver
from torch import nn

from akd_monai.bundle.metadata import bundle_path, weights_path
from akd_monai.errors import InputError
from akd_monai.networks.weights import load_weights

logger = logging.getLogger(__name__)
_CONFIGS = ("inference.json", "train.json", "inference.yaml", "train.yaml", "inference.yml", "train.yml")


def load_network(
    bundle_dir: str | Path,
    *,
    weights: str | Path | None = None,
    device: str | torch.device = "cpu",
    config: str | None = None,
    trust_bundle: bool = False,
) -> nn.Module:
    """Return the trained network of a bundle: in ``eval`` mode, without gradients, on ``device``.

    Only the item ``network_def`` is read, with what it refers to; the bundle's ``initialize``, its ``logging.conf``, its
    handlers and its ``scripts`` stay untouched. A bundle's config can hold code, so expressions (``$...``) below
    ``network_def`` are refused unless trusted, and every ``_target_`` must be a network class or one of its parts.

    Args:
        bundle_dir: the bundle's folder.
        weights: a file with the state dict; ``models/model.pt`` of the bundle by default. Read with ``weights_only=True``,
            strictly, after taking off the usual wrappings (``model``, ``state_dict``, the prefix ``module.``).
        device: where the network goes.
        config: the config that holds ``network_def``; by default the first of inference and train that exists.
        trust_bundle: evaluate expressions in the bundle's config. Only for bundles whose author you trust.

    Raises:
        InputError: when the folder is no bundle, has no weights, weights do not fit, or the config would run code.

    Example:
        >>> load_network("no/such/bundle")
        Traceback (most recent call last):
        ...
        akd_monai.errors.InputError: bundle folder 'no/such/bundle' does not exist; give the folder ...
    """
    bundle_path(bundle_dir)
    path = Path(weights) if weights else weights_path(bundle_dir)
    network = build_network(bundle_dir, config=config, trust_bundle=trust_bundle)
    load_weights(network, path)
    return network.to(device).eval().requires_grad_(False)


def build_network(bundle_dir: str | Path, *, config: str | None = None, trust_bundle: bool = False) -> nn.Module:
    """Return the untrained network that a bundle's ``network_def`` describes; see :func:`load_network`."""
    name = config or next((n for n in _CONFIGS if bundle_path(bundle_dir, "configs", n).is_file()), None)
    if name is None:
        raise InputError(f"bundle {str(bundle_dir)!r} has none of {', '.join(_CONFIGS[:2])} in configs/; add one.")
    parser = ConfigParser()
    parser.read_meta(str(bundle_path(bundle_dir, "configs", "metadata.json")))
    parser.read_config(str(bundle_path(bundle_dir, "configs", name)))
    parser["bundle_root"] = str(bundle_dir)
    where = f"configs/{name} of bundle {str(bundle_dir)!r}"
    if "network_def" not in parser:
        raise InputError(f"{where} has no network_def; name the network so.")
    if not trust_bundle:
        _refuse_code(parser, where)
    # building draws initial weights, which must not disturb the run that loads a teacher
    with torch.random.fork_rng(devices=[]):
        network = parser.get_parsed_content("network_def")
    if not isinstance(network, nn.Module):
        raise InputError(f"network_def in {where} is a {type(network).__name__}, wanted a torch module.")
    return network


def _refuse_code(parser: ConfigParser, where: str) -> None:
    """Walk ``network_def`` and what it refers to; nothing there may be an expression or a target that is no network."""
    seen, todo = set(), ["network_def"]
    while todo:
        item = todo.pop()
        if item in seen:
            continue
        seen.add(item)
        content = parser.get(item)
        for value in _strings(content):
            if value.startswith("$"):
                raise InputError(
                    f"{where} has the expression {value!r} in {item!r}, which would run as code; "
                    "write a plain value, or pass trust_bundle if you trust the bundle's author."
                )
            todo.extend(ReferenceResolver.match_refs_pattern(value))
        for target in _targets(content):
            if not _builds_network(target):
                raise InputError(
                    f"{where} has the target {target!r} in {item!r}, which is no network class; "
                    "pass trust_bundle if you trust the bundle's author."
                )


def _builds_network(target: str) -> bool:
    """Whether ``target`` names a network class, or a function of the packages that build networks."""
    name = ConfigComponent(config={"_target_": target}, id="", locator=ComponentLocator()).resolve_module_name()
    found = locate(str(name))
    if isinstance(found, type):
        return issubclass(found, nn.Module)
    # the module in which it was defined, not the path by which it was reached
    return str(getattr(found, "__module__", "")).startswith(("torch.nn.", "monai.networks.", "akd_monai.networks."))


def _strings(content: Any) -> list[str]:
    if isinstance(content, str):
        return [content]
    children = (
        content.values() if isinstance(content, Mapping) else content if isinstance(content, (list, tuple)) else ()
    )
    return [s for child in children for s in _strings(child)]


def _targets(content: Any) -> list[str]:
    if isinstance(content, Mapping):
        own = [content["_target_"]] if isinstance(content.get("_target_"), str) else []
        return own + [t for child in content.values() for t in _targets(child)]
    return [t for child in content for t in _targets(child)] if isinstance(content, (list, tuple)) else []
