# SPDX-License-Identifier: Apache-2.0
"""Weights from a file, strictly and as tensors only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.utils import consume_prefix_in_state_dict_if_present

from akd_monai.errors import InputError
from akd_monai.networks._weight_files import read_weights

__all__ = ["load_weights"]

_WRAPPERS = ("model", "state_dict", "network")
_PREFIXES = ("module.", "_orig_mod.")


def load_weights(network: nn.Module, path: str | Path) -> None:
    """Load a state dict strictly into ``network``.

    A state dict under the key ``model``, ``state_dict`` or ``network`` of a dictionary is found, and the prefixes that
    ``DistributedDataParallel`` and ``torch.compile`` put before every key are removed.

    The file is checked first: every record of it against its checksum, and the file against the SHA-256 that
    ``best.json`` beside it (written by :class:`akd_monai.handlers.SaveBestModel`) or, without one, ``weights_sha256`` in
    its bundle's metadata gives. Whoever replaces the file on purpose deletes ``best.json``.

    Args:
        network: where the weights go; unchanged unless all of them fit.
        path: file written by ``torch.save(network.state_dict(), path)``; read with ``weights_only=True``.

    Raises:
        InputError: when the file is damaged or not the recorded one, cannot be read without running code, its keys
            or shapes do not fit, a value is NaN, or a parameter infinite; a buffer may hold infinity, as masks do.

    Example:
        >>> load_weights(nn.Linear(1, 1), "no/such/file.pt")
        Traceback (most recent call last):
        ...
        akd_monai.errors.InputError: weights 'no/such/file.pt' do not exist; give the path of a file written by torch.save.
    """
    wanted = network.state_dict()
    state = _without_prefixes(_state_dict(read_weights(Path(path)), path), list(wanted))
    _check_fit(network, state, wanted, path)
    _check_numbers(network, state, path)
    network.load_state_dict(state)


def _state_dict(content: Any, path: str | Path) -> dict[str, Tensor]:
    for wrapper in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    if not _is_state_dict(content):
        raise InputError(f"weights {str(path)!r} hold no state dict; save network.state_dict() there.")
    return dict(content)


def _is_state_dict(content: Any) -> bool:
    if not isinstance(content, Mapping):
        return False
    return all(isinstance(key, str) and isinstance(value, Tensor) for key, value in content.items())


def _without_prefixes(state: dict[str, Tensor], own: Iterable[str]) -> dict[str, Tensor]:
    """Remove the prefixes of wrappers, unless the network's own keys start with them."""
    for prefix in _PREFIXES:
        if _all_start_with(prefix, state) and not _all_start_with(prefix, own):
            consume_prefix_in_state_dict_if_present(state, prefix)
            return _without_prefixes(state, own)
    return state


def _all_start_with(prefix: str, keys: Iterable[str]) -> bool:
    keys = list(keys)
    return bool(keys) and all(key.startswith(prefix) for key in keys)


def _check_fit(network: nn.Module, state: Mapping[str, Tensor], wanted: Mapping[str, Tensor], path: str | Path) -> None:
    missing = sorted(wanted.keys() - state.keys())
    unexpected = sorted(state.keys() - wanted.keys())
    shapes = []
    for key in sorted(wanted.keys() & state.keys()):
        if wanted[key].shape != state[key].shape:
            shapes.append(f"{key} {list(state[key].shape)} instead of {list(wanted[key].shape)}")
    if missing or unexpected or shapes:
        raise InputError(
            f"weights {str(path)!r} do not fit {type(network).__name__}: {len(missing)} keys missing {missing[:3]}, "
            f"{len(unexpected)} unexpected {unexpected[:3]}, {len(shapes)} of another shape {shapes[:3]}; use the weights "
            "that were trained with this network_def."
        )


def _check_numbers(network: nn.Module, state: Mapping[str, Tensor], path: str | Path) -> None:
    parameters = {name for name, _ in network.named_parameters(remove_duplicate=False)}
    broken = [key for key, value in state.items() if _is_broken(value, key in parameters)]
    if broken:
        raise InputError(
            f"weights {str(path)!r} hold NaN or infinity in {len(broken)} of {len(state)} tensors, {broken[0]} first; "
            "a training that diverged may have written them: use the weights of another."
        )


def _is_broken(value: Tensor, is_parameter: bool) -> bool:
    if not value.is_floating_point():
        return False
    return bool(value.isnan().any()) or (is_parameter and bool(value.isinf().any()))
