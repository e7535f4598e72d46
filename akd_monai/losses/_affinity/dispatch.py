# SPDX-License-Identifier: Apache-2.0
"""Choice of the algorithm for the affinity loss, and its place in autograd and in compiled graphs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from akd_monai.errors import InputError
from akd_monai.losses._affinity.autograd import scaled
from akd_monai.losses._affinity.box import box_affinity
from akd_monai.losses._affinity.dense import dense_affinity
from akd_monai.losses._affinity.pairs import AffinityOptions, LabelPairs
from akd_monai.losses._affinity.reference import reference_terms
from akd_monai.losses._affinity.self_test import kernel_serves
from akd_monai.losses._affinity.triton_kernel import triton_affinity, triton_limit

BORDER_SHARE = 0.05
# Numbers in a sample up to which one visit of all pairs of many samples costs less than the calls for each sample.
SMALL_MAP = 2**13


def choose_algorithm(scores: Tensor, labels: Tensor, options: AffinityOptions) -> tuple[str, LabelPairs | None]:
    """Return what ``"auto"`` stands for, and the pairs of the labels where they had to be made to know it.

    * On a CPU ``"box"`` where at most 5 % of the pairs differ in label, as on a decided segmentation, and the map has
      more than 8192 numbers a sample, else ``"dense"``.
    * On CUDA ``"triton"`` where it can serve: Triton is installed, scores are float32 of at most 256 channels, and the
      kernel has stood a trial on that device (:func:`~akd_monai.losses._affinity.self_test.kernel_serves`; a warning says if
      it has not). Else ``"dense"``, a few large steps for the whole batch.
    * On other devices ``"reference"``.
    """
    if scores.is_cpu:
        pairs = LabelPairs(labels, options)
        few = pairs.n_different <= BORDER_SHARE * (pairs.n_same + pairs.n_different)
        return ("box" if few and scores[0].numel() > SMALL_MAP else "dense"), pairs
    if not scores.is_cuda:
        return "reference", None
    return ("triton" if triton_limit(scores) is None and kernel_serves(scores.device) else "dense"), None


# One opaque step of a compiled graph: the number of border pairs decides shapes inside, which no graph can hold.
@torch.library.custom_op("akd_monai::affinity", mutates_args=())
def _affinity(
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
    options, pairs = AffinityOptions(kernel, dilation, margin, ignore_index, class_balanced), None
    if algorithm == "auto":
        algorithm, pairs = choose_algorithm(scores, labels, options)
    if algorithm == "triton":
        value, gradient = triton_affinity(scores, labels, options, attract, repel, want_gradient)
    else:
        compute = box_affinity if algorithm == "box" else dense_affinity
        value, gradient = compute(scores, pairs or LabelPairs(labels, options), attract, repel, want_gradient)
    return value, scores.new_empty(0) if gradient is None else gradient


@_affinity.register_fake
def _affinity_shapes(scores: Tensor, *arguments: Any) -> tuple[Tensor, Tensor]:
    wanted = arguments[-1]
    return scores.new_empty(()), torch.empty(scores.shape if wanted else (0,), dtype=scores.dtype, device=scores.device)


class _WithGradient(torch.autograd.Function):
    """A scalar whose gradient is computed along with it, so that backward is one multiplication."""

    @staticmethod
    def forward(ctx: FunctionCtx, scores: Tensor, labels: Tensor, settings: tuple[Any, ...]) -> Tensor:
        value, gradient = _affinity(scores, labels, *settings, True)
        ctx.save_for_backward(gradient)
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> Any:
        (gradient,) = ctx.saved_tensors  # type: ignore[attr-defined]
        return scaled(gradient, grad), None, None


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
        limit = triton_limit(scores)
        if limit is not None:
            raise InputError(f"algorithm 'triton' {limit}: use algorithm 'auto'.")
    elif algorithm == "auto" and not (scores.is_cpu or scores.is_cuda):
        attract, repel = reference_terms(scores, labels, options)
        return [a * attract + r * repel for a, r in factors]
    window = (options.kernel, options.dilation, float(options.margin), options.ignore_index, options.class_balanced)
    results = []
    for a, r in factors:
        settings = (*window, algorithm, float(a), float(r))
        if scores.requires_grad and torch.is_grad_enabled():
            results.append(_WithGradient.apply(scores, labels, settings))
        else:
            results.append(_affinity(scores, labels, *settings, False)[0])
    return results
