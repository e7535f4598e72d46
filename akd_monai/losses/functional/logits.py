# SPDX-License-Identifier: Apache-2.0
"""The Kullback-Leibler divergence of two networks' class probabilities."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from akd_monai.errors import InputError, check_choice, check_number
from akd_monai.losses._checks import check_pair, full_precision, wide
from akd_monai.losses.functional._pixel_weights import ClassWeights, Mask, check_weighting, weighted_mean
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
    class_weights: ClassWeights | None = None,
    mask: Mask | None = None,
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

    Weights and masks are read from the teacher's logits, so that they need no labels. With the teacher's class y at a pixel,
    the class of its largest logit, weights w and the pixels M that count, the mean over pixels is replaced by

    .. math:: \frac{\sum_{(b,i) \in M} w_{y_{bi}} D_{bi}}{\sum_{(b,i) \in M} w_{y_{bi}}}

    over the batch, where D is the divergence of a pixel; ``"balanced"`` is :math:`w_c = 1 / |\{(b,i) \in M: y_{bi} = c\}|`,
    and 0 for a class without pixels. With ``"sigmoid"`` each channel has two classes, absent and present (a logit above
    0), two weights and a mask of its own, and the mean is over the channels in which a pixel counts. Foreground is every
    class but the first, with ``"sigmoid"`` presence. Where nothing counts the value is 0.

    Args:
        student: logits ``[B, C, *spatial]``, C >= 2 with ``"softmax"``.
        teacher: logits of the same shape.
        direction: ``"student_teacher"`` or ``"teacher_student"``.
        temperature: ``T``, above 0.
        activation: what turns the logits into probabilities, ``"softmax"`` or ``"sigmoid"``.
        class_weights: ``None`` for a mean over pixels; a weight for each class, of which each pixel is given that of the
            teacher's class; or ``"balanced"``, for the mean over classes of the mean over the pixels of a class.
        mask: ``None`` for all pixels, or which ones count, by ``{"confidence": 0.9}``: where the teacher's largest
            probability is at least this, or ``{"distance": 8}``: what is at most so many pixels along every axis from what
            the teacher calls foreground, or both.

    Raises:
        InputError: if an argument is unknown or out of range, shapes do not fit, or there is one channel only with
            ``"softmax"``, or there are not as many weights as classes.

    Example:
        >>> import torch
        >>> student = torch.tensor([0.0, 2.0]).reshape(1, 2, 1, 1)
        >>> teacher = torch.tensor([2.0, 0.0]).reshape(1, 2, 1, 1)
        >>> round(logits_kl(student, teacher).item(), 4)  # 2 * tanh(1)
        1.5232
        >>> nothing, everything = torch.full((2, 1, 3, 1, 1), 24.0) * torch.tensor([-1.0, 1.0]).reshape(2, 1, 1, 1, 1)
        >>> logits_kl(nothing, everything).item(), logits_kl(nothing, everything, activation="sigmoid").item()
        (0.0, 24.0)
        >>> teacher = torch.tensor([[2.0, 2.0, 0.0], [0.0, 0.0, 2.0]]).reshape(1, 2, 1, 3)  # one pixel of class 1
        >>> student = torch.tensor([[2.0, 2.0, 2.0], [0.0, 0.0, 0.0]]).reshape(1, 2, 1, 3)  # which the student misses
        >>> [round(logits_kl(student, teacher, class_weights=w).item(), 4) for w in (None, "balanced", [0, 1])]
        [0.5077, 0.7616, 1.5232]

    Source: arXiv:2404.02738, section 2 (logits module), equation 7; ``"teacher_student"`` with T > 1 is Hinton et
    al., 2015, arXiv:1503.02531. The sigmoid form is the same divergence of Bernoulli distributions.
    """
    _check_kl_options(direction, temperature, activation)
    check_weighting(class_weights, mask)
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
        if class_weights is not None or mask is not None:
            divergence = _by_pixel(log_student, log_teacher, activation)
            return weighted_mean(divergence, wide(teacher.detach()), activation, class_weights, mask) * temperature**2
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


def _by_pixel(log_first: Tensor, log_second: Tensor, activation: Activation) -> Tensor:
    """Return the divergence of a pixel ``[B, 1, *spatial]``, or of each of its channels ``[B, C, *spatial]``."""
    parts = F.kl_div(log_second, log_first, reduction="none", log_target=True)
    return parts.sum(1, keepdim=True) if activation == "softmax" else parts.sum(0)


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
