# SPDX-License-Identifier: Apache-2.0
"""Affinity loss as one fused kernel for CUDA: value and gradient in three passes over the map, without host syncs.

A program owns one piece of a row with all its channels, visits the neighbours of its pixels and writes its own
gradient and its own part of the loss: no atomics, so the result is the same in every run. The formulas are those of
:mod:`~akd_monai.losses.affinity_dense`; tiles without a border skip the hinge.
"""

# No `from __future__ import annotations` here: Triton reads the kernels' annotations as objects.
from contextlib import nullcontext

import torch
from torch import Tensor

from akd_monai.losses.affinity_pairs import (
    AffinityOptions,
    balanced_weights,
    half_windows,
    same_and_different,
    valid_pixels,
)

try:
    import triton
    import triton.language as tl
except ImportError:
    triton = None

MAX_CHANNELS = 256
_IGNORED = -(2**31)

if triton is not None:

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
        weight,
        factors,
        parts,
        gradient,
        C,
        Z,
        H,
        W,
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
        blocks = tl.cdiv(W, BX)
        row = tl.program_id(0) // blocks
        y = row % H
        z = (row // H) % Z
        b = (row // (H * Z)).to(tl.int64)
        N = Z * H * W
        x = (tl.program_id(0) % blocks) * BX + tl.arange(0, BX)
        c = tl.arange(0, BC)
        in_row = x < W
        channel = c[:, None] < C
        start = scores + b * C * N + c[:, None] * N
        here = (z * H + y) * W + x
        f_i = tl.load(start + here[None, :], mask=channel & in_row[None, :], other=0.0)
        label_i = tl.load(labels + b * N + here, mask=in_row, other=IGNORED)
        sum_i = tl.load(log_sum + b * N + here, mask=in_row, other=0.0)
        if BALANCED:
            pull = tl.load(weight + b * N + here, mask=in_row, other=0.0)
        else:
            pull = tl.zeros((BX,), tl.float32) + tl.load(factors)
        push = tl.load(factors + 1)
        l_i = tl.where(channel, f_i - sum_i[None, :], 0.0)
        p_i = tl.where(channel, tl.exp(l_i), 0.0)
        d = tl.zeros((BC, BX), tl.float32)
        received = tl.zeros((BC, BX), tl.float32)
        incoming = tl.zeros((BX,), tl.float32)
        missing = tl.zeros((BX,), tl.float32)
        for o in range((2 * RZ + 1) * (2 * R + 1) * (2 * R + 1)):
            dx = o % (2 * R + 1) - R
            dy = (o // (2 * R + 1)) % (2 * R + 1) - R
            dz = o // ((2 * R + 1) * (2 * R + 1)) - RZ
            xx = x + dx * dilation
            # One number for each pixel, though all are equal: the interpreter cannot combine a mask with a scalar.
            yy = tl.zeros((BX,), tl.int32) + y + dy * dilation
            zz = tl.zeros((BX,), tl.int32) + z + dz * dilation
            inside = in_row & (xx >= 0) & (xx < W) & (yy >= 0) & (yy < H) & (zz >= 0) & (zz < Z)
            there = (zz * H + yy) * W + xx
            inside = inside & (there != here)
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


def triton_affinity(
    scores: Tensor, labels: Tensor, options: AffinityOptions, attract: float, repel: float, want_gradient: bool
) -> tuple[Tensor, Tensor | None]:
    """Return ``attract * L+ + repel * L-`` and, if wanted, its gradient with respect to ``scores``.

    Args:
        scores: ``[B, C, *spatial]``, float32, at most :data:`MAX_CHANNELS` channels.
        labels: ``[B, *spatial]``, integers within 32 bits.
        options: kernel, dilation, margin and the rest. ``class_balanced`` costs a host sync.
        attract: factor of the first term.
        repel: factor of the second term.
        want_gradient: compute the gradient?
    """
    scores = scores.contiguous()
    valid = valid_pixels(labels, options.ignore_index)
    codes = labels.int() if valid is None else labels.int().masked_fill(~valid, _IGNORED)
    factors = _factors(labels, valid, options, attract, repel)
    weight = factors
    if options.class_balanced:
        weight = (balanced_weights(labels, valid, options, torch.float32) * attract).contiguous()
    with torch.cuda.device(scores.device) if scores.is_cuda else nullcontext():
        return _launch(scores, codes.contiguous(), weight, factors, options, want_gradient)


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
    scores: Tensor, codes: Tensor, weight: Tensor, factors: Tensor, options: AffinityOptions, want_gradient: bool
) -> tuple[Tensor, Tensor | None]:
    batch, channels, *size = scores.shape
    depth, height, width = size if len(size) == 3 else (1, *size)
    pixels = depth * height * width
    shape = program_shape(channels)
    block_x = shape["BX"]
    log_sum = scores.new_empty(batch, pixels)
    _log_sum_exp_kernel[(triton.cdiv(pixels, block_x), batch)](scores, log_sum, channels, pixels, **shape)
    programs = batch * depth * height * triton.cdiv(width, block_x)
    parts = scores.new_empty(programs)
    gradient = torch.empty_like(scores) if want_gradient else None
    target = parts if gradient is None else gradient
    maps = (scores, log_sum, codes, weight, factors, parts, target)
    _affinity_kernel[(programs,)](
        *maps,
        *(channels, depth, height, width, options.margin, options.dilation),
        R=options.radius,
        RZ=options.radius if len(size) == 3 else 0,
        IGNORED=_IGNORED,
        BALANCED=options.class_balanced,
        WANT_GRADIENT=want_gradient,
        **shape,
    )
    return parts.sum(), gradient


def _factors(labels: Tensor, valid: Tensor | None, options: AffinityOptions, attract: float, repel: float) -> Tensor:
    """Return the weights of one pair of equal and of different label, counted on the device."""
    n_same = torch.zeros((), dtype=torch.int64, device=labels.device)
    n_different = n_same.clone()
    for i, j in half_windows(tuple(labels.shape[1:]), options):
        same, different = same_and_different(labels, valid, i, j)
        n_same += 2 * same.sum()
        n_different += 2 * different.sum()
    return torch.stack([attract / n_same.clamp(min=1), repel / n_different.clamp(min=1)]).float()
