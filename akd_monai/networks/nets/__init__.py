# SPDX-License-Identifier: Apache-2.0
"""Segmentation networks, each built from its publication in a file of its own."""

from akd_monai.networks.nets.deeplabv3plus import DeepLabV3Plus
from akd_monai.networks.nets.enet import ENet
from akd_monai.networks.nets.erfnet import ERFNet
from akd_monai.networks.nets.espnet import ESPNet
from akd_monai.networks.nets.unetplusplus import UNetPlusPlus

__all__ = ["DeepLabV3Plus", "ENet", "ERFNet", "ESPNet", "UNetPlusPlus"]
