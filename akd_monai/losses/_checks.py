# SPDX-License-Identifier: Apache-2.0
"""Checks of maps and their number types that the losses share."""

from __future__ import annotations

import torch
from torch import Tensor

from akd_monai.errors import InputError

__all__ = ["check_integer", "check_map", "check_pair", "full_precision", "plain", "wide"]


def check_integer(what: str, value: object, at_least: int) -> None:
    """Raise ``InputError`` unless ``value`` is an integer of at least ``at_least``."""
    if isinstance(value, bool) or not isinstance(value, int) or value < at_least:
        raise InputError(f"{what} must be an integer of at least {at_least}, got {value!r}.")


def check_map(what: str, value: object) -> None:
    """Raise ``InputError`` unless ``value`` is a floating point map ``[B, C, H, W]`` or ``[B, C, H, W, D]``."""
    if not isinstance(value, Tensor):
        raise InputError(f"{what} must be a tensor [B, C, *spatial], got {type(value).__name__}.")
    if value.dim() not in (4, 5) or not value.is_floating_point() or value.numel() == 0:
        raise InputError(
            f"{what} must be a non-empty floating point tensor [B, C, H, W] or [B, C, H, W, D], "
            f"got {value.dtype} of shape {list(value.shape)}."
        )


def check_pair(student: Tensor, teacher: Tensor, *, channels: bool, spatial: bool, remedy: str) -> None:
    """Raise ``InputError`` unless two maps agree in batch and, where asked, in channels and spatial size.

    Args:
        student: map ``[B, C, *spatial]``.
        teacher: map ``[B, C, *spatial]``.
        channels: whether the channels must agree.
        spatial: whether the spatial sizes must agree.
        remedy: what to do when the channels differ.
    """
    check_map("the student's map", student)
    check_map("the teacher's map", teacher)
    shapes = f"student {list(student.shape)}, teacher {list(teacher.shape)}"
    if student.shape[0] != teacher.shape[0]:
        raise InputError(f"the maps differ in batch size ({shapes}): both networks must see the same images.")
    if channels and student.shape[1] != teacher.shape[1]:
        raise InputError(f"the maps differ in channels ({shapes}): {remedy}.")
    if spatial and student.shape[2:] != teacher.shape[2:]:
        raise InputError(
            f'the maps differ in spatial size ({shapes}): set "resize": true on the term or choose layers of one size.'
        )
    if student.device != teacher.device:
        raise InputError(
            f"the student's map is on {student.device}, the teacher's on {teacher.device}: move one of them."
        )


def plain(value: Tensor) -> Tensor:
    """Return ``value`` as a plain tensor: subclasses such as ``MetaTensor`` cost time at every operation."""
    return value if type(value) is Tensor else value.as_subclass(Tensor)


def wide(value: Tensor) -> Tensor:
    """Return a plain tensor in float32, or in float64 where it already is."""
    value = plain(value)
    return value if value.dtype == torch.float64 else value.float()


def full_precision(value: Tensor) -> torch.autocast:
    """Return a context in which autocast is off on the device of ``value``: half precision overflows in the losses."""
    return torch.autocast(value.device.type, enabled=False)
