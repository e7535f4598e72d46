# SPDX-License-Identifier: Apache-2.0
"""The Kullback-Leibler divergence of two networks' class probabilities."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from akd_monai.errors import InputError, check_choice, check_number
from akd_monai.losses._checks import check_pair, full_precision, wide
from akd_monai.losses.interface import Activation

__all__ = ["KLDirection", "logits_kl"]

KLDirection = Literal["student_teacher", "teacher_student"]

_CLASSES = "both networks need the same classes in one order, or classes of teacher_output that say which are which"


def logits_kl(
    student: Tensor,
    teacher: Tensor,
    *,
    direction: KLDirection = "student_teacher",
    temperature: float = 1.0,
    activation: Activation = "softmax",
) -> Tensor:
    r"""Return the Kullback-Leibler divergence of two networks' class probabilities.

    .. math:: T^2 \, \mathrm{mean}_{b,i} \sum_c p^S_c (\log p^S_c - \log p^T_c), \qquad
              p = \mathrm{softmax}(z / T)

    for ``"student_teacher"``; ``"teacher_student"`` exchanges the two. Summed over classes, averaged over pixels. It
    can be differentiated twice.

    With ``"sigmoid"`` each channel is a distribution of its own, of a class that is present or not. Its divergence is
    averaged over channels as well:

    .. math:: T^2 \, \mathrm{mean}_{b,i,c} \Big( p^S_c \log\frac{p^S_c}{p^T_c}
              + (1 - p^S_c) \log\frac{1 - p^S_c}{1 - p^T_c} \Big), \qquad p = \sigma(z / T)

    One sigmoid channel z gives exactly the value of the two softmax channels (0, z), and copies of a channel change
    nothing, so that one weight of the term serves both kinds and any number of channels.

    Args:
        student: logits ``[B, C, *spatial]``, C >= 2 with ``"softmax"``.
        teacher: logits of the same shape.
        direction: ``"student_teacher"`` or ``"teacher_student"``.
        temperature: ``T``, above 0.
        activation: what turns the logits into probabilities, ``"softmax"`` or ``"sigmoid"``.

    Raises:
        InputError: if an argument is unknown or out of range, shapes do not fit, or there is one channel only with
            ``"softmax"``.

    Example:
        >>> import torch
        >>> student = torch.tensor([0.0, 2.0]).reshape(1, 2, 1, 1)
        >>> teacher = torch.tensor([2.0, 0.0]).reshape(1, 2, 1, 1)
        >>> round(logits_kl(student, teacher).item(), 4)  # 2 * tanh(1)
        1.5232
        >>> nothing, everything = torch.full((2, 1, 3, 1, 1), 24.0) * torch.tensor([-1.0, 1.0]).reshape(2, 1, 1, 1, 1)
        >>> logits_kl(nothing, everything).item(), logits_kl(nothing, everything, activation="sigmoid").item()
        (0.0, 24.0)

    Source: arXiv:2404.02738, section 2 (logits module), equation 7; ``"teacher_student"`` with T > 1 is Hinton et
    al., 2015, arXiv:1503.02531. The sigmoid form is the same divergence of Bernoulli distributions.
    """
    _check_kl_options(direction, temperature, activation)
    check_pair(student, teacher, channels=True, spatial=True, remedy=_CLASSES)
    if activation == "softmax" and student.shape[1] < 2:
        raise InputError(
            f"the softmax over one channel is always 1 (got shape {list(student.shape)}): set activation to 'sigmoid', or "
            "give both networks two softmax channels (background, foreground)."
        )
    log_probabilities = _log_softmax if activation == "softmax" else _log_sigmoids
    with full_precision(student):
        log_student = log_probabilities(student, temperature)
        log_teacher = log_probabilities(teacher.detach(), temperature).to(log_student.dtype)
        if direction == "teacher_student":
            log_student, log_teacher = log_teacher, log_student
        # The first argument of kl_div is the second distribution of the divergence.
        total = F.kl_div(log_teacher, log_student, reduction="sum", log_target=True)
        # One distribution a pixel, or one a number.
        numbers = student.shape[1] if activation == "softmax" else 1
        return total * (temperature**2 * numbers / student.numel())


def _check_kl_options(direction: str, temperature: float, activation: str) -> None:
    """Raise ``InputError`` unless the options of :func:`logits_kl` are known and in their range."""
    check_choice("direction", direction, get_args(KLDirection))
    check_number("temperature", temperature, above=0)
    check_choice("activation", activation, get_args(Activation))


def _log_softmax(logits: Tensor, temperature: float) -> Tensor:
    return _softened(logits, temperature).log_softmax(1)


def _log_sigmoids(logits: Tensor, temperature: float) -> Tensor:
    """Return the logarithms of the probabilities that a class is present and that it is not, ``[2, *shape]``.

    Both from the logit: the logarithm of ``1 - p`` is lost where p rounds to 1.
    """
    scaled = _softened(logits, temperature)
    return F.logsigmoid(torch.stack([scaled, -scaled]))


def _softened(logits: Tensor, temperature: float) -> Tensor:
    scaled = wide(logits)
    return scaled if temperature == 1 else scaled / temperature
