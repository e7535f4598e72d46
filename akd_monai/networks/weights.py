# SPDX-License-Identifier: Apache-2.0
"""Read weights from a file, strictly and as tensors only."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from akd_monai.errors import InputError


def load_weights(network: nn.Module, path: str | Path) -> None:
    """Load a state dict strictly into ``network``.

    Raises:
        InputError: when the file cannot be read without running code, or its keys or shapes do not fit.
    """
    if not Path(path).is_file():
        raise InputError(f"weights {str(path)!r} do not exist; give the path of a file written by torch.save.")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"weights {str(path)!r} cannot be read as tensors only: {reason}") from error
    for wrapper in ("model", "state_dict", "network"):
        if isinstance(state, Mapping) and isinstance(state.get(wrapper), Mapping):
            state = state[wrapper]
    if not isinstance(state, Mapping) or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise InputError(f"weights {str(path)!r} hold no state dict; save network.state_dict() there.")
    state = {key.removeprefix("module."): value for key, value in state.items()}
    wanted = network.state_dict()
    missing, unexpected = sorted(wanted.keys() - state.keys()), sorted(state.keys() - wanted.keys())
    shapes = [k for k in sorted(wanted.keys() & state.keys()) if wanted[k].shape != state[k].shape]
    if missing or unexpected or shapes:
        raise InputError(
            f"weights {str(path)!r} do not fit {type(network).__name__}: {len(missing)} keys missing {missing[:3]}, "
            f"{len(unexpected)} unexpected {unexpected[:3]}, {len(shapes)} of another shape {shapes[:3]}; use the weights "
            "that were trained with this network_def."
        )
    network.load_state_dict(state)
