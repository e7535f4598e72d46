# SPDX-License-Identifier: Apache-2.0
"""The Kullback-Leibler divergence of two networks' class probabilities."""

from __future__ import annotations

from typing import Literal, get_args

from torch import Tensor
from torch.nn import functional as F

from akd_monai.errors import InputError, check_choice, check_number
from akd_monai.losses._checks import check_pair, full_precision, wide

__all__ = ["KLDirection", "logits_kl"]

KLDirection = Literal["student_teacher", "teacher_student"]


def logits_kl(
    student: Tensor, teacher: Tensor, *, direction: KLDirection = "student_teacher", temperature: float = 1.0
) -> Tensor:
    r"""Return the Kullback-Leibler divergence of two networks' class probabilities.

    .. math:: T^2 \, \mathrm{mean}_{b,i} \sum_c p^S_c (\log p^S_c - \log p^T_c), \qquad
              p = \mathrm{softmax}(z / T)

    for ``"student_teacher"``; ``"teacher_student"`` exchanges the two. Summed over classes, averaged over pixels. It
    can be differentiated twice.

    Args:
        student: logits ``[B, C, *spatial]``, C >= 2.
        teacher: logits of the same shape.
        direction: ``"student_teacher"`` or ``"teacher_student"``.
        temperature: ``T``, above 0.

    Raises:
        InputError: if an argument is unknown or out of range, shapes do not fit, or there is one channel only.

    Example:
        >>> import torch
        >>> student = torch.tensor([0.0, 2.0]).reshape(1, 2, 1, 1)
        >>> teacher = torch.tensor([2.0, 0.0]).reshape(1, 2, 1, 1)
        >>> round(logits_kl(student, teacher).item(), 4)  # 2 * tanh(1)
        1.5232

    Source: arXiv:2404.02738, section 2 (logits module), equation 7; ``"teacher_student"`` with T > 1 is Hinton et
    al., 2015, arXiv:1503.02531.
    """
    _check_kl_options(direction, temperature)
    check_pair(student, teacher, channels=True, spatial=True, remedy="both networks need the same classes in one order")
    if student.shape[1] < 2:
        raise InputError(
            f"the softmax over one channel is always 1 (got shape {list(student.shape)}): give both networks two "
            "softmax channels (background, foreground)."
        )
    with full_precision(student):
        log_student = _log_probabilities(student, temperature)
        log_teacher = _log_probabilities(teacher.detach(), temperature).to(log_student.dtype)
        if direction == "teacher_student":
            log_student, log_teacher = log_teacher, log_student
        # The first argument of kl_div is the second distribution of the divergence.
        total = F.kl_div(log_teacher, log_student, reduction="sum", log_target=True)
        return total * (temperature**2 * student.shape[1] / student.numel())


def _check_kl_options(direction: str, temperature: float) -> None:
    """Raise ``InputError`` unless the options of :func:`logits_kl` are known and in their range."""
    check_choice("direction", direction, get_args(KLDirection))
    check_number("temperature", temperature, above=0)


def _log_probabilities(logits: Tensor, temperature: float) -> Tensor:
    scaled = wide(logits)
    if temperature != 1:
        scaled = scaled / temperature
    return scaled.log_softmax(1)
