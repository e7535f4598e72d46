# SPDX-License-Identifier: Apache-2.0
"""PReLU with a backward pass that uses the CPU's vectors, which PyTorch's own does not."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn


class PReLU(nn.PReLU):
    r"""``max(0, x) + a min(0, x)`` with a learnt slope ``a``: :class:`torch.nn.PReLU`, sooner back on a CPU.

    Weights, output and gradient by ``x`` are those of :class:`torch.nn.PReLU`, bit for bit; the gradient by ``a`` is
    added up in another order. On other devices, and in scripted, traced, compiled and exported graphs, it is PyTorch's.

    Example:
        >>> x = torch.tensor([[-2.0, 3.0]], requires_grad=True)
        >>> PReLU()(x).sum().backward()
        >>> x.grad
        tensor([[0.2500, 1.0000]])

    Source: He et al., 2015, arXiv:1502.01852, section 2.1.
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Return a map of the input's shape; with one slope a channel these are the second axis."""
        if not torch.jit.is_scripting() and _is_plain(input, self.weight):
            return _PReLU.apply(input, self.weight)
        return F.prelu(input, self.weight)


def _is_plain(x: torch.Tensor, slope: torch.Tensor) -> bool:
    if torch.jit.is_tracing() or torch.compiler.is_compiling() or not torch.is_grad_enabled():
        return False
    needed = x.requires_grad or slope.requires_grad
    return needed and x.device.type == "cpu" and x.dtype == slope.dtype and x.dim() > 1 and x.numel() > 0


class _PReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, slope: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x, slope)
        return F.prelu(x, slope)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> Any:
        x, slope = ctx.saved_tensors
        if torch.is_grad_enabled():  # asked for derivatives of this gradient
            wanted = [value for value in (x, slope) if value.requires_grad]
            found = iter(torch.autograd.grad(F.prelu(x, slope), wanted, grad, create_graph=True))
            return tuple(next(found) if value.requires_grad else None for value in (x, slope))
        if slope.numel() == 1:
            by_x = torch.ops.aten.leaky_relu_backward(grad, x, slope.item(), False)
            return by_x, torch.dot(grad.flatten(), x.clamp(max=0).flatten()).reshape(1)
        by_x = torch.ops.aten.threshold_backward(grad, x, 0)
        rest = grad - by_x  # where x is not positive
        by_slope = torch.linalg.vecdot(rest.flatten(2), x.flatten(2)) if x.dim() > 2 else rest * x
        each = slope.view(-1, *(1,) * (x.dim() - 2))
        return by_x.addcmul_(rest, each), by_slope.sum(0)
