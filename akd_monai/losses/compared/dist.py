# SPDX-License-Identifier: Apache-2.0
"""DIST: class probabilities are correlated with the teacher's rather than equal to them."""

# No `from __future__ import annotations`: the reference page shows the choices instead of the name of their type.
from typing import ClassVar

from torch import Tensor

from akd_monai.errors import InputError, check_number
from akd_monai.losses._unit_vectors import centred_units
from akd_monai.losses.compared._matching import MatchingLoss
from akd_monai.losses.interface import Activation, TeacherNeeds

__all__ = ["DISTLoss"]


class DISTLoss(MatchingLoss):
    r"""Correlate the student's class probabilities with the teacher's, for each pixel and for each class.

    .. math:: T^2 \Big( \beta \big(1 - \mathrm{mean}_i \, \rho(p^S_{i \cdot}, p^T_{i \cdot})\big)
              + \gamma \big(1 - \mathrm{mean}_c \, \rho(p^S_{\cdot c}, p^T_{\cdot c})\big) \Big), \qquad
              p = \mathrm{softmax}(z / T)

    with Pearson's :math:`\rho`. As in the authors' code for segmentation, each pixel of the batch is a sample: the first
    term correlates over classes, for each pixel; the second over all pixels of the batch, for each class. Values lie in
    [0, 2 (beta + gamma) T^2]. Probabilities may differ by a factor and a constant; a class that is constant in one of
    the networks, such as one that is absent everywhere, counts as uncorrelated and has no gradient.

    Of two classes the first correlation is 1 or -1 everywhere: it adds to the value, and has no gradient. Defined
    for softmax logits in 2D and 3D.

    Args:
        beta: weight of the relations between classes, at least 0.
        gamma: weight of the relations within a class, at least 0.
        temperature: ``T``, above 0.
        activation: ``"softmax"``. Sigmoid channels are refused: they are no distribution of a pixel over classes.

    Raises:
        InputError: if an argument is out of range, or ``activation`` is ``"sigmoid"``; in the call, if shapes differ or
            there is one channel only.

    Example:
        >>> import torch
        >>> probabilities = torch.tensor([[0.2, 0.5], [0.3, 0.3], [0.5, 0.2]]).reshape(1, 3, 1, 2)
        >>> softer = (probabilities + 1) / 4
        >>> abs(DISTLoss()(softer.log(), probabilities.log()).item() - 1 / 3) < 1e-5  # the second class is constant
        True

    Source: Huang et al., 2022, arXiv:2205.10536, as in the authors' public code for segmentation (``DIST`` of DIST_KD),
    which has no temperature, beta = gamma = 1 and weight 1.
    """

    teacher_needs: ClassVar[TeacherNeeds] = "differences"
    activation: Activation = "softmax"
    _same_channels: ClassVar[bool] = True
    _remedy: ClassVar[str] = "compare the logits of both networks"

    def __init__(
        self, beta: float = 1.0, gamma: float = 1.0, temperature: float = 1.0, activation: Activation = "softmax"
    ) -> None:
        super().__init__()
        check_number("beta", beta, at_least=0)
        check_number("gamma", gamma, at_least=0)
        check_number("temperature", temperature, above=0)
        if activation != "softmax":
            raise InputError(
                f"DISTLoss correlates the classes of a pixel, which channels of activation {activation!r} have not",
                remedy="use LogitsKLLoss or ChannelWiseLoss",
            )
        self.beta = beta
        self.gamma = gamma
        self.temperature = temperature

    def _distance(self, student: Tensor, teacher: Tensor) -> Tensor:
        if student.shape[1] < 2:
            raise InputError(f"DISTLoss needs two or more classes, got logits of shape {list(student.shape)}.")
        ours, theirs = ((z / self.temperature).softmax(1).transpose(0, 1).flatten(1) for z in (student, teacher))
        # of two classes a correlation is a sign, whose gradient would be rounding
        between = 1 - _correlations(ours.detach() if len(ours) == 2 else ours, theirs, 0).mean()
        within = 1 - _correlations(ours, theirs, 1).mean()
        return self.temperature**2 * (self.beta * between + self.gamma * within)


def _correlations(ours: Tensor, theirs: Tensor, dim: int) -> Tensor:
    return (centred_units(ours, dim) * centred_units(theirs, dim)).sum(dim)
