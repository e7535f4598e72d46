# SPDX-License-Identifier: Apache-2.0
"""Features by module path, weights and profiles; the networks themselves are in ``akd_monai.networks.nets``."""

from typing import Any

from akd_monai._moved import moved_name
from akd_monai.networks.heads import Head, select_head
from akd_monai.networks.profile import count_operations, profile_network
from akd_monai.networks.taps import FeatureTaps, list_layers, probe_layers, unwrap
from akd_monai.networks.weights import load_weights

__all__ = [
    "FeatureTaps",
    "Head",
    "count_operations",
    "list_layers",
    "load_weights",
    "probe_layers",
    "profile_network",
    "select_head",
    "unwrap",
]


def __getattr__(name: str) -> Any:
    return moved_name(__name__, name)
