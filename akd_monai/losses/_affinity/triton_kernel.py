# SPDX-License-Identifier: Apache-2.0
"""Affinity loss as a fused kernel for CUDA: value and gradient in three passes over the map, without host syncs.

One kernel counts the pairs of the label map, one makes the logarithms of the softmax's sums, one the loss. There a program
owns one piece of a row with all its channels, visits the neighbours of its pixels and writes its own gradient and its own
part of the loss: no atomics, so the result is the same in every run. The formulas are those of
:mod:`~akd_monai.losses._affinity.dense`; tiles without a border skip the hinge.
"""

# No `from __future__ import annotations` here: Triton reads the kernels' annotations as objects.
from contextlib import nullcontext

import torch
from torch import Tensor

from akd_monai.losses._affinity.pairs import AffinityOptions, balanced_weights, valid_pixels

try:
    import triton
    import triton.language as tl
except ImportError:
    triton = None

MAX_CHANNELS = 256
# Pixels of a program that counts pairs.
_COUNTED = 256

if triton is not None:

    @triton.jit
    def _pixels(Z, H, W, BX: tl.constexpr):  # type: ignore[no-untyped-def]
        blocks = tl.cdiv(W, BX)
        row = tl.program_id(0) // blocks
        x = (tl.program_id(0) % blocks) * BX + tl.arange(0, BX)
        return (row // (H * Z)).to(tl.int64), (row // H) % Z, row % H, x

    @triton.jit
    def _neighbour(o, x, y, z, Z, H, W, dilation, R: tl.constexpr, RZ: tl.constexpr):  # type: ignore[no-untyped-def]
        dx = o % (2 * R + 1) - R
        dy = (o // (2 * R + 1)) % (2 * R + 1) - R
        dz = o // ((2 * R + 1) * (2 * R + 1)) - RZ
        xx = x + dx * dilation
        # One number for each pixel, though all are equal: the interpreter cannot combine a mask with a scalar.
        yy = x * 0 + y + dy * dilation
        zz = x * 0 + z + dz * dilation
        there = (zz * H + yy) * W + xx
        inside = (x < W) & (xx >= 0) & (xx < W) & (yy >= 0) & (yy < H) & (zz >= 0) & (zz < Z)
        return there, inside & (there != (z * H + y) * W + x)

    @triton.jit
    def _count_kernel(  # type: ignore[no-untyped-def]
        labels,
        parts,
        Z,
        H,
        W,
        dilation,
        R: tl.constexpr,
        RZ: tl.constexpr,
        BX: tl.constexpr,
        IGNORED: tl.constexpr,
    ):
        b, z, y, x = _pixels(Z, H, W, BX)
        start = labels + b * (Z * H * W)
        label_i = tl.load(start + (z * H + y) * W + x, mask=x < W, other=IGNORED)
        same = tl.zeros((BX,), tl.int32)
        different = tl.zeros((BX,), tl.int32)
        for o in range((2 * RZ + 1) * (2 * R + 1) * (2 * R + 1)):
            there, inside = _neighbour(o, x, y, z, Z, H, W, dilation, R, RZ)
            label_j = tl.load(start + there, mask=inside, other=IGNORED)
            counted = (label_i != IGNORED) & (label_j != IGNORED)
            same += (counted & (label_i == label_j)).to(tl.int32)
            different += (counted & (label_i != label_j)).to(tl.int32)
        tl.store(parts + 2 * tl.program_id(0), tl.sum(same, 0))
        tl.store(parts + 2 * tl.program_id(0) + 1, tl.sum(different, 0))

    @triton.jit
    def _log_sum_exp_kernel(scores, out, C, N, BC: tl.constexpr, BX: tl.constexpr):  # type: ignore[no-untyped-def]
        b = tl.program_id(1)
        x = tl.program_id(0) * BX + tl.arange(0, BX)
        c = tl.arange(0, BC)
        start = scores + b.to(tl.int64) * C * N
        mask = (c[:, None] < C) & (x[None, :] < N)
        value = tl.load(start + c[:, None] * N + x[None, :], mask=mask, other=-float("inf"))
        top = tl.where(x < N, tl.max(value, 0), 0.0)
        total = tl.where(x < N, tl.sum(tl.exp(value - top[None, :]), 0), 1.0)
        tl.store(out + b.to(tl.int64) * N + x, top + tl.log(total), mask=x < N)

    @triton.jit
    def _affinity_kernel(  # type: ignore[no-untyped-def]
        scores,
        log_sum,
        labels,
        counts,
        weight,
        parts,
        gradient,
        C,
        Z,
        H,
        W,
        attract,
        repel,
        margin,
        dilation,
        R: tl.constexpr,
        RZ: tl.constexpr,
        BC: tl.constexpr,
        BX: tl.constexpr,
        IGNORED: tl.constexpr,
        BALANCED: tl.constexpr,
        WANT_GRADIENT: tl.constexpr,
    ):
        b, z, y, x = _pixels(Z, H, W, BX)
        N = Z * H * W
        c = tl.arange(0, BC)
        in_row = x < W
        channel = c[:, None] < C
        start = scores + b * C * N + c[:, None] * N
        here = (z * H + y) * W + x
        f_i = tl.load(start + here[None, :], mask=channel & in_row[None, :], other=0.0)
        label_i = tl.load(labels + b * N + here, mask=in_row, other=IGNORED)
        sum_i = tl.load(log_sum + b * N + here, mask=in_row, other=0.0)
        if BALANCED:
            pull = attract * tl.load(weight + b * N + here, mask=in_row, other=0.0)
        else:
            pull = tl.zeros((BX,), tl.float32) + attract / tl.maximum(tl.load(counts).to(tl.float32), 1.0)
        push = repel / tl.maximum(tl.load(counts + 1).to(tl.float32), 1.0)
        l_i = tl.where(channel, f_i - sum_i[None, :], 0.0)
        p_i = tl.where(channel, tl.exp(l_i), 0.0)
        d = tl.zeros((BC, BX), tl.float32)
        received = tl.zeros((BC, BX), tl.float32)
        incoming = tl.zeros((BX,), tl.float32)
        missing = tl.zeros((BX,), tl.float32)
        for o in range((2 * RZ + 1) * (2 * R + 1) * (2 * R + 1)):
            there, inside = _neighbour(o, x, y, z, Z, H, W, dilation, R, RZ)
            label_j = tl.load(labels + b * N + there, mask=inside, other=IGNORED)
            f_j = tl.load(start + there[None, :], mask=channel & inside[None, :], other=0.0)
            sum_j = tl.load(log_sum + b * N + there, mask=inside, other=0.0)
            used = channel & inside[None, :]
            l_j = tl.where(used, f_j - sum_j[None, :], 0.0)
            p_j = tl.where(used, tl.exp(l_j), 0.0)
            difference = l_i - l_j
            counted = (label_i != IGNORED) & (label_j != IGNORED)
            forth = tl.where(counted & (label_i == label_j), pull, 0.0)
            back = forth
            different = counted & (label_i != label_j)
            if tl.max(different.to(tl.int32), 0) > 0:
                push_forth = different & (tl.sum(p_i * difference, 0) < margin)
                push_back = different & (tl.sum(p_j * difference, 0) > -margin)
                forth = tl.where(push_forth, -push, forth)
                back = tl.where(push_back, -push, back)
                missing += push_forth.to(tl.float32)
            d += forth[None, :] * difference
            if WANT_GRADIENT:
                incoming += back
                received += back[None, :] * p_j
        w = tl.sum(p_i * d, 0)
        tl.store(parts + tl.program_id(0), tl.sum(tl.where(in_row, w + margin * push * missing, 0.0), 0))
        if WANT_GRADIENT:
            out = gradient + b * C * N + c[:, None] * N
            result = p_i * (d - w[None, :] + incoming[None, :]) - received
            tl.store(out + here[None, :], result, mask=channel & in_row[None, :])


def triton_limit(scores: Tensor) -> str | None:
    """Return why the kernel cannot serve for ``scores`` ``[B, C, *spatial]``, ``None`` if it can."""
    reasons = {
        "needs the package triton, which comes with PyTorch for CUDA": triton is None,
        f"runs on CUDA, the scores are on {scores.device}": not scores.is_cuda,
        f"computes in float32, the scores are {scores.dtype}": scores.dtype != torch.float32,
        f"takes at most {MAX_CHANNELS} channels, the scores have {scores.shape[1]}": scores.shape[1] > MAX_CHANNELS,
        "takes less than 2**31 numbers a sample": scores[0].numel() >= 2**31,
    }
    return next((reason for reason, holds in reasons.items() if holds), None)


def triton_affinity(
    scores: Tensor, labels: Tensor, options: AffinityOptions, attract: float, repel: float, want_gradient: bool
) -> tuple[Tensor, Tensor | None]:
    """Return ``attract * L+ + repel * L-`` and, if wanted, its gradient with respect to ``scores``.

    Args:
        scores: ``[B, C, *spatial]``, float32, at most :data:`MAX_CHANNELS` channels.
        labels: ``[B, *spatial]``, integers.
        options: kernel, dilation, margin and the rest. ``class_balanced`` costs a host sync.
        attract: factor of the first term.
        repel: factor of the second term.
        want_gradient: compute the gradient?
    """
    scores = scores.contiguous()
    valid = valid_pixels(labels, options.ignore_index)
    # A type in which the mark of ignored pixels is no label.
    small = labels.dtype in (torch.uint8, torch.int8, torch.int16)
    codes = labels.to(torch.int32 if small else torch.int64)
    if valid is not None:
        codes = codes.masked_fill(~valid, _mark(codes))
    with torch.cuda.device(scores.device) if scores.is_cuda else nullcontext():
        return _launch(scores, codes.contiguous(), valid, options, (attract, repel), want_gradient)


def _mark(codes: Tensor) -> int:
    """Return the label that stands for ignored pixels: the least number, which no label of a smaller type reaches."""
    return torch.iinfo(codes.dtype).min


def program_shape(channels: int) -> dict[str, int]:
    """Return channels and pixels of one program, powers of two, and its number of warps.

    2048 numbers to 8 warps leave 128 registers a thread, as :mod:`benchmarks.kernel` shows.
    """
    block = max(2, triton.next_power_of_2(channels))
    return {
        "BC": block,
        "BX": max(16, min(256, 2048 // block)),
        "num_warps": 4 if block < 32 else 8 if block <= 128 else 16,
    }


def _launch(
    scores: Tensor,
    codes: Tensor,
    valid: Tensor | None,
    options: AffinityOptions,
    factors: tuple[float, float],
    want_gradient: bool,
) -> tuple[Tensor, Tensor | None]:
    batch, channels, *size = scores.shape
    depth, height, width = size if len(size) == 3 else (1, *size)
    pixels, rows = depth * height * width, batch * depth * height
    window = {"R": options.radius, "RZ": options.radius if len(size) == 3 else 0, "IGNORED": _mark(codes)}
    counted = codes.new_empty((rows * triton.cdiv(width, _COUNTED), 2), dtype=torch.int32)
    _count_kernel[(len(counted),)](codes, counted, depth, height, width, options.dilation, BX=_COUNTED, **window)
    counts = counted.sum(0)
    weight = scores
    if options.class_balanced:
        weight = balanced_weights(codes, valid, options, torch.float32).contiguous()
    shape = program_shape(channels)
    log_sum = scores.new_empty(batch, pixels)
    _log_sum_exp_kernel[(triton.cdiv(pixels, shape["BX"]), batch)](scores, log_sum, channels, pixels, **shape)
    parts = scores.new_empty(rows * triton.cdiv(width, shape["BX"]))
    gradient = torch.empty_like(scores) if want_gradient else None
    _affinity_kernel[(len(parts),)](
        *(scores, log_sum, codes, counts, weight, parts, parts if gradient is None else gradient),
        *(channels, depth, height, width),
        *(*factors, options.margin, options.dilation),
        BALANCED=options.class_balanced,
        WANT_GRADIENT=want_gradient,
        **window,
        **shape,
    )
    return parts.sum(), gradient
