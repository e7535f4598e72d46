# SPDX-License-Identifier: Apache-2.0
"""Affinity loss as a fused kernel for CUDA: value and gradient in three passes over the map, without host syncs.

One kernel counts the pairs of the label map, one computes the logarithms of the softmax's sums, one the loss. There a
program owns one piece of a row with all its channels, visits the neighbours of its pixels and writes its own gradient and
its own part of the loss: no atomics, so the result is the same in every run. The formulas are those of
:mod:`~akd_monai.losses._affinity.dense`; tiles without a border skip the hinge.
"""
# ruff: noqa: ANN001, ANN202, N803, N806 - Triton infers types; capitals are sizes and constants, as in its own kernels
# mypy: disable-error-code="no-untyped-def"

# No `from __future__ import annotations` here: Triton reads the kernels' annotations as objects.
try:
    import triton
    import triton.language as tl
except ImportError:
    triton = None

__all__ = ["affinity_kernel", "count_kernel", "log_sum_exp_kernel", "triton"]

if triton is not None:

    @triton.jit
    def _pixels(Z, H, W, BX: tl.constexpr):
        blocks = tl.cdiv(W, BX)
        row = tl.program_id(0) // blocks
        x = (tl.program_id(0) % blocks) * BX + tl.arange(0, BX)
        return (row // (H * Z)).to(tl.int64), (row // H) % Z, row % H, x

    @triton.jit
    def _neighbour(o, x, y, z, Z, H, W, dilation, R: tl.constexpr, RZ: tl.constexpr):
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
    def count_kernel(
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
    def log_sum_exp_kernel(scores, out, C, N, BC: tl.constexpr, BX: tl.constexpr):
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
    def affinity_kernel(
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
