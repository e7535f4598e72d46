# SPDX-License-Identifier: Apache-2.0
"""Whether a network takes images of a size and returns one map of classes for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from akd_monai.bundle._new_probe import dry_run
from akd_monai.errors import InputError, one_line

__all__ = ["check_fit"]

_MULTIPLES = (2, 4, 8, 16, 32, 64, 128)


def check_fit(built: nn.Module, network: str, shape: Sequence[int], classes: int) -> None:
    """Check that a network returns one map of ``classes`` for an input of ``shape``, in training too.

    Args:
        built: the network.
        network: its name, for messages.
        shape: ``(1, channels, *spatial)``.
        classes: channels of the map.

    Raises:
        InputError: if it does not; naming sizes that it takes where there are some.

    Example:
        >>> check_fit(nn.Conv2d(1, 2, 1), "mine", (1, 1, 8, 8), 2)
    """
    size = shape[2:]
    wanted = (1, classes, *size)
    for training in (False, True):
        try:
            found = dry_run(built, shape, training=training)
        except Exception as error:
            raise _does_not_take(built, network, shape, error) from error
        if not isinstance(found, torch.Tensor):
            raise InputError(
                f"{network} returns a {type(found).__name__}, wanted one tensor: the losses and metrics of the bundle take "
                "nothing else",
                remedy="switch off its further outputs with network_args, or wrap it",
                code="outputs",
            )
        if tuple(found.shape) != wanted:
            during = " in training" if training else ""
            raise InputError(
                f"{network} gives {list(found.shape)}{during} for an image of shape {list(shape)}, wanted {list(wanted)}",
                remedy="set it with network_args",
                code="shape",
            )


def _does_not_take(built: nn.Module, network: str, shape: Sequence[int], error: Exception) -> InputError:
    size = shape[2:]
    fitting = _fitting(built, shape)
    remedy = "set another network, or other arguments with network_args"
    if fitting is not None:
        multiple, sides = fitting
        remedy = (
            f"sides that are multiples of {multiple} work, such as {_times(sides)}: change the crop in a copy of the "
            "bundle, or give the network fewer or other levels with network_args"
        )
    what = f"{network} does not take images of {_times(size)} ({one_line(error, 120)})"
    return InputError(what, remedy=remedy, code="size")


def _fitting(built: nn.Module, shape: Sequence[int]) -> tuple[int, list[int]] | None:
    for multiple in _MULTIPLES:
        sides = [-(-side // multiple) * multiple for side in shape[2:]]
        if sides != list(shape[2:]) and _runs(built, [*shape[:2], *sides]):
            return multiple, sides
    return None


def _runs(built: nn.Module, shape: Sequence[int]) -> bool:
    try:
        dry_run(built, shape)
    except Exception:
        # which class it is depends on the network
        return False
    return True


def _times(sides: Sequence[Any]) -> str:
    return " x ".join(map(str, sides))
