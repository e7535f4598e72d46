# SPDX-License-Identifier: Apache-2.0
"""Attention transfer: the student is active where the teacher is."""

# No `from __future__ import annotations`: the reference page shows the choices instead of the name of their type.
from typing import Literal, get_args

from torch import Tensor

from akd_monai.errors import check_choice, check_number
from akd_monai.losses._unit_vectors import unit_vectors
from akd_monai.losses.compared._matching import MatchingLoss

__all__ = ["AttentionTransferLoss", "PositionReduction"]

#: How squared differences of the positions of an image become one number.
PositionReduction = Literal["mean", "sum"]


class AttentionTransferLoss(MatchingLoss):
    r"""Bring the student's attention map, the energy of all channels at each pixel, to the teacher's.

    .. math:: \mathrm{mean}_{b} \frac{1}{N} \sum_i (q^S_{bi} - q^T_{bi})^2, \qquad q_b = \frac{a_b}{\|a_b\|_2}, \qquad
              a_{bi} = \frac{1}{C} \sum_c |F_{bci}|^p

    Channels are summed, so that they may differ and no adapter is needed. A factor of a map changes nothing. Values lie in
    [0, 2 / N], or in [0, 2] with ``"sum"``. Defined for 2D and 3D, for features rather than logits.

    Args:
        power: ``p``, above 0.
        reduction: ``"mean"`` over the N positions, as in the authors' code, or their ``"sum"``.

    Raises:
        InputError: if an argument is out of range; in the call, if the maps differ in batch or spatial size.

    Example:
        >>> import torch
        >>> student = torch.tensor([1.0, 0.0]).reshape(1, 1, 1, 2)
        >>> teacher = torch.tensor([0.0, 1.0]).reshape(1, 1, 1, 2)
        >>> AttentionTransferLoss()(student, teacher).item(), AttentionTransferLoss()(9 * student, student).item()
        (1.0, 0.0)

    Source: Zagoruyko and Komodakis, 2017, arXiv:1612.03928, activation-based transfer; their public code
    (``at_loss``) has p = 2, the mean and weight 1000.
    """

    def __init__(self, power: float = 2.0, reduction: PositionReduction = "mean") -> None:
        super().__init__()
        check_number("power", power, above=0)
        check_choice("reduction", reduction, get_args(PositionReduction))
        self.power = power
        self.reduction: PositionReduction = reduction

    def _distance(self, student: Tensor, teacher: Tensor) -> Tensor:
        squares = (self._attention(student) - self._attention(teacher)).square()
        return squares.mean() if self.reduction == "mean" else squares.sum(1).mean()

    def _attention(self, features: Tensor) -> Tensor:
        """Return attention maps ``[B, N]`` of length 1."""
        # a common factor drops out, and powers of large features would overflow
        largest = features.detach().abs().flatten(1).amax(1).clamp(min=1e-30)
        scaled = features.flatten(2) / largest[:, None, None]
        return unit_vectors(scaled.abs().pow(self.power).mean(1), 1, tiny=1e-30)
