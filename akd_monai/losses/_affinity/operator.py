# SPDX-License-Identifier: Apache-2.0
"""The fast algorithms as one operator of PyTorch, whose gradient is computed along with its value.

Compiled graphs take it as a single opaque step: the number of border pairs decides shapes inside, which no graph can hold.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from akd_monai.losses._affinity.algorithm import choose_algorithm
from akd_monai.losses._affinity.box import box_affinity
from akd_monai.losses._affinity.dense import dense_affinity
from akd_monai.losses._affinity.label_pairs import LabelPairs
from akd_monai.losses._affinity.options import AffinityOptions
from akd_monai.losses._affinity.triton_launch import triton_affinity

__all__ = ["affinity_operator", "operator_value"]


def operator_value(
    scores: Tensor, labels: Tensor, options: AffinityOptions, algorithm: str, factors: tuple[float, float]
) -> Tensor:
    """Return ``a * L+ + r * L-`` for factors (a, r), by any algorithm but the reference.

    Args:
        scores: ``[B, C, *spatial]``, float32 or float64.
        labels: ``[B, *spatial]``, integers.
        options: the pairs and the margin.
        algorithm: ``"auto"``, ``"box"``, ``"dense"`` or ``"triton"``.
        factors: of the two terms.
    """
    # The schema of an operator has plain numbers only.
    window = (options.kernel, options.dilation, float(options.margin), options.ignore_index, options.class_balanced)
    settings = (*window, algorithm, *map(float, factors))
    if scores.requires_grad and torch.is_grad_enabled():
        value: Tensor = _WithGradient.apply(scores, labels, settings)
        return value
    value, _ = affinity_operator(scores, labels, *settings, False)
    return value


@torch.library.custom_op("akd_monai::affinity", mutates_args=())
def affinity_operator(
    scores: Tensor,
    labels: Tensor,
    kernel: int,
    dilation: int,
    margin: float,
    ignore_index: int | None,
    class_balanced: bool,
    algorithm: str,
    attract: float,
    repel: float,
    want_gradient: bool,
) -> tuple[Tensor, Tensor]:
    """Return ``attract * L+ + repel * L-`` and its gradient, or an empty tensor if that is not wanted."""
    options = AffinityOptions(kernel, dilation, margin, ignore_index, class_balanced)
    pairs = None
    if algorithm == "auto":
        algorithm, pairs = choose_algorithm(scores, labels, options)
    if algorithm == "triton":
        value, gradient = triton_affinity(scores, labels, options, attract, repel, want_gradient)
    else:
        compute = box_affinity if algorithm == "box" else dense_affinity
        value, gradient = compute(scores, pairs or LabelPairs(labels, options), attract, repel, want_gradient)
    return value, scores.new_empty(0) if gradient is None else gradient


@affinity_operator.register_fake
def _shapes(scores: Tensor, *arguments: Any) -> tuple[Tensor, Tensor]:
    want_gradient = arguments[-1]
    shape = scores.shape if want_gradient else (0,)
    return scores.new_empty(()), torch.empty(shape, dtype=scores.dtype, device=scores.device)


class _WithGradient(torch.autograd.Function):
    """A scalar whose gradient is computed along with it, so that backward is one multiplication."""

    @staticmethod
    def forward(ctx: FunctionCtx, scores: Tensor, labels: Tensor, settings: tuple[Any, ...]) -> Tensor:
        value: Tensor
        value, gradient = affinity_operator(scores, labels, *settings, True)
        ctx.save_for_backward(gradient)
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> Any:
        (gradient,) = ctx.saved_tensors  # type: ignore[attr-defined]
        return _scaled(gradient, grad), None, None


def _scaled(gradient: Tensor, grad: Tensor) -> Tensor:
    """Return ``gradient * grad`` in a backward pass, in place where nobody can ask for ``gradient`` again.

    A second map of this size would be the peak of the step.

    Args:
        gradient: what forward has saved for this and owns alone.
        grad: the gradient that arrives, one number.
    """
    if _is_last_use(grad):
        gradient.mul_(grad)
        return gradient
    return gradient * grad


def _is_last_use(grad: Tensor) -> bool:
    """Return whether the running backward pass frees the graph, outside of compiled code, with ``grad`` one number."""
    functorch = torch._C._functorch
    if torch.compiler.is_compiling() or functorch.is_batchedtensor(grad) or functorch.is_legacy_batchedtensor(grad):
        return False
    # PyTorch's compiled graphs ask the same before they reuse memory; without the answer the map is copied.
    keeps_graph = getattr(torch._C._autograd, "_get_current_graph_task_keep_graph", None)
    return keeps_graph is not None and not keeps_graph()
