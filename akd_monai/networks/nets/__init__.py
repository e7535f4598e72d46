# SPDX-License-Identifier: Apache-2.0
"""The networks, one file each."""

from akd_monai.networks.nets.enet import ENet
from akd_monai.networks.nets.unetplusplus import UNetPlusPlus

__all__ = ["ENet", "UNetPlusPlus"]
