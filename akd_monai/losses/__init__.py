# SPDX-License-Identifier: Apache-2.0
"""Distillation losses: the three modules of the method, those of other methods, and the criterion that combines them."""

from __future__ import annotations

from akd_monai.losses.affinity import AdaptiveAffinityLoss
from akd_monai.losses.balance import TermBalance
from akd_monai.losses.compared import (
    AttentionTransferLoss,
    ChannelWiseLoss,
    CrossImageRelationLoss,
    DISTLoss,
    ImportanceMapLoss,
    IntraClassVariationLoss,
    MSKDStyleFilterLoss,
    MSKDStyleGraphLoss,
    PairwiseStructureLoss,
    RegionAffinityLoss,
    SimilarityPreservingLoss,
)
from akd_monai.losses.criterion import DistillationCriterion
from akd_monai.losses.functional import affinity_loss, affinity_terms, gram_loss, logits_kl
from akd_monai.losses.gram import GramKernelLoss
from akd_monai.losses.interface import Activation, DistillationLoss, TeacherNeeds
from akd_monai.losses.logits import LogitsKLLoss
from akd_monai.losses.registry import LOSSES, get_loss, loss_names
from akd_monai.losses.schedule import TermSchedule
from akd_monai.losses.terms import DistillationTerm

__all__ = [
    "LOSSES",
    "Activation",
    "AdaptiveAffinityLoss",
    "AttentionTransferLoss",
    "ChannelWiseLoss",
    "CrossImageRelationLoss",
    "DISTLoss",
    "DistillationCriterion",
    "DistillationLoss",
    "DistillationTerm",
    "GramKernelLoss",
    "ImportanceMapLoss",
    "IntraClassVariationLoss",
    "LogitsKLLoss",
    "MSKDStyleFilterLoss",
    "MSKDStyleGraphLoss",
    "PairwiseStructureLoss",
    "RegionAffinityLoss",
    "SimilarityPreservingLoss",
    "TeacherNeeds",
    "TermBalance",
    "TermSchedule",
    "affinity_loss",
    "affinity_terms",
    "get_loss",
    "gram_loss",
    "logits_kl",
    "loss_names",
]
