# SPDX-License-Identifier: Apache-2.0
"""Load the network of a bundle, and nothing else of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser
from torch import nn

from akd_monai.bundle._configs import config_path, merged_configs, with_common
from akd_monai.bundle._failures import bundle_failures
from akd_monai.bundle._scripts import with_private_modules
from akd_monai.bundle._trust import build_untrusted
from akd_monai.bundle.metadata import bundle_path, read_metadata, weights_path
from akd_monai.errors import InputError, check_choice, one_line
from akd_monai.networks._origin import with_origin
from akd_monai.networks._wrappers import frozen
from akd_monai.networks.weights import load_weights
from akd_monai.teachers._kept_random import kept_random_states

__all__ = ["build_network", "load_network", "weights_of"]

_NETWORK = "network_def"
_SCRIPTED = "model.ts"


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
            strictly, after stripping common wrapper keys (``model``, ``state_dict``, the prefix ``module.``). A
            TorchScript network, a file ``.ts`` or ``models/model.ts`` where there is no ``model.pt``, is loaded as it is,
            without the config; it is a program, so the bundle has to be trusted.
        device: where the network goes.
        config: name of the config that holds ``network_def``; by default the first of inference and train that exists.
            A config ``common``, which some bundles merge with the others, is merged before it.
        trust_bundle: evaluate expressions in the bundle's config and import what it names, from the bundle's own folder
            under private names (so that a student may have ``scripts`` as well). Only for bundles whose author you trust;
            :func:`~akd_monai.bundle.find_code` shows what they would run.

    Raises:
        InputError: if the folder is no bundle, has no weights, weights do not fit, or the config would run code.

    Example:
        >>> load_network("no/such/bundle")
        Traceback (most recent call last):
        ...
        akd_monai.errors.InputError: bundle folder 'no/such/bundle' does not exist; give the folder ...
    """
    path = Path(weights or weights_of(bundle_dir) or weights_path(bundle_dir))
    if path.suffix == Path(_SCRIPTED).suffix:
        return with_origin(_scripted(path, device, trust_bundle), bundle_dir, path)
    network: Any = build_network(bundle_dir, config=config, trust_bundle=trust_bundle)
    if hasattr(network, "check_weights"):
        # an exported network has its weights already
        network.check_weights(path)
    else:
        load_weights(network, path)
    return with_origin(frozen(network.to(device)), bundle_dir, path)


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
    paths = with_common(bundle_dir, _config_with_network(bundle_dir, config))
    parser = merged_configs(paths, read_metadata(bundle_dir))
    parser["bundle_root"] = str(bundle_dir)
    where = f"configs/{' with '.join(path.name for path in paths)} of bundle {str(bundle_dir)!r}"
    if _NETWORK not in parser:
        raise InputError(f"{where} has no {_NETWORK}; name the network so.")
    # building draws initial weights, and a trusted bundle may seed on import, which must not disturb the run of a student
    with kept_random_states():
        network = _trusted(parser, bundle_dir) if trust_bundle else build_untrusted(parser, _NETWORK, bundle_dir, where)
    if not isinstance(network, nn.Module):
        raise InputError(f"{_NETWORK} in {where} is a {type(network).__name__}, wanted a torch module.")
    return network


def weights_of(bundle_dir: str | Path, weights: str | Path | None = None) -> str | None:
    """Return the file of a teacher's weights where it is not the usual one, None for ``models/model.pt``.

    Args:
        bundle_dir: the bundle's folder.
        weights: a file that was given in its place.

    Raises:
        InputError: if there is neither ``models/model.pt`` nor a TorchScript ``models/model.ts``.

    Example:
        >>> weights_of("no/such/bundle")
        Traceback (most recent call last):
        ...
        akd_monai.errors.InputError: bundle folder 'no/such/bundle' does not exist; ...
    """
    if weights is not None:
        return str(Path(weights).resolve())
    scripted = bundle_path(bundle_dir, "models", _SCRIPTED)
    if scripted.is_file() and not scripted.with_name("model.pt").is_file():
        return str(scripted.resolve())
    weights_path(bundle_dir)
    return None


def _trusted(parser: ConfigParser, bundle_dir: str | Path) -> Any:
    parser.set(with_private_modules(parser.get(), bundle_dir))
    with bundle_failures(bundle_dir):
        return parser.get_parsed_content(_NETWORK)


def _scripted(path: Path, device: str | torch.device, trust_bundle: bool) -> nn.Module:
    """Return a TorchScript network."""
    if not trust_bundle:
        raise InputError(
            "is TorchScript, a program that would be run",
            where=str(path),
            remedy="pass --trust_teacher to distill, trust_bundle=True in Python, if you trust its author",
            code="untrusted",
        )
    if not path.is_file():
        raise InputError(f"weights {str(path)!r} do not exist; give the path of a file written by torch.jit.save.")
    try:
        network: nn.Module = torch.jit.load(str(path), map_location=device)
    except RuntimeError as error:
        raise InputError(f"cannot be loaded as TorchScript ({one_line(error)})", where=str(path)) from error
    return frozen(network)


def _config_with_network(bundle_dir: str | Path, config: str | None) -> Path:
    if config is not None:
        return bundle_path(bundle_dir, "configs", config)
    for name in ("inference", "train", "common"):
        path = config_path(bundle_dir, name)
        if path is not None:
            return path
    raise InputError(f"bundle {str(bundle_dir)!r} has none of inference.json, train.json in configs/; add one.")
