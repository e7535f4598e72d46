# SPDX-License-Identifier: Apache-2.0
"""Gram matrices of feature maps, with a gradient that costs one matrix product and no copy of the features."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

TINY = 1e-12


class _Gram(torch.autograd.Function):
    r"""Inner products of the rows of ``[M, n, L]``, of unit length if wanted.

    With :math:`A` the gradient of the matrix made symmetric, that of the rows is :math:`A X`; scaling the rows to unit
    length changes :math:`A` alone, which is small:
    :math:`(A - \mathrm{diag}(\sum_c A_{bc} K_{bc})) / (|x_b| |x_c|)`.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, rows: Tensor, unit: bool) -> Tensor:
        kernel = rows @ rows.transpose(1, 2)
        inverse = None
        if unit:
            length = kernel.diagonal(dim1=1, dim2=2).sqrt()
            scale = 1 / length.clamp(min=TINY)
            kernel = kernel * scale[:, :, None] * scale[:, None, :]
            # Autograd would multiply the gradient of a row of zeros, such as a dead channel, by 1e12.
            inverse = scale.where(length > TINY, 0)
        ctx.save_for_backward(rows, kernel, inverse)  # type: ignore[arg-type]
        return kernel

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> Any:
        rows, kernel, inverse = ctx.saved_tensors  # type: ignore[attr-defined]
        factors = grad + grad.transpose(1, 2)
        if inverse is not None:
            factors = factors - torch.diag_embed((factors * kernel).sum(2))
            factors = factors * inverse[:, :, None] * inverse[:, None, :]
        return factors @ rows, None


def gram_matrix(features: Tensor, mode: str, normalize: str) -> Tensor:
    """Return the inner products of the vectors that ``mode`` makes of ``[B, C, *spatial]``: ``[1 or B, n, n]``.

    Args:
        features: float32 or float64.
        mode: ``"batch"``, ``"channel"`` or ``"spatial"``, see :func:`~akd_monai.losses.functional.gram_loss`.
        normalize: ``"l2"``, ``"dim"`` or ``"none"``.

    Example:
        >>> features = torch.tensor([[3.0, 4.0], [0.0, 2.0]]).reshape(2, 1, 1, 2)
        >>> gram_matrix(features, "batch", "none")
        tensor([[[25.,  8.],
                 [ 8.,  4.]]])
        >>> gram_matrix(features, "batch", "l2")
        tensor([[[1.0000, 0.8000],
                 [0.8000, 1.0000]]])
    """
    if mode == "batch":
        rows = features.flatten(1).unsqueeze(0)
    elif mode == "channel":
        rows = features.flatten(2)
    else:
        rows = features.flatten(2).transpose(1, 2)
    kernel: Tensor = _Gram.apply(rows, normalize == "l2")
    return kernel / rows.shape[-1] if normalize == "dim" else kernel
