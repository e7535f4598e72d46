# SPDX-License-Identifier: Apache-2.0
"""Check the numbers that describe a SYNTHETIC case."""

from __future__ import annotations

from numbers import Integral

from akd_monai.errors import InputError

__all__ = ["check_numbers"]

_LEAST_SIZE = 32
_LEAST_SLICES = 4


def check_numbers(size: object, slices: object, seed: object) -> None:
    """Raise ``InputError`` unless the numbers that describe a case are in range."""
    for name, value in (("size", size), ("slices", slices), ("seed", seed)):
        optional = name == "slices" and value is None
        if not optional and (isinstance(value, bool) or not isinstance(value, Integral)):
            raise InputError(f"{name} must be an integer, got {value!r}.")
    if isinstance(seed, Integral) and seed < 0:
        raise InputError(f"seed must be at least 0, as that of a training, got {seed}.")
    if isinstance(size, Integral) and size < _LEAST_SIZE:
        raise InputError(f"size must be at least {_LEAST_SIZE} pixels, got {size}.")
    if isinstance(slices, Integral) and slices < _LEAST_SLICES:
        raise InputError(f"slices must be at least {_LEAST_SLICES}, or null for each site's own number, got {slices}.")
