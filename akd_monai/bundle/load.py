# SPDX-License-Identifier: Apache-2.0
"""Load the network of a bundle, and nothing else of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from pydoc import locate
from typing import Any

import torch
from monai.bundle import ComponentLocator, ConfigComponent, ConfigParser
from monai.bundle.reference_resolver import ReferenceResolver
from torch import nn

from akd_monai.bundle._configs import config_path, merged_configs
from akd_monai.bundle.metadata import bundle_path, read_metadata, weights_path
from akd_monai.errors import InputError
from akd_monai.networks.weights import load_weights

__all__ = ["build_network", "load_network"]

_NETWORK = "network_def"
_NETWORK_PACKAGES = ("torch.nn.", "monai.networks.", "akd_monai.networks.")
_TRUST = "pass trust_bundle if you trust the bundle's author"


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
            strictly, after stripping common wrapper keys (``model``, ``state_dict``, the prefix ``module.``).
        device: where the network goes.
        config: name of the config that holds ``network_def``; by default the first of inference and train that exists.
        trust_bundle: evaluate expressions in the bundle's config. Only for bundles whose author you trust.

    Raises:
        InputError: if the folder is no bundle, has no weights, weights do not fit, or the config would run code.

    Example:
        >>> load_network("no/such/bundle")
        Traceback (most recent call last):
        ...
        akd_monai.errors.InputError: bundle folder 'no/such/bundle' does not exist; give the folder ...
    """
    path = Path(weights) if weights else weights_path(bundle_dir)
    network = build_network(bundle_dir, config=config, trust_bundle=trust_bundle)
    load_weights(network, path)
    return network.to(device).eval().requires_grad_(False)


def build_network(bundle_dir: str | Path, *, config: str | None = None, trust_bundle: bool = False) -> nn.Module:
    """Return the untrained network that a bundle's ``network_def`` describes; see :func:`load_network`.

    Args:
        bundle_dir: the bundle's folder.
        config: as in :func:`load_network`.
        trust_bundle: as in :func:`load_network`.

    Raises:
        InputError: if the folder is no bundle, has no ``network_def``, or the config would run code.

    Example:
        >>> import tempfile
        >>> from akd_monai.bundle import write_bundle
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     network = build_network(write_bundle("enet", folder))
        >>> network(torch.zeros(1, 1, 64, 64)).shape
        torch.Size([1, 2, 64, 64])
    """
    path = _config_with_network(bundle_dir, config)
    parser = merged_configs([path], read_metadata(bundle_dir))
    parser["bundle_root"] = str(bundle_dir)
    where = f"configs/{path.name} of bundle {str(bundle_dir)!r}"
    if _NETWORK not in parser:
        raise InputError(f"{where} has no {_NETWORK}; name the network so.")
    if not trust_bundle:
        _keep_only_network(parser, where)
    # building draws initial weights, which must not disturb the run that loads a teacher
    with torch.random.fork_rng(devices=[]):
        network = parser.get_parsed_content(_NETWORK)
    if not isinstance(network, nn.Module):
        raise InputError(f"{_NETWORK} in {where} is a {type(network).__name__}, wanted a torch module.")
    return network


def _config_with_network(bundle_dir: str | Path, config: str | None) -> Path:
    if config is not None:
        return bundle_path(bundle_dir, "configs", config)
    for name in ("inference", "train"):
        path = config_path(bundle_dir, name)
        if path is not None:
            return path
    raise InputError(f"bundle {str(bundle_dir)!r} has none of inference.json, train.json in configs/; add one.")


def _keep_only_network(parser: ConfigParser, where: str) -> None:
    """Reduce the config to ``network_def`` and what it refers to, after checking that nothing of it would run as code.

    Macros (``%...``) are replaced first, since what they stand for is as much a part of the config. The rest must go,
    because MONAI runs every import statement of a config, whatever is asked for.
    """
    parser.resolve_macro_and_relative_ids()
    seen: set[str] = set()
    todo = [_NETWORK]
    while todo:
        item = todo.pop()
        if item not in seen:
            seen.add(item)
            content = parser.get(item)
            for value in _parts(content):
                _check_part(value, item, where)
            todo.extend(ReferenceResolver.find_refs_in_config(content, item))
    first_level = {item.split("::")[0] for item in seen}
    parser.set({name: parser[name] for name in sorted(first_level) if name in parser})


def _parts(content: Any) -> Iterator[Any]:
    """Yield ``content`` and everything below it."""
    yield content
    if isinstance(content, (dict, list)):
        for _, _, part in ReferenceResolver.iter_subconfigs("", content):
            yield from _parts(part)


def _check_part(value: Any, item: str, where: str) -> None:
    if isinstance(value, str) and value.startswith(("$", "%")):
        raise InputError(
            f"{where} has the expression {value!r} in {item!r}, which would run as code; "
            "write a plain value, or pass trust_bundle if you trust the bundle's author."
        )
    if isinstance(value, Mapping) and "_target_" in value and not _builds_network(value["_target_"]):
        target = value["_target_"]
        raise InputError(f"{where} has the target {target!r} in {item!r}, which is no network class; {_TRUST}.")


def _builds_network(target: Any) -> bool:
    """Return whether ``target`` names a network class, or a function of the packages that build networks."""
    if not isinstance(target, str):
        return False
    name = ConfigComponent(config={"_target_": target}, id="", locator=ComponentLocator()).resolve_module_name()
    found = locate(str(name))
    if isinstance(found, type):
        return issubclass(found, nn.Module)
    # the module in which it was defined, not the path by which it was reached
    return str(getattr(found, "__module__", "")).startswith(_NETWORK_PACKAGES)
