# SPDX-License-Identifier: Apache-2.0
"""PReLU with a vectorized backward pass on a CPU."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["VectorizedPReLU"]


class VectorizedPReLU(nn.PReLU):
    r""":class:`torch.nn.PReLU` whose backward pass is faster on a CPU.

    .. math:: \max(0, x) + a \min(0, x)

    with a learned slope :math:`a`. Weights, output and gradient by ``x`` are those of :class:`torch.nn.PReLU`, bit for bit;
    the gradient by ``a`` is summed in another order. On other devices, and in scripted, traced, compiled and exported
    graphs, it is PyTorch's.

    Args:
        num_parameters: 1 for a shared slope, or the channels of the input; all further arguments are those of
            :class:`torch.nn.PReLU`.

    Example:
        >>> x = torch.tensor([[-2.0, 3.0]], requires_grad=True)
        >>> VectorizedPReLU()(x).sum().backward()
        >>> x.grad
        tensor([[0.2500, 1.0000]])

    Source: He et al., 2015, arXiv:1502.01852, section 2.1.
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the name that PyTorch gives it
        """Return a map of the input's shape; with one slope a channel, channels are the second axis."""
        if not torch.jit.is_scripting() and _is_supported(input, self.weight):
            out: Tensor = _PReLU.apply(input, self.weight)
            return out
        return F.prelu(input, self.weight)


def _is_supported(x: Tensor, slope: Tensor) -> bool:
    if torch.jit.is_tracing() or torch.compiler.is_compiling() or not torch.is_grad_enabled():
        return False
    needed = x.requires_grad or slope.requires_grad
    return needed and x.device.type == "cpu" and x.dtype == slope.dtype and x.dim() > 1 and x.numel() > 0


class _PReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, slope: Tensor) -> Tensor:
        ctx.save_for_backward(x, slope)
        return F.prelu(x, slope)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        x, slope = ctx.saved_tensors
        if torch.is_grad_enabled():  # derivatives of this gradient are asked for
            return _differentiable_gradients(x, slope, grad)
        if slope.numel() == 1:
            return _gradients_of_shared_slope(x, slope, grad)
        return _gradients_by_channel(x, slope, grad)


def _differentiable_gradients(x: Tensor, slope: Tensor, grad: Tensor) -> tuple[Tensor | None, ...]:
    wanted = [value for value in (x, slope) if value.requires_grad]
    found = iter(torch.autograd.grad(F.prelu(x, slope), wanted, grad, create_graph=True))
    return tuple(next(found) if value.requires_grad else None for value in (x, slope))


def _gradients_of_shared_slope(x: Tensor, slope: Tensor, grad: Tensor) -> tuple[Tensor, Tensor]:
    by_x = torch.ops.aten.leaky_relu_backward(grad, x, slope.item(), False)
    by_slope = torch.dot(grad.flatten(), x.clamp(max=0).flatten())
    return by_x, by_slope.reshape(1)


def _gradients_by_channel(x: Tensor, slope: Tensor, grad: Tensor) -> tuple[Tensor, Tensor]:
    by_x = torch.ops.aten.threshold_backward(grad, x, 0)
    rest = grad - by_x  # where x is not positive
    by_slope = torch.linalg.vecdot(rest.flatten(2), x.flatten(2)) if x.dim() > 2 else rest * x
    shape = (-1, *(1,) * (x.dim() - 2))
    return by_x.addcmul_(rest, slope.view(shape)), by_slope.sum(0)
