# SPDX-License-Identifier: Apache-2.0
"""The probability of a random transform, which MONAI would move into its range without a word."""

from __future__ import annotations

import math
from numbers import Real

from akd_monai.errors import InputError

__all__ = ["checked_probability"]


def checked_probability(value: object, what: str = "prob") -> float:
    """Return a probability.

    Raises:
        InputError: unless it is a number from 0 to 1.

    Example:
        >>> checked_probability(2)
        Traceback (most recent call last):
        ...
        akd_monai.errors.InputError: prob must be a probability from 0 to 1, got 2.
    """
    is_number = isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    if not is_number or not 0 <= float(value) <= 1:  # type: ignore[arg-type]
        raise InputError(f"{what} must be a probability from 0 to 1, got {value!r}.")
    return float(value)  # type: ignore[arg-type]
