# SPDX-License-Identifier: Apache-2.0
"""Narrower and wider forms of a network: its channels, scaled together."""

from __future__ import annotations

import math
from collections.abc import Sequence

from akd_monai.errors import InputError

__all__ = ["LEAST_WIDTH", "MOST_WIDTH", "scaled_widths"]

_STEP = 4
LEAST_WIDTH = 0.125
MOST_WIDTH = 4.0


def scaled_widths(network: str, widths: Sequence[int], multiplier: float) -> list[int]:
    r"""Return the widths of a network times ``multiplier``, rounded to multiples of 4.

    .. math:: \max(4,\; 4 \lfloor w m / 4 + 1/2 \rfloor)

    At 1 they are what they were, since all widths that are given are multiples of 4.

    Args:
        network: its name.
        widths: of the published network, multiples of 4.
        multiplier: from 0.125 to 4.

    Raises:
        InputError: if ``multiplier`` is no number, or out of range.

    Example:
        >>> scaled_widths("ENet", (4, 16, 64), 0.5), scaled_widths("ENet", (4, 16, 64), 0.3)
        ([4, 8, 32], [4, 4, 20])
        >>> scaled_widths("ENet", (4, 16, 64), 0)
        Traceback (most recent call last):
        ...
        akd_monai.errors.InputError: ENet takes a width_multiplier from 0.125 to 4, got 0; 1 is the published width.
    """
    is_number = isinstance(multiplier, (int, float)) and not isinstance(multiplier, bool)
    if not is_number or not LEAST_WIDTH <= multiplier <= MOST_WIDTH:
        limits = f"from {LEAST_WIDTH} to {MOST_WIDTH:.0f}"
        raise InputError(f"{network} takes a width_multiplier {limits}, got {multiplier!r}; 1 is the published width.")
    return [max(_STEP, _STEP * math.floor(width * multiplier / _STEP + 0.5)) for width in widths]
