# SPDX-License-Identifier: Apache-2.0
"""Batch normalization with vectorized statistics on a CPU."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["VectorizedBatchNorm2d"]


class VectorizedBatchNorm2d(nn.BatchNorm2d):
    r""":class:`torch.nn.BatchNorm2d` whose training pass is faster on a CPU.

    .. math:: \gamma \, (x - \mu) / \sqrt{\sigma^2 + \epsilon} + \beta

    Mean and variance of a training batch are computed by vectorized sums, in two passes as in PyTorch; everything else is
    PyTorch's. Statistics agree to rounding. On other devices, in other memory formats or types than the weights', and in
    scripted, traced, compiled and exported graphs, it is PyTorch's module throughout.

    Args:
        num_features: channels ``C`` of an input ``[B, C, H, W]``; all further arguments are those of
            :class:`torch.nn.BatchNorm2d`.

    Raises:
        ValueError: by the forward pass, for an input that has not four dimensions or one value a channel in training.

    Example:
        >>> x = torch.tensor([1.0, 3.0, 5.0, 7.0]).view(1, 1, 2, 2)
        >>> [round(value, 3) for value in VectorizedBatchNorm2d(1)(x).flatten().tolist()]
        [-1.342, -0.447, 0.447, 1.342]

    Source: Ioffe and Szegedy, 2015, arXiv:1502.03167, algorithm 1.
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the name that PyTorch gives it
        """Return the normalized map, of the input's shape ``[B, C, H, W]``."""
        if _is_supported(self, input):
            return _train_step(self, input)
        return super().forward(input)

    def __prepare_scriptable__(self) -> nn.BatchNorm2d:
        """Return PyTorch's module with the same tensors, which ``torch.jit.script`` uses in place of this one."""
        plain = nn.BatchNorm2d.__new__(nn.BatchNorm2d)
        plain.__dict__ = self.__dict__
        return plain


def _is_supported(norm: nn.BatchNorm2d, x: Tensor) -> bool:
    if not norm.training or torch.jit.is_tracing() or torch.compiler.is_compiling():
        return False
    kept = norm.running_mean
    if kept is None or norm.weight is None or norm.momentum is None:
        return False
    fits = x.dim() == 4 and x.shape[1] == norm.num_features < x.numel() and x.is_contiguous()
    return fits and x.device.type == "cpu" and x.dtype == norm.weight.dtype == kept.dtype


def _train_step(norm: Any, x: Tensor) -> Tensor:
    out: Tensor
    out, mean, var = _BatchNorm.apply(x, norm.weight, norm.bias, norm.eps)
    samples = x.numel() // norm.num_features
    norm.num_batches_tracked.add_(1)
    norm.running_mean.lerp_(mean, norm.momentum)
    norm.running_var.lerp_(var * (samples / (samples - 1)), norm.momentum)
    return out


class _BatchNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Any:
        mean = x.mean((0, 2, 3))
        # PyTorch's own variance runs value by value on a CPU, the norm of a row does not
        rows = torch.linalg.vector_norm(x - mean.view(-1, 1, 1), dim=3)
        var = rows.square().sum((0, 2)) / (x.numel() // x.shape[1])
        out = torch.native_batch_norm(x, weight, bias, mean, var, False, 0.0, eps)[0]
        ctx.save_for_backward(x, weight, mean, var)
        ctx.eps = eps
        ctx.mark_non_differentiable(mean, var)
        return out, mean, var

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *_: Any) -> Any:
        x, weight, mean, var = ctx.saved_tensors
        scale = (var + ctx.eps).rsqrt()
        needed = list(ctx.needs_input_grad[:3])
        # this operator is itself differentiable, for gradients of gradients
        grads = torch.ops.aten.native_batch_norm_backward(
            grad, x, weight, None, None, mean, scale, True, ctx.eps, needed
        )
        return *grads, None
