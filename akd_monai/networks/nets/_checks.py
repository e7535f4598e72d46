# SPDX-License-Identifier: Apache-2.0
"""Checks that the networks share: of their arguments and of their input."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from akd_monai.errors import InputError

__all__ = ["check_arguments", "check_input"]


def check_arguments(
    network: str,
    spatial_dims: int,
    in_channels: int,
    out_channels: int,
    dropouts: Sequence[float],
    *,
    in_3d: bool = False,
    stem: int | None = None,
) -> None:
    """Raise an :class:`InputError` unless a network can be built with these arguments.

    Args:
        network: its name.
        spatial_dims: 2, or with ``in_3d`` also 3.
        in_channels: channels of the image.
        out_channels: classes.
        dropouts: every dropout probability.
        in_3d: whether the network works in 3D.
        stem: channels of a first block that concatenates the pooled image with its convolution.

    Example:
        >>> check_arguments("ENet", 3, 1, 2, [0.1])
        Traceback (most recent call last):
        ...
        akd_monai.errors.InputError: ENet takes spatial_dims 2, got 3; UNetPlusPlus works in 3D.
    """
    _check_spatial_dims(network, spatial_dims, in_3d)
    _check_count(network, "in_channels", in_channels)
    _check_count(network, "out_channels", out_channels)
    if stem is not None and in_channels >= stem:
        raise InputError(
            f"{network} takes 1 to {stem - 1} channels, since its first block has {stem} in all, got {in_channels}."
        )
    for rate in dropouts:
        if isinstance(rate, bool) or not isinstance(rate, (int, float)) or not 0 <= rate < 1:
            raise InputError(f"{network} takes a dropout from 0 to below 1, got {rate!r}; 0 turns it off.")


def _check_spatial_dims(network: str, spatial_dims: int, in_3d: bool) -> None:
    if in_3d and spatial_dims not in (2, 3):
        raise InputError(f"{network} takes spatial_dims 2 or 3, got {spatial_dims!r}.")
    if not in_3d and spatial_dims != 2:
        raise InputError(f"{network} takes spatial_dims 2, got {spatial_dims!r}; UNetPlusPlus works in 3D.")


def _check_count(network: str, name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InputError(f"{network} takes an integer of at least 1 as {name}, got {value!r}.")


def check_input(x: torch.Tensor, network: str, spatial_dims: int, channels: int, stride: int) -> None:
    """Raise an :class:`InputError` unless ``x`` is ``[B, channels, *spatial]`` with sides that are multiples of ``stride``.

    Scripted, traced, compiled and exported graphs omit the check: they are made for inputs that were checked.

    Example:
        >>> check_input(torch.zeros(1, 1, 30, 64), "ENet", 2, 1, 8)
        Traceback (most recent call last):
        ...
        akd_monai.errors.InputError: ENet takes sides that are multiples of 8, got [30, 64]; pad to [32, 64], ...
    """
    if torch.jit.is_scripting() or torch.jit.is_tracing() or torch.compiler.is_compiling():
        return
    shape = [int(s) for s in x.shape]
    if len(shape) != spatial_dims + 2 or shape[1] != channels:
        raise InputError(
            f"{network} takes [batch, {channels}, and {spatial_dims} sides], got {shape}; "
            "set spatial_dims and in_channels of network_def to those of the images, or change the images."
        )
    sides = shape[2:]
    if any(s % stride or s == 0 for s in sides):
        wanted = [max(stride, -(-s // stride) * stride) for s in sides]
        raise InputError(
            f"{network} takes sides that are multiples of {stride}, got {sides}; pad to {wanted}, "
            f"for instance with monai.transforms.DivisiblePadd(k={stride})."
        )
