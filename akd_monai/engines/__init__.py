# SPDX-License-Identifier: Apache-2.0
"""Trainer for distillation, and learning-rate schedules."""

from akd_monai.engines.mixin import DistillationMixin
from akd_monai.engines.mixture import distillation_trainer
from akd_monai.engines.schedules import lr_schedule
from akd_monai.engines.trainer import DistillationTrainer
from akd_monai.engines.unlabelled import UnlabelledOptions

__all__ = ["DistillationMixin", "DistillationTrainer", "UnlabelledOptions", "distillation_trainer", "lr_schedule"]
