# SPDX-License-Identifier: Apache-2.0
"""Training engine and schedules."""

from akd_monai.engines.schedules import lr_schedule
from akd_monai.engines.trainer import DistillationTrainer

__all__ = ["DistillationTrainer", "lr_schedule"]
