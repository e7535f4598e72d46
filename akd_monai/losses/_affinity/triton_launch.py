# SPDX-License-Identifier: Apache-2.0
"""Calls of the fused CUDA kernel: where it is applicable, how it is divided into programs, and its launch."""

from __future__ import annotations

from contextlib import nullcontext

import torch
from torch import Tensor

from akd_monai.losses._affinity import triton_kernel
from akd_monai.losses._affinity.class_weights import balanced_weights
from akd_monai.losses._affinity.options import AffinityOptions
from akd_monai.losses._affinity.windows import valid_pixels

__all__ = ["ignored_mark", "program_shape", "triton_affinity", "triton_limit"]

_MAX_CHANNELS = 256
# Pixels of a program that counts pairs.
_COUNTED = 256


def triton_limit(scores: Tensor) -> str | None:
    """Return why the kernel is not applicable to ``scores`` ``[B, C, *spatial]``, ``None`` if it is."""
    if triton_kernel.triton is None:
        return "needs the package triton, which comes with PyTorch for CUDA"
    if not scores.is_cuda:
        return f"runs on CUDA, the scores are on {scores.device}"
    if scores.dtype != torch.float32:
        return f"computes in float32, the scores are {scores.dtype}"
    if scores.shape[1] > _MAX_CHANNELS:
        return f"takes at most {_MAX_CHANNELS} channels, the scores have {scores.shape[1]}"
    if scores[0].numel() >= 2**31:
        return "takes less than 2**31 numbers a sample"
    return None


def triton_affinity(
    scores: Tensor, labels: Tensor, options: AffinityOptions, attract: float, repel: float, want_gradient: bool
) -> tuple[Tensor, Tensor | None]:
    """Return ``attract * L+ + repel * L-`` and, if wanted, its gradient with respect to ``scores``.

    Args:
        scores: ``[B, C, *spatial]``, float32, at most 256 channels.
        labels: ``[B, *spatial]``, integers.
        options: kernel, dilation, margin and the rest. ``class_balanced`` costs a host sync.
        attract: factor of the first term.
        repel: factor of the second term.
        want_gradient: whether the gradient is computed.
    """
    scores = scores.contiguous()
    valid = valid_pixels(labels, options.ignore_index)
    # A type in which the mark of ignored pixels is no label.
    small = labels.dtype in (torch.uint8, torch.int8, torch.int16)
    codes = labels.to(torch.int32 if small else torch.int64)
    if valid is not None:
        codes = codes.masked_fill(~valid, ignored_mark(codes))
    with torch.cuda.device(scores.device) if scores.is_cuda else nullcontext():
        return _launch(scores, codes.contiguous(), valid, options, (attract, repel), want_gradient)


def ignored_mark(codes: Tensor) -> int:
    """Return the label that stands for ignored pixels: the least number, which no label of a smaller type reaches."""
    return torch.iinfo(codes.dtype).min


def program_shape(channels: int) -> dict[str, int]:
    """Return channels and pixels of one program, powers of two, and its number of warps.

    2048 numbers to 8 warps leave 128 registers a thread, as :mod:`benchmarks.kernel` shows.
    """
    block = max(2, triton_kernel.triton.next_power_of_2(channels))
    warps = 8
    if block < 32:
        warps = 4
    elif block > 128:
        warps = 16
    return {"BC": block, "BX": max(16, min(256, 2048 // block)), "num_warps": warps}


def _launch(
    scores: Tensor,
    codes: Tensor,
    valid: Tensor | None,
    options: AffinityOptions,
    factors: tuple[float, float],
    want_gradient: bool,
) -> tuple[Tensor, Tensor | None]:
    """Run the three kernels; ``codes`` are labels in which ignored pixels have the mark."""
    batch, channels, *size = scores.shape
    depth, height, width = size if len(size) == 3 else (1, *size)
    pixels = depth * height * width
    shape = program_shape(channels)
    counts = _pair_counts(codes, options)
    weight = scores
    if options.class_balanced:
        weight = balanced_weights(codes, valid, options, torch.float32).contiguous()
    log_sum = scores.new_empty(batch, pixels)
    blocks = triton_kernel.triton.cdiv(pixels, shape["BX"])
    triton_kernel.log_sum_exp_kernel[(blocks, batch)](scores, log_sum, channels, pixels, **shape)
    parts = scores.new_empty(batch * depth * height * triton_kernel.triton.cdiv(width, shape["BX"]))
    gradient = torch.empty_like(scores) if want_gradient else None
    triton_kernel.affinity_kernel[(len(parts),)](
        *(scores, log_sum, codes, counts, weight, parts, parts if gradient is None else gradient),
        *(channels, depth, height, width),
        *(*factors, options.margin, options.dilation),
        BALANCED=options.class_balanced,
        WANT_GRADIENT=want_gradient,
        **_window(codes, options),
        **shape,
    )
    return parts.sum(), gradient


def _pair_counts(codes: Tensor, options: AffinityOptions) -> Tensor:
    """Return the numbers of ordered pairs of equal and of different label."""
    batch, *size = codes.shape
    depth, height, width = size if len(size) == 3 else (1, *size)
    programs = batch * depth * height * triton_kernel.triton.cdiv(width, _COUNTED)
    parts = codes.new_empty((programs, 2), dtype=torch.int32)
    triton_kernel.count_kernel[(programs,)](
        codes, parts, depth, height, width, options.dilation, BX=_COUNTED, **_window(codes, options)
    )
    return parts.sum(0)


def _window(codes: Tensor, options: AffinityOptions) -> dict[str, int]:
    """Return the constants of a window: radius in the plane, radius in depth, and the mark of ignored pixels."""
    depth_radius = options.radius if codes.dim() == 4 else 0
    return {"R": options.radius, "RZ": depth_radius, "IGNORED": ignored_mark(codes)}
