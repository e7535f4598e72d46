# SPDX-License-Identifier: Apache-2.0
"""Sizes that a network can take."""

from __future__ import annotations

import torch

from akd_monai.errors import InputError


def check_size(x: torch.Tensor, stride: int, network: str) -> None:
    """Raise an :class:`InputError` unless every side of ``x`` is a multiple of ``stride``.

    Compiled and exported graphs leave the check out, since they are made for sizes that were checked.

    Example:
        >>> check_size(torch.zeros(1, 1, 30, 64), 8, "ENet")
        Traceback (most recent call last):
        ...
        akd_monai.errors.InputError: ENet takes sides that are multiples of 8, got [30, 64]; pad to [32, 64], ...
    """
    if torch.jit.is_scripting() or torch.jit.is_tracing() or torch.compiler.is_compiling():
        return
    sides = [int(s) for s in x.shape[2:]]
    if any(s % stride or s == 0 for s in sides):
        wanted = [max(stride, -(-s // stride) * stride) for s in sides]
        raise InputError(
            f"{network} takes sides that are multiples of {stride}, got {sides}; pad to {wanted}, "
            f"for instance with monai.transforms.DivisiblePadd(k={stride})."
        )
