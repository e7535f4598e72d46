# SPDX-License-Identifier: Apache-2.0
"""A teacher's logits as labels for images that have none, in the form that a task's own loss takes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from akd_monai.errors import InputError
from akd_monai.losses import Activation

__all__ = ["confident_images", "hard_labels", "soft_loss"]


def hard_labels(teacher: Tensor, activation: Activation, like: Any) -> Tensor:
    """Return the teacher's decision for each pixel, in the shape and type of the labels of the task.

    Args:
        teacher: logits ``[B, K, *spatial]``.
        activation: ``"softmax"`` or ``"sigmoid"``.
        like: labels of a batch, of which shape and type are read, and no value; ``None`` where there are none: then
            class indices ``[B, 1, *spatial]``, or masks ``[B, K, *spatial]`` of sigmoid channels.

    Raises:
        InputError: if the labels have no form that a decision can be given in.

    Example:
        >>> logits = torch.tensor([[1.0, -1.0], [0.0, 2.0]]).reshape(1, 2, 1, 2)  # classes 0 and 1
        >>> hard_labels(logits, "softmax", torch.zeros(3, 1, 1, 2)).tolist()
        [[[[0.0, 1.0]]]]
        >>> hard_labels(logits, "sigmoid", None).tolist()
        [[[[1.0, 0.0]], [[0.0, 1.0]]]]
    """
    classes = teacher.shape[1]
    if like is not None and not isinstance(like, Tensor):
        raise _unknown_form(f"a {type(like).__name__}, no tensor", teacher)
    channels = _channels(like, teacher, activation)
    decision = teacher > 0 if activation == "sigmoid" else teacher.argmax(1)
    if activation == "softmax":
        if channels == classes:
            decision = F.one_hot(decision, classes).movedim(-1, 1)
        elif channels == 1:
            decision = decision[:, None]
    if like is None:
        return decision.float() if activation == "sigmoid" else decision
    return decision.to(like.dtype)


def _channels(like: Tensor | None, teacher: Tensor, activation: Activation) -> int:
    """Return the channels of the labels, 0 if they have no such axis."""
    classes = teacher.shape[1]
    if like is None:
        return classes if activation == "sigmoid" else 1
    shown = list(like.shape)
    has_axis = like.dim() == teacher.dim()
    channels = like.shape[1] if has_axis else 0
    allowed = (classes,) if activation == "sigmoid" else (0, 1, classes)
    if like.dim() not in (teacher.dim(), teacher.dim() - 1) or channels not in allowed:
        raise _unknown_form(f"of shape {shown}", teacher)
    if like.shape[1 + has_axis :] != teacher.shape[2:]:
        raise _unknown_form(f"of shape {shown}, another size", teacher)
    return channels


def _unknown_form(shown: str, teacher: Tensor) -> InputError:
    return InputError(
        f"pseudo_labels 'hard' cannot give the teacher's decision as a label of the task: labels are {shown}, and the "
        f"teacher's logits are {list(teacher.shape)}",
        remedy="set pseudo_labels to 'soft'",
    )


def confident_images(teacher: Tensor, activation: Activation, confidence: float) -> Tensor:
    """Return for each image whether the teacher's mean confidence where it sees foreground is at least ``confidence``.

    Example:
        >>> logits = torch.tensor([[0.0, 0.0], [-9.0, 1.0]]).reshape(1, 2, 1, 2)  # sure of class 0, unsure of class 1
        >>> [confident_images(logits, "softmax", share).tolist() for share in (0.7, 0.8)]
        [[True], [False]]
    """
    logits = teacher.float() if teacher.dtype != torch.float64 else teacher
    if activation == "sigmoid":
        sure = logits.abs().sigmoid().mean(1)
        foreground = (logits > 0).any(1)
    else:
        best = logits.softmax(1).max(1)
        sure = best.values
        foreground = best.indices > 0
    sure = sure.flatten(1)
    foreground = foreground.flatten(1)
    foreground = foreground | ~foreground.any(1, keepdim=True)
    return (sure * foreground).sum(1) / foreground.sum(1) >= confidence


def soft_loss(student: Tensor, teacher: Tensor, activation: Activation, confidence: float | None) -> Tensor:
    """Return the divergence from teacher to student; pixels of less than ``confidence`` count as 0.

    Args:
        student: logits ``[B, K, *spatial]``.
        teacher: logits of the same shape. No gradient reaches them.
        activation: ``"softmax"`` or ``"sigmoid"``.
        confidence: 0 to 1; ``None`` if all pixels count.

    Example:
        >>> student, teacher = torch.tensor([0.0, 2.0]).reshape(1, 2, 1, 1), torch.tensor([2.0, 0.0]).reshape(1, 2, 1, 1)
        >>> round(soft_loss(student, teacher, "softmax", None).item(), 4)  # 2 * tanh(1)
        1.5232
        >>> soft_loss(student, teacher, "softmax", 0.9).item()  # the teacher is sure by 0.88
        0.0
    """
    if student.shape != teacher.shape:
        raise InputError(
            f"student and teacher logits differ in shape: {list(student.shape)} and {list(teacher.shape)}",
            remedy="both networks need the same classes and output size; classes of teacher_output merge classes",
        )
    wide = torch.float64 if student.dtype == torch.float64 else torch.float32
    with torch.autocast(student.device.type, enabled=False):
        ours = student.to(wide)
        theirs = teacher.detach().to(wide)
        if activation == "sigmoid":
            probability = theirs.sigmoid()
            values = _bernoulli(ours, theirs, probability)
            sure = torch.maximum(probability, 1 - probability)
        else:
            log_probability = theirs.log_softmax(1)
            probability = log_probability.exp()
            values = (probability * (log_probability - ours.log_softmax(1))).sum(1)
            sure = probability.amax(1)
        return (values if confidence is None else values * (sure >= confidence)).mean()


def _bernoulli(ours: Tensor, theirs: Tensor, probability: Tensor) -> Tensor:
    present = probability * (F.logsigmoid(theirs) - F.logsigmoid(ours))
    return present + (1 - probability) * (F.logsigmoid(-theirs) - F.logsigmoid(-ours))
