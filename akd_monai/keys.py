# SPDX-License-Identifier: Apache-2.0
"""Random numbers as a function of what they are for, so that there is no state to save or to lose."""

from __future__ import annotations

import zlib

__all__ = ["random_key"]


def random_key(*parts: object) -> int:
    """Return a 32-bit seed that depends on ``parts`` alone: the same parts give the same seed in any process.

    Shuffling is keyed by (seed, epoch), augmentation by (seed, epoch, sample), dropout by (seed, iteration). A run that
    is killed and resumed, or that uses another number of workers, therefore sees the same numbers.

    Args:
        parts: integers and strings with a stable ``repr``.

    Example:
        >>> random_key(7, "shuffle", 1) == random_key(7, "shuffle", 1)
        True
        >>> random_key(7, "shuffle", 1) == random_key(7, "shuffle", 2)
        False
    """
    return zlib.crc32(repr(parts).encode())
