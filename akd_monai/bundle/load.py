# SPDX-License-Identifier: Apache-2.0
"""Load the network of a bundle, and nothing else of it."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from akd_monai.bundle._configs import config_path, merged_configs
from akd_monai.bundle._trust import build_untrusted
from akd_monai.bundle.metadata import bundle_path, read_metadata, weights_path
from akd_monai.errors import InputError, check_choice
from akd_monai.networks.weights import load_weights

__all__ = ["build_network", "load_network"]

_NETWORK = "network_def"


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
    handlers and its ``scripts`` stay untouched. A bundle's config can hold code, so unless it is trusted nothing of it is
    run or imported: macros and relative references are replaced first; then expressions (``$...``), arguments that load or
    download, and every ``_target_`` that is no class on a list of network classes of ``torch.nn``, MONAI and ``akd_monai``
    are refused by name; only then is the network built, from what was read.

    Args:
        bundle_dir: the bundle's folder.
        weights: a file with the state dict; ``models/model.pt`` of the bundle by default. Read with ``weights_only=True``,
            strictly, after stripping common wrapper keys (``model``, ``state_dict``, the prefix ``module.``).
        device: where the network goes.
        config: name of the config that holds ``network_def``; by default the first of inference and train that exists.
        trust_bundle: evaluate expressions in the bundle's config and import what it names. Only for bundles whose author
            you trust; :func:`~akd_monai.bundle.find_code` shows what they would run.

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
    check_choice("trust_bundle", trust_bundle, (True, False))
    path = _config_with_network(bundle_dir, config)
    parser = merged_configs([path], read_metadata(bundle_dir))
    parser["bundle_root"] = str(bundle_dir)
    where = f"configs/{path.name} of bundle {str(bundle_dir)!r}"
    if _NETWORK not in parser:
        raise InputError(f"{where} has no {_NETWORK}; name the network so.")
    # building draws initial weights, which must not disturb the run that loads a teacher
    with torch.random.fork_rng(devices=[]):
        if trust_bundle:
            network = parser.get_parsed_content(_NETWORK)
        else:
            network = build_untrusted(parser, _NETWORK, bundle_dir, where)
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
