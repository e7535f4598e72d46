# SPDX-License-Identifier: Apache-2.0
"""Losses of other distillation methods, to be compared with the three modules on the same two bundles."""

from __future__ import annotations

from akd_monai.losses.compared.attention_transfer import AttentionTransferLoss
from akd_monai.losses.compared.channel_wise import ChannelWiseLoss
from akd_monai.losses.compared.cross_image_relation import CrossImageRelationLoss
from akd_monai.losses.compared.dist import DISTLoss
from akd_monai.losses.compared.importance_map import ImportanceMapLoss
from akd_monai.losses.compared.intra_class_variation import IntraClassVariationLoss
from akd_monai.losses.compared.mskd_style import MSKDStyleFilterLoss, MSKDStyleGraphLoss
from akd_monai.losses.compared.pairwise_structure import PairwiseStructureLoss
from akd_monai.losses.compared.region_affinity import RegionAffinityLoss
from akd_monai.losses.compared.similarity_preserving import SimilarityPreservingLoss

__all__ = [
    "AttentionTransferLoss",
    "ChannelWiseLoss",
    "CrossImageRelationLoss",
    "DISTLoss",
    "ImportanceMapLoss",
    "IntraClassVariationLoss",
    "MSKDStyleFilterLoss",
    "MSKDStyleGraphLoss",
    "PairwiseStructureLoss",
    "RegionAffinityLoss",
    "SimilarityPreservingLoss",
]
