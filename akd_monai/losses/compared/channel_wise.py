# SPDX-License-Identifier: Apache-2.0
"""Channel-wise distillation: each channel of the student is salient at the pixels at which the teacher's is."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor
from torch.nn import functional as F

from akd_monai.errors import check_number
from akd_monai.losses.compared._matching import MatchingLoss

__all__ = ["ChannelWiseLoss"]


class ChannelWiseLoss(MatchingLoss):
    r"""Bring the distribution of each channel over the pixels of an image to the teacher's.

    .. math:: \frac{T^2}{B C} \sum_{b,c} \sum_i p^T_{bci} (\log p^T_{bci} - \log p^S_{bci}), \qquad
              p_{bc} = \mathrm{softmax}_i(z_{bci} / T)

    The softmax is over the N pixels of a channel, not over channels, so that a constant that is added to a channel changes
    nothing. For logits of either activation and for features; channels must agree in number, by an adapter where features
    differ. At least 0; defined for 2D and 3D.

    Args:
        temperature: ``T``, above 0.

    Raises:
        InputError: if ``temperature`` is out of range; in the call, if the maps differ in shape.

    Example:
        >>> import torch
        >>> student, teacher = torch.zeros(1, 1, 1, 2), torch.tensor([2.0, 0.0]).reshape(1, 1, 1, 2)
        >>> round(ChannelWiseLoss(temperature=1.0)(student, teacher).item(), 4)  # tanh(1) - log(cosh(1))
        0.3278
        >>> ChannelWiseLoss()(teacher + 5, teacher).item()
        0.0

    Source: Shu et al., 2021, arXiv:2011.13256, as in the authors' public code (``CriterionCWD`` of TorchDistiller),
    which has T = 4 and weight 3 on logits.
    """

    _same_channels: ClassVar[bool] = True

    def __init__(self, temperature: float = 4.0) -> None:
        super().__init__()
        check_number("temperature", temperature, above=0)
        self.temperature = temperature

    def _distance(self, student: Tensor, teacher: Tensor) -> Tensor:
        ours, theirs = (F.log_softmax(z.flatten(2) / self.temperature, dim=2) for z in (student, teacher))
        total = F.kl_div(ours, theirs, reduction="sum", log_target=True)
        channels = student.shape[0] * student.shape[1]
        return total * (self.temperature**2 / channels)
