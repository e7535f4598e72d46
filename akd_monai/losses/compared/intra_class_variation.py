# SPDX-License-Identifier: Apache-2.0
"""Intra-class feature variation: pixels are as close to the mean of their class as the teacher's are."""

from __future__ import annotations

from torch import Tensor

from akd_monai.losses._regions import region_means
from akd_monai.losses._unit_vectors import unit_vectors
from akd_monai.losses.compared._of_regions import RegionLoss

__all__ = ["IntraClassVariationLoss"]


class IntraClassVariationLoss(RegionLoss):
    r"""Bring the similarity of each pixel to the mean of its class in the image to the teacher's.

    .. math:: \mathrm{mean}_{b,i} (v^S_{bi} - v^T_{bi})^2, \qquad v_{bi} = \cos(F_{bi}, r_{b y_{bi}}), \qquad
              r_{bk} = \frac{\sum_i m_{bki} F_{bi}}{\sum_i m_{bki}}

    over the pixels that have a label y of the ground truth; the public code counts those without as equal. Labels are
    resized by nearest-exact, there by nearest. Channels may differ without an adapter. Of sigmoid channels, each has the
    two classes absent and present, and the mean over channels is taken. Values lie in [0, 4]; defined for 2D
    and 3D. Needs labels. The adversarial and pixel-wise parts of IFVD are not part of it.

    Args:
        activation: of the networks, which says how labels are read, ``"softmax"`` or ``"sigmoid"``.

    Raises:
        InputError: if ``activation`` is unknown; in the call, if maps differ in size, or labels are missing or do not fit.

    Example:
        >>> import torch
        >>> student = torch.ones(1, 2, 1, 2)
        >>> teacher = torch.eye(2).reshape(1, 2, 1, 2)
        >>> labels = torch.zeros(1, 1, 1, 2)
        >>> round(IntraClassVariationLoss()(student, teacher, labels).item(), 4)  # cosines 1 and sqrt(1/2)
        0.0858

    Source: Wang et al., 2020, ECCV, "Intra-class feature variation distillation for semantic segmentation", as in
    public code (``CriterionIFV`` of TorchDistiller), which has weight 200.
    """

    def _distance(self, student: Tensor, teacher: Tensor, masks: Tensor) -> Tensor:
        labelled = masks.sum(1)
        squares = (_variation(student, masks) - _variation(teacher, masks)).square()
        return (squares * labelled).sum() / labelled.sum().clamp(min=1)


def _variation(features: Tensor, masks: Tensor) -> Tensor:
    """Return the cosine ``[B, N]`` of each pixel and the mean of its region."""
    means = unit_vectors(region_means(features, masks), 2)
    centres = means.transpose(1, 2) @ masks
    return (unit_vectors(features, 1) * centres).sum(1)
