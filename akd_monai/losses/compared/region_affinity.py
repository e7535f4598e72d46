# SPDX-License-Identifier: Apache-2.0
"""Region affinity of EMKD: regions of the ground truth resemble each other as the teacher's do."""

from __future__ import annotations

import torch
from torch import Tensor

from akd_monai.losses._regions import region_means
from akd_monai.losses._unit_vectors import unit_vectors
from akd_monai.losses.compared._of_regions import RegionLoss

__all__ = ["RegionAffinityLoss"]


class RegionAffinityLoss(RegionLoss):
    r"""Bring the similarity of each two regions of the ground truth to the teacher's.

    .. math:: \mathrm{mean}_b \, \mathrm{mean}_{k<l} \big(\cos(r^S_{bk}, r^S_{bl}) - \cos(r^T_{bk}, r^T_{bl})\big)^2, \qquad
              r_{bk} = \frac{\sum_i m_{bki} F_{bi}}{\sum_i m_{bki}}

    over the pairs of classes that an image shows; an image of one class adds 0. Channels may differ without an adapter. Of
    sigmoid channels, each is a pair of regions, absent and present, and the mean over channels is taken. Values lie in
    [0, 4]; defined for 2D and 3D. Needs labels.

    One of the three terms of EMKD, see :class:`ImportanceMapLoss`. The public code knows two classes, for which the value is
    the same but for the resizing of labels, which is nearest-exact here.

    Args:
        activation: of the networks, which says how labels are read, ``"softmax"`` or ``"sigmoid"``.

    Raises:
        InputError: if ``activation`` is unknown; in the call, if maps differ in size, or labels are missing or do not fit.

    Example:
        >>> student = torch.tensor([[1.0, 1.0], [0.0, 1.0]]).reshape(1, 2, 1, 2)
        >>> teacher = torch.eye(2).reshape(1, 2, 1, 2)
        >>> labels = torch.tensor([0, 1]).reshape(1, 1, 1, 2)
        >>> round(RegionAffinityLoss()(student, teacher, labels).item(), 4)  # cosines sqrt(1/2) and 0
        0.5

    Source: Qin et al., 2021, arXiv:2108.09987, "region affinity distillation", as in the authors' public code; weight 0.9.
    """

    def _distance(self, student: Tensor, teacher: Tensor, masks: Tensor) -> Tensor:
        regions = masks.shape[1]
        first, second = torch.triu_indices(regions, regions, 1, device=masks.device)
        is_shown = masks.amax(2)
        pairs = is_shown[:, first] * is_shown[:, second]
        squares = (_cosines(student, masks) - _cosines(teacher, masks))[:, first, second].square()
        return ((squares * pairs).sum(1) / pairs.sum(1).clamp(min=1)).mean()


def _cosines(features: Tensor, masks: Tensor) -> Tensor:
    """Return the cosines ``[B, R, R]`` of the regions' mean features."""
    means = unit_vectors(region_means(features, masks), 2)
    return means @ means.transpose(1, 2)
