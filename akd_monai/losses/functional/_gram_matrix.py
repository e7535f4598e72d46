# SPDX-License-Identifier: Apache-2.0
"""Gram matrices of feature maps, with a gradient that costs one matrix product and no copy of the features."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

__all__ = ["GramMode", "GramNormalize", "GramReduction", "gram_matrix"]

GramMode = Literal["batch", "channel", "spatial", "auto"]
GramNormalize = Literal["l2", "dim", "none"]
GramReduction = Literal["mean", "paper"]

_TINY = 1e-12


def _to_unit(kernel: Tensor) -> tuple[Tensor, Tensor]:
    """Return the products of vectors scaled to length 1, and the factors that backward needs."""
    length = kernel.diagonal(dim1=1, dim2=2).sqrt()
    scale = 1 / length.clamp(min=_TINY)
    # Autograd would multiply the gradient of a row of zeros, such as a dead channel, by 1e12.
    return kernel * scale[:, :, None] * scale[:, None, :], scale.where(length > _TINY, 0)


def _row_factors(grad: Tensor, kernel: Tensor, inverse: Tensor | None) -> Tensor:
    r"""Return the matrix that multiplies the rows to give their gradient.

    It is the gradient of the matrix made symmetric, :math:`A`; scaling rows to unit length changes it to
    :math:`(A - \mathrm{diag}(\sum_c A_{bc} K_{bc})) / (|x_b| |x_c|)`, which is as small.
    """
    factors = grad + grad.transpose(1, 2)
    if inverse is None:
        return factors
    factors = factors - torch.diag_embed((factors * kernel).sum(2))
    return factors * inverse[:, :, None] * inverse[:, None, :]


class _Gram(torch.autograd.Function):
    """Inner products of the rows of ``[M, n, L]``, of unit length if wanted."""

    @staticmethod
    def forward(ctx: FunctionCtx, rows: Tensor, unit: bool) -> Tensor:
        kernel = rows @ rows.transpose(1, 2)
        inverse = None
        if unit:
            kernel, inverse = _to_unit(kernel)
        ctx.save_for_backward(rows, kernel, inverse)  # type: ignore[arg-type]
        return kernel

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> Any:
        rows, kernel, inverse = ctx.saved_tensors  # type: ignore[attr-defined]
        return _row_factors(grad, kernel, inverse) @ rows, None


class _AdaptedGram(torch.autograd.Function):
    r"""Inner products of the samples of ``[n, C, L]`` after a linear map ``[K, C]`` of their channels.

    :math:`\langle W x_b, W x_c \rangle = \langle x_b, W^T W x_c \rangle`: with K above C, less work and memory than
    to map first.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, features: Tensor, weight: Tensor, unit: bool) -> Tensor:
        mapped = (weight.T @ weight) @ features
        kernel = features.flatten(1) @ mapped.flatten(1).T
        # Symmetric but for rounding, which the gradient must not see.
        kernel = ((kernel + kernel.T) / 2).unsqueeze(0)
        inverse = None
        if unit:
            kernel, inverse = _to_unit(kernel)
        ctx.save_for_backward(features, weight, mapped, kernel, inverse)  # type: ignore[arg-type]
        return kernel

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> Any:
        features, weight, mapped, kernel, inverse = ctx.saved_tensors  # type: ignore[attr-defined]
        by_features = None
        by_weight = None
        (factors,) = _row_factors(grad, kernel, inverse)
        if ctx.needs_input_grad[0]:  # type: ignore[attr-defined]
            by_features = (factors @ mapped.flatten(1)).view_as(features)
        if ctx.needs_input_grad[1]:  # type: ignore[attr-defined]
            mixed = (factors @ features.flatten(1)).view_as(features)
            by_weight = weight @ torch.bmm(features, mixed.transpose(1, 2)).sum(0)
        return by_features, by_weight, None


def gram_matrix(features: Tensor, mode: GramMode, normalize: GramNormalize, weight: Tensor | None = None) -> Tensor:
    """Return the inner products of the vectors of maps ``[B, C, *spatial]``: ``[1 or B, n, n]``.

    Args:
        features: float32 or float64.
        mode: ``"batch"``, ``"channel"`` or ``"spatial"``, as in :func:`~akd_monai.losses.functional.gram_loss`.
        normalize: ``"l2"``, ``"dim"`` or ``"none"``.
        weight: ``[K, C]``, a linear map of the channels to come first; mode ``"batch"`` only.

    Example:
        >>> features = torch.tensor([[3.0, 4.0], [0.0, 2.0]]).reshape(2, 1, 1, 2)
        >>> gram_matrix(features, "batch", "none")
        tensor([[[25.,  8.],
                 [ 8.,  4.]]])
        >>> gram_matrix(features, "batch", "l2")
        tensor([[[1.0000, 0.8000],
                 [0.8000, 1.0000]]])
        >>> gram_matrix(features, "batch", "none", torch.tensor([[1.0], [2.0]]))  # 1 + 4 times as much
        tensor([[[125.,  40.],
                 [ 40.,  20.]]])
    """
    kernel: Tensor
    if weight is None:
        rows = _vectors(features, mode)
        entries = rows.shape[-1]
        kernel = _Gram.apply(rows, normalize == "l2")
    else:
        entries = len(weight) * features[0, 0].numel()
        kernel = _AdaptedGram.apply(features.flatten(2), weight, normalize == "l2")
    return kernel / entries if normalize == "dim" else kernel


def _vectors(features: Tensor, mode: GramMode) -> Tensor:
    """Return the vectors to be multiplied, as the rows of ``[1 or B, n, L]``."""
    if mode == "batch":
        return features.flatten(1).unsqueeze(0)
    if mode == "channel":
        return features.flatten(2)
    return features.flatten(2).transpose(1, 2)
