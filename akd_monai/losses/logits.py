# SPDX-License-Identifier: Apache-2.0
"""Logits module: the student's class probabilities follow the teacher's."""

# No `from __future__ import annotations`: the reference page shows the choices instead of the name of their type.
from typing import ClassVar

from torch import Tensor

from akd_monai.losses.functional.logits import KLDirection, _check_kl_options, logits_kl
from akd_monai.losses.interface import DistillationLoss, TeacherNeeds

__all__ = ["LogitsKLLoss"]


class LogitsKLLoss(DistillationLoss):
    r"""Pull the student's class probabilities towards the teacher's.

    .. math:: T^2 \, \mathrm{mean}_{b,i} \sum_c p^S_c (\log p^S_c - \log p^T_c), \qquad
              p = \mathrm{softmax}(z / T)

    Summed over classes, averaged over pixels: a larger patch gives the same value, so one weight serves 2D and 3D.

    Args:
        direction: ``"student_teacher"`` as above, or ``"teacher_student"`` with the two exchanged.
        temperature: ``T``, above 0; 1 keeps the probabilities as they are.

    Raises:
        InputError: if an argument is unknown or out of range.

    Example:
        >>> import torch
        >>> logits = torch.tensor([2.0, 0.0]).reshape(1, 2, 1, 1)
        >>> LogitsKLLoss()(logits, logits).item()
        0.0

    Source: arXiv:2404.02738, section 2 (logits module), equation 7.
    """

    # Softmax does not see a constant that is added to the logits of a pixel.
    teacher_needs: ClassVar[TeacherNeeds] = "differences"

    def __init__(self, direction: KLDirection = "student_teacher", temperature: float = 1.0) -> None:
        super().__init__()
        _check_kl_options(direction, temperature)
        self.direction: KLDirection = direction
        self.temperature = temperature

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Compare logits ``[B, C, *spatial]``, C >= 2. No gradient reaches ``teacher``.

        Args:
            student: logits of the student.
            teacher: logits of the teacher, of the same shape.

        Raises:
            InputError: if the shapes differ or there is one channel only.
        """
        return logits_kl(student, teacher, direction=self.direction, temperature=self.temperature)

    def extra_repr(self) -> str:
        """Show the options in ``print(module)``."""
        return f"direction={self.direction!r}, temperature={self.temperature}"
