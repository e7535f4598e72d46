# SPDX-License-Identifier: Apache-2.0
"""Mean Kullback-Leibler divergence of two maps of scores, whose gradient is made along with it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from akd_monai.losses.autograd import scaled


class _Divergence(torch.autograd.Function):
    r"""Divergence of the student's distribution from the teacher's, or the other way round.

    With :math:`d = \log p^S - \log p^T`, the gradient of the sum over classes by the student's scores is
    :math:`p^S (d - \sum_c p^S_c d_c)`, and :math:`p^S - p^T` the other way round. It takes the place of ``d`` and is all
    that is kept.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, student: Tensor, teacher: Tensor, student_first: bool) -> Tensor:
        ours, theirs = torch.log_softmax(student, dim=1), torch.log_softmax(teacher, dim=1).to(student.dtype)
        pixels = student.numel() // student.shape[1]
        if student_first:
            difference = theirs.neg_().add_(ours)
            p = ours.exp_()
            each = torch.linalg.vecdot(p, difference, dim=1)
            gradient = difference.sub_(each.unsqueeze(1)).mul_(p).div_(pixels)
        else:
            p = theirs.exp()
            each = torch.linalg.vecdot(p, theirs.sub_(ours), dim=1)
            gradient = ours.exp_().sub_(p).div_(pixels)
        ctx.save_for_backward(gradient)
        return each.mean()

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> Any:
        (gradient,) = ctx.saved_tensors  # type: ignore[attr-defined]
        return scaled(gradient, grad), None, None


def divergence(student: Tensor, teacher: Tensor, student_first: bool) -> Tensor:
    """Return the divergence of class probabilities, summed over classes and averaged over pixels.

    Args:
        student: scores ``[B, C, *spatial]``, float32 or float64.
        teacher: scores of the same shape. No gradient reaches them.
        student_first: divergence of the student from the teacher; else of the teacher from the student.

    Example:
        >>> student, teacher = torch.tensor([[0.0], [2.0]]).T, torch.tensor([[2.0], [0.0]]).T
        >>> round(divergence(student, teacher, student_first=True).item(), 4)  # 2 * tanh(1)
        1.5232
    """
    value: Tensor = _Divergence.apply(student, teacher, student_first)
    return value
