# SPDX-License-Identifier: Apache-2.0
"""Features by module path, adapters, weights and profiles; the networks themselves are in ``akd_monai.networks.nets``."""

from akd_monai.networks.profile.measure import profile_network
from akd_monai.networks.profile.operations import count_operations
from akd_monai.networks.taps import FeatureTaps, list_layers, probe_layers, unwrap
from akd_monai.networks.weights import load_weights

__all__ = [
    "FeatureTaps",
    "count_operations",
    "list_layers",
    "load_weights",
    "probe_layers",
    "profile_network",
    "unwrap",
]
