# SPDX-License-Identifier: Apache-2.0
"""Layers that train faster on a CPU than PyTorch's own, with the same weights and, to rounding, the same values."""

from typing import Any

from akd_monai._moved import moved_name
from akd_monai.networks.layers.batch_norm import VectorizedBatchNorm2d
from akd_monai.networks.layers.prelu import VectorizedPReLU

__all__ = ["VectorizedBatchNorm2d", "VectorizedPReLU"]


def __getattr__(name: str) -> Any:
    return moved_name(__name__, name)
