# SPDX-License-Identifier: Apache-2.0
"""Structured distillation, its pair-wise part: the same nodes of an image resemble each other."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from akd_monai.losses._checks import check_integer
from akd_monai.losses.compared._matching import MatchingLoss
from akd_monai.losses.compared._nodes import node_similarities

__all__ = ["PairwiseStructureLoss"]


class PairwiseStructureLoss(MatchingLoss):
    r"""Bring the similarities of the nodes of an image, which are max-pooled patches, to the teacher's.

    .. math:: \frac{1}{B R^2} \sum_b \sum_{r,s} (a^S_{brs} - a^T_{brs})^2, \qquad
              a_{brs} = \frac{\langle f_{br}, f_{bs} \rangle}{\|f_{br}\| \|f_{bs}\|}

    with R nodes, ``nodes`` along each axis. Only similarities are compared: channels and sizes may differ without adapter
    or resizing. Values lie in [0, 4]; defined for 2D and 3D.

    This is one of three parts: the pixel-wise one is :class:`~akd_monai.losses.LogitsKLLoss` with
    ``direction="teacher_student"``; the adversarial one is left out. The authors' code sums the pixel-wise part over the
    images of a batch, of 8, where that class averages, so that its weight of 10 is 80 here. The gradient is that of the
    formula, where their code takes the lengths as constants; a map with an odd side has 3 nodes along it there.

    Args:
        nodes: along each axis, at least 2. The authors pool patches of half the size, which are 2 nodes.

    Raises:
        InputError: if ``nodes`` is out of range; in the call, if batches differ or a map is smaller than the grid.

    Example:
        >>> import torch
        >>> student, teacher = torch.ones(1, 1, 2, 2), torch.tensor([1.0, 1.0, 1.0, -1.0]).reshape(1, 1, 2, 2)
        >>> PairwiseStructureLoss()(student, teacher).item()  # 6 of 16 similarities are -1 in place of 1
        1.5

    Source: Liu et al., 2019, arXiv:1903.04197, pair-wise distillation, as in the authors' public code
    (``sim_dis_compute``), which has weight 1, and 0.5 in a script.
    """

    _same_size: ClassVar[bool] = False

    def __init__(self, nodes: int = 2) -> None:
        super().__init__()
        check_integer("nodes", nodes, at_least=2)
        self.nodes = nodes

    def _distance(self, student: Tensor, teacher: Tensor) -> Tensor:
        ours, theirs = (node_similarities(features, self.nodes, "max") for features in (student, teacher))
        return (ours - theirs).square().mean()
