# SPDX-License-Identifier: Apache-2.0
"""Logits module: the student's class probabilities follow the teacher's."""

# No `from __future__ import annotations`: the reference page shows the choices instead of the name of their type.
from typing import ClassVar

from torch import Tensor

from akd_monai.losses.functional._pixel_weights import ClassWeights, Mask, check_weighting
from akd_monai.losses.functional.logits import KLDirection, _check_kl_options, logits_kl
from akd_monai.losses.interface import Activation, DistillationLoss, TeacherNeeds

__all__ = ["LogitsKLLoss"]


class LogitsKLLoss(DistillationLoss):
    r"""Pull the student's class probabilities towards the teacher's.

    .. math:: T^2 \, \mathrm{mean}_{b,i} \sum_c p^S_c (\log p^S_c - \log p^T_c), \qquad
              p = \mathrm{softmax}(z / T)

    Summed over classes, averaged over pixels: a larger patch gives the same value, so one weight serves 2D and 3D.

    Of channels that may overlap, with ``"sigmoid"``, each is compared on its own, and the mean over channels is taken:

    .. math:: T^2 \, \mathrm{mean}_{b,i,c} \Big( p^S_c \log\frac{p^S_c}{p^T_c}
              + (1 - p^S_c) \log\frac{1 - p^S_c}{1 - p^T_c} \Big), \qquad p = \sigma(z / T)

    which for one channel z is the value of two softmax channels (0, z).

    Most pixels are background. ``class_weights`` and ``mask`` give the others more weight, or leave pixels out; the formula
    is that of :func:`~akd_monai.losses.logits_kl`.

    Args:
        direction: ``"student_teacher"`` as above, or ``"teacher_student"`` with the two exchanged.
        temperature: ``T``, above 0; 1 keeps the probabilities as they are.
        activation: what turns the logits of both networks into probabilities, ``"softmax"`` or ``"sigmoid"``.
        class_weights: ``None`` for a mean over pixels; a weight for each class, of which each pixel is given that of the
            teacher's class; or ``"balanced"``, for the mean over classes of the mean over the pixels of a class.
        mask: ``None`` for all pixels, or which ones count, by ``{"confidence": 0.9}``: where the teacher's largest
            probability is at least this, or ``{"distance": 8}``: what is at most so many pixels along every axis from what
            the teacher calls foreground, or both.

    Raises:
        InputError: if an argument is unknown or out of range.

    Example:
        >>> import torch
        >>> logits = torch.tensor([2.0, 0.0]).reshape(1, 2, 1, 1)
        >>> LogitsKLLoss()(logits, logits).item()
        0.0
        >>> LogitsKLLoss(activation="sigmoid")(logits, -logits).item()  # 2 * tanh(1) and 0
        0.7615941762924194
        >>> LogitsKLLoss(class_weights="balanced", mask={"distance": 8})
        LogitsKLLoss(direction='student_teacher', temperature=1.0, class_weights='balanced', mask={'distance': 8})

    Source: arXiv:2404.02738, section 2 (logits module), equation 7.
    """

    # Softmax does not see a constant that is added to the logits of a pixel; sigmoid channels are stored one by one.
    teacher_needs: ClassVar[TeacherNeeds] = "differences"
    activation: Activation = "softmax"
    class_weights: ClassWeights | None = None
    mask: Mask | None = None

    def __init__(
        self,
        direction: KLDirection = "student_teacher",
        temperature: float = 1.0,
        activation: Activation = "softmax",
        class_weights: ClassWeights | None = None,
        mask: Mask | None = None,
    ) -> None:
        super().__init__()
        _check_kl_options(direction, temperature, activation)
        check_weighting(class_weights, mask)
        self.direction: KLDirection = direction
        self.temperature = temperature
        # What is not the default alone is a setting, so that a run which an earlier version started is the same run.
        if activation != "softmax":
            self.activation = activation
        if class_weights is not None:
            self.class_weights = class_weights
        if mask is not None:
            self.mask = mask

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Compare logits ``[B, C, *spatial]``, C >= 2 with softmax. No gradient reaches ``teacher``.

        Args:
            student: logits of the student.
            teacher: logits of the teacher, of the same shape.

        Raises:
            InputError: if the shapes differ, there is one channel only with softmax, or not as many weights as classes.
        """
        return logits_kl(
            student,
            teacher,
            direction=self.direction,
            temperature=self.temperature,
            activation=self.activation,
            class_weights=self.class_weights,
            mask=self.mask,
        )

    def extra_repr(self) -> str:
        """Show the options in ``print(module)``."""
        shown = f"direction={self.direction!r}, temperature={self.temperature}"
        if self.activation != "softmax":
            shown = f"{shown}, activation={self.activation!r}"
        if self.class_weights is not None:
            shown = f"{shown}, class_weights={self.class_weights!r}"
        return shown if self.mask is None else f"{shown}, mask={self.mask!r}"
