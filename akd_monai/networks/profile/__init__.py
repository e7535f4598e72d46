# SPDX-License-Identifier: Apache-2.0
"""Cost of networks: parameters, operations, time, memory, and the machine they were measured on."""

from akd_monai.networks.profile.machine import machine_facts
from akd_monai.networks.profile.measure import profile_network
from akd_monai.networks.profile.operations import count_operations
from akd_monai.networks.profile.table import profile_note, profile_table, write_profile

__all__ = [
    "count_operations",
    "machine_facts",
    "profile_network",
    "profile_note",
    "profile_table",
    "write_profile",
]
