# SPDX-License-Identifier: Apache-2.0
"""Read weights from a file, strictly and as tensors only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import nn

from akd_monai.errors import InputError

_WRAPPERS = ("model", "state_dict", "network")
_PREFIXES = ("module.", "_orig_mod.")


def load_weights(network: nn.Module, path: str | Path) -> None:
    """Load a state dict strictly into ``network``.

    A state dict inside a dictionary under ``model``, ``state_dict`` or ``network`` is found, and the prefixes that
    ``DistributedDataParallel`` and ``torch.compile`` put before every key are taken off.

    Raises:
        InputError: when the file cannot be read without running code, or its keys or shapes do not fit.

    Example:
        >>> load_weights(nn.Linear(1, 1), "no/such/file.pt")
        Traceback (most recent call last):
        ...
        akd_monai.errors.InputError: weights 'no/such/file.pt' do not exist; give the path of a file written by torch.save.
    """
    wanted = network.state_dict()
    state = _plain_keys(_read(path), wanted)
    missing, unexpected = sorted(wanted.keys() - state.keys()), sorted(state.keys() - wanted.keys())
    shapes = [
        f"{k} {list(state[k].shape)} instead of {list(wanted[k].shape)}"
        for k in sorted(wanted.keys() & state.keys())
        if wanted[k].shape != state[k].shape
    ]
    if missing or unexpected or shapes:
        raise InputError(
            f"weights {str(path)!r} do not fit {type(network).__name__}: {len(missing)} keys missing {missing[:3]}, "
            f"{len(unexpected)} unexpected {unexpected[:3]}, {len(shapes)} of another shape {shapes[:3]}; use the weights "
            "that were trained with this network_def."
        )
    network.load_state_dict(state)


def _read(path: str | Path) -> dict[str, torch.Tensor]:
    if not Path(path).is_file():
        raise InputError(f"weights {str(path)!r} do not exist; give the path of a file written by torch.save.")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise InputError(f"weights {str(path)!r} cannot be read as tensors only: {reason}") from error
    for wrapper in _WRAPPERS:
        if isinstance(state, Mapping) and isinstance(state.get(wrapper), Mapping):
            state = state[wrapper]
    if not isinstance(state, Mapping) or not all(
        isinstance(k, str) and isinstance(v, torch.Tensor) for k, v in state.items()
    ):
        raise InputError(f"weights {str(path)!r} hold no state dict; save network.state_dict() there.")
    return dict(state)


def _plain_keys(state: dict[str, torch.Tensor], wanted: Iterable[str]) -> dict[str, torch.Tensor]:
    """Take off the prefixes of wrappers, unless the network's own keys begin like that."""
    own = list(wanted)
    found = True
    while found:
        found = False
        for prefix in _PREFIXES:
            theirs = state and all(k.startswith(prefix) for k in state)
            if theirs and not all(k.startswith(prefix) for k in own):
                state = {k.removeprefix(prefix): v for k, v in state.items()}
                found = True
    return state
