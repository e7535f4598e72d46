# SPDX-License-Identifier: Apache-2.0
"""MSKD-style terms: our reading of an abstract, not the method of that name."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from akd_monai.errors import check_number
from akd_monai.losses._checks import check_integer
from akd_monai.losses._unit_vectors import centred_units, unit_vectors
from akd_monai.losses.compared._matching import MatchingLoss
from akd_monai.losses.compared._nodes import node_similarities

__all__ = ["MSKDStyleFilterLoss", "MSKDStyleGraphLoss"]


class MSKDStyleFilterLoss(MatchingLoss):
    r"""MSKD-style (our reading of the abstract): bring channel-weighted maps together where the teacher is decided.

    .. math:: \mathrm{mean}_b \sum_i w_{bi} (q^S_{bi} - q^T_{bi})^2, \qquad q_b = \frac{a_b}{\|a_b\|_2}, \qquad
              a_{bi} = \sum_c \bar x_{bc} \, x_{bci}, \qquad x = \max(F, 0)

    with :math:`\bar x_{bc}` the mean of a channel, and :math:`w \propto \max(\sigma, 1 - \sigma)^{0.6}`, of mean 1,
    where :math:`\sigma` is the sigmoid of the teacher's map a less its mean, divided by its standard deviation. Channels may
    differ without an adapter. A positive factor of a map changes nothing. At least 0; defined for 2D and 3D.

    No code of MSKD is public, and its paper was not available: do not call a result of this "MSKD".

    Args:
        power: of the weight, at least 0; 0 weighs all pixels alike.

    Raises:
        InputError: if ``power`` is out of range; in the call, if the maps differ in batch or spatial size.

    Example:
        >>> import torch
        >>> student, teacher = torch.tensor([[1.0, 0.0], [0.0, 1.0]]).reshape(2, 1, 1, 1, 2)
        >>> round(MSKDStyleFilterLoss()(student, teacher).item(), 4), MSKDStyleFilterLoss()(3 * student, student).item()
        (2.0, 0.0)

    Source: our reading of the abstract of Zhao et al., 2023, "MSKD: structured knowledge distillation for efficient medical
    image segmentation" (feature filtering).
    """

    def __init__(self, power: float = 0.6) -> None:
        super().__init__()
        check_number("power", power, at_least=0)
        self.power = power

    def _distance(self, student: Tensor, teacher: Tensor) -> Tensor:
        ours = _filtered(student)
        theirs = _filtered(teacher)
        sureness = (centred_units(theirs, 1) * theirs.shape[1] ** 0.5).abs().sigmoid().pow(self.power)
        weight = sureness / sureness.mean(1, keepdim=True)
        distances: Tensor = (weight * (ours - theirs).square()).sum(1)
        return distances.mean()


class MSKDStyleGraphLoss(MatchingLoss):
    r"""MSKD-style (our reading of the abstract): bring the similarities of patches of an image to the teacher's.

    .. math:: \frac{1}{B R^2} \sum_b \sum_{r,s} \big(\cos(f^S_{br}, f^S_{bs}) - \cos(f^T_{br}, f^T_{bs})\big)^2

    where a node f is the mean of a patch. Channels and sizes may differ without adapter or resizing. Values lie in [0, 4];
    defined for 2D and 3D. No code of MSKD is public: do not call a result of this "MSKD".

    Args:
        nodes: patches along each axis, at least 2.

    Raises:
        InputError: if ``nodes`` is out of range; in the call, if batches differ or a map is smaller than the grid.

    Example:
        >>> import torch
        >>> student, teacher = torch.ones(1, 1, 2, 2), torch.tensor([1.0, 1.0, 1.0, -1.0]).reshape(1, 1, 2, 2)
        >>> MSKDStyleGraphLoss(nodes=2)(student, teacher).item()  # 6 of 16 similarities are -1 in place of 1
        1.5

    Source: as :class:`MSKDStyleFilterLoss` (region graph).
    """

    _same_size: ClassVar[bool] = False

    def __init__(self, nodes: int = 8) -> None:
        super().__init__()
        check_integer("nodes", nodes, at_least=2)
        self.nodes = nodes

    def _distance(self, student: Tensor, teacher: Tensor) -> Tensor:
        ours, theirs = (node_similarities(features, self.nodes, "mean") for features in (student, teacher))
        return (ours - theirs).square().mean()


def _filtered(features: Tensor) -> Tensor:
    """Return channel-weighted maps ``[B, N]`` of length 1."""
    active = features.relu().flatten(2)
    return unit_vectors((active.mean(2, keepdim=True) * active).sum(1), 1)
