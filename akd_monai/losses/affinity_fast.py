# SPDX-License-Identifier: Apache-2.0
"""Choice of the algorithm for the affinity loss, and its place in autograd."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from akd_monai.errors import InputError
from akd_monai.losses.affinity_box import box_affinity
from akd_monai.losses.affinity_dense import dense_affinity
from akd_monai.losses.affinity_pairs import AffinityOptions, LabelPairs
from akd_monai.losses.affinity_reference import reference_terms
from akd_monai.losses.affinity_triton import MAX_CHANNELS, triton, triton_affinity

BORDER_SHARE = 0.05

Compute = Callable[..., tuple[Tensor, Tensor | None]]


class _WithGradient(torch.autograd.Function):
    """A scalar whose gradient is computed along with it, so that backward is one multiplication."""

    @staticmethod
    def forward(ctx: FunctionCtx, scores: Tensor, compute: Compute) -> Tensor:
        value, gradient = compute(scores, want_gradient=ctx.needs_input_grad[0])  # type: ignore[attr-defined]
        if gradient is not None:
            ctx.save_for_backward(gradient)
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> Any:
        (gradient,) = ctx.saved_tensors  # type: ignore[attr-defined]
        return gradient * grad, None


def choose_algorithm(scores: Tensor, pairs: LabelPairs) -> str:
    """Return what ``"auto"`` stands for.

    * On a CPU ``"box"`` where at most 5 % of the pairs differ in label, as on a decided segmentation, else ``"dense"``.
    * On CUDA ``"dense"``, a few large steps for the whole batch. ``"triton"`` is used on request only.
    * On other devices ``"reference"``.
    """
    if scores.device.type == "cpu":
        return "box" if pairs.n_different <= BORDER_SHARE * (pairs.n_same + pairs.n_different) else "dense"
    return "dense" if scores.is_cuda else "reference"


@torch.compiler.disable  # the number of border pairs decides the shapes, which no graph can hold
def fast_affinity(
    scores: Tensor, labels: Tensor, options: AffinityOptions, algorithm: str, factors: list[tuple[float, float]]
) -> list[Tensor]:
    """Return ``a * L+ + r * L-`` for each pair (a, r) of ``factors``, by any algorithm but the reference.

    Args:
        scores: ``[B, C, *spatial]``, float32 or float64.
        labels: ``[B, *spatial]``, integers.
        options: kernel, dilation, margin and the rest.
        algorithm: ``"auto"``, ``"box"``, ``"dense"`` or ``"triton"``.
        factors: one entry a scalar; the gradient of each is computed in one go with its value.

    Raises:
        InputError: if ``"triton"`` is asked for and cannot serve.
    """
    if algorithm == "triton":
        _check_triton(scores)
        function = partial(triton_affinity, labels=labels, options=options)
    else:
        pairs = LabelPairs(labels, options)
        if algorithm == "auto":
            algorithm = choose_algorithm(scores, pairs)
        if algorithm == "reference":
            attract, repel = reference_terms(scores, labels, options)
            return [a * attract + r * repel for a, r in factors]
        function = partial(box_affinity if algorithm == "box" else dense_affinity, pairs=pairs)
    return [_WithGradient.apply(scores, partial(function, attract=a, repel=r)) for a, r in factors]


def _check_triton(scores: Tensor) -> None:
    reasons = {
        "needs the package triton, which comes with PyTorch for CUDA": triton is None,
        f"runs on CUDA, the scores are on {scores.device}": not scores.is_cuda,
        f"computes in float32, the scores are {scores.dtype}": scores.dtype != torch.float32,
        f"takes at most {MAX_CHANNELS} channels, the scores have {scores.shape[1]}": scores.shape[1] > MAX_CHANNELS,
        "takes less than 2**31 numbers a sample": scores[0].numel() >= 2**31,
    }
    for reason, hit in reasons.items():
        if hit:
            raise InputError(f"algorithm 'triton' {reason}: use algorithm 'auto'.")
