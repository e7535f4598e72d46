# SPDX-License-Identifier: Apache-2.0
"""Logits module: the student's class probabilities follow the teacher's."""

from __future__ import annotations

from torch import Tensor, nn

from akd_monai.errors import check_choice, check_number
from akd_monai.losses.functional import KL_DIRECTIONS, logits_kl


class LogitsKLLoss(nn.Module):
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

    def __init__(self, direction: str = "student_teacher", temperature: float = 1.0) -> None:
        super().__init__()
        check_choice("direction", direction, KL_DIRECTIONS)
        check_number("temperature", temperature, above=0)
        self.direction, self.temperature = direction, temperature

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Compare logits ``[B, C, *spatial]``, C >= 2. No gradient reaches ``teacher``.

        Raises:
            InputError: if the shapes differ or there is one channel only.
        """
        return logits_kl(student, teacher, direction=self.direction, temperature=self.temperature)

    def extra_repr(self) -> str:
        """Show the options in ``print(module)``."""
        return f"direction={self.direction!r}, temperature={self.temperature}"
