# SPDX-License-Identifier: Apache-2.0
"""Light networks for students in 2D and 3D: what their short names stand for, and arguments that make them small."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from akd_monai.networks import nets

__all__ = ["LIGHT", "full_target", "is_of_slices", "light_arguments"]

# parameters for one channel and two classes in 2D and 3D stand in docs/how-to/add-network.md, and a test counts them
LIGHT: dict[str, dict[str, Any]] = {
    "UNet": {"channels": [8, 16, 32, 64], "strides": [2, 2, 2], "num_res_units": 2, "norm": "instance"},
    "BasicUNet": {"features": [8, 8, 16, 32, 64, 8]},
    "SegResNet": {"init_filters": 8, "blocks_down": [1, 1, 1, 2], "blocks_up": [1, 1, 1]},
    "AttentionUnet": {"channels": [8, 16, 32, 64], "strides": [2, 2, 2]},
}


def full_target(network: str) -> str:
    """Return the import path of a network of this package that is named shortly; other names as they are.

    Example:
        >>> full_target("ENet"), full_target("UNet"), full_target("my_pkg.ENet")
        ('akd_monai.networks.nets.ENet', 'UNet', 'my_pkg.ENet')
    """
    return f"{nets.__name__}.{network}" if network in nets.__all__ else network


def is_of_slices(target: str) -> bool:
    """Return whether a network is one of this package, which take slices only."""
    return target.startswith(f"{nets.__name__}.")


def light_arguments(network: str, given: Any) -> Any:
    """Return the arguments that make one of MONAI's networks light, as far as ``given`` does not say otherwise.

    What is given but no mapping is returned as it is, to be refused with all other arguments that do not fit.

    Example:
        >>> light_arguments("UNet", {"norm": "batch"})
        {'channels': [8, 16, 32, 64], 'strides': [2, 2, 2], 'num_res_units': 2, 'norm': 'batch'}
        >>> light_arguments("VNet", None)
        {}
    """
    if given is not None and not isinstance(given, Mapping):
        return given
    short = network.rsplit(".", 1)[-1] if network.startswith("monai.networks.nets.") else network
    return {**deepcopy(LIGHT.get(short, {})), **dict(given or {})}
