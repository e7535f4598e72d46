# SPDX-License-Identifier: Apache-2.0
"""Distillation losses: pure functions, the three modules of the method, and the criterion that combines them."""

from __future__ import annotations

from akd_monai.losses.affinity import AdaptiveAffinityLoss
from akd_monai.losses.criterion import DistillationCriterion
from akd_monai.losses.functional import affinity_loss, affinity_terms, gram_loss, logits_kl
from akd_monai.losses.gram import GramKernelLoss
from akd_monai.losses.interface import Activation, DistillationLoss, TeacherNeeds
from akd_monai.losses.logits import LogitsKLLoss
from akd_monai.losses.registry import LOSSES, get_loss, loss_names
from akd_monai.losses.terms import DistillationTerm

__all__ = [
    "LOSSES",
    "Activation",
    "AdaptiveAffinityLoss",
    "DistillationCriterion",
    "DistillationLoss",
    "DistillationTerm",
    "GramKernelLoss",
    "LogitsKLLoss",
    "TeacherNeeds",
    "affinity_loss",
    "affinity_terms",
    "get_loss",
    "gram_loss",
    "logits_kl",
    "loss_names",
]
