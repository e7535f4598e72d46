# SPDX-License-Identifier: Apache-2.0
"""What defines the affinity loss."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral

from akd_monai.errors import InputError, check_number

__all__ = ["AffinityOptions"]


@dataclass(frozen=True)
class AffinityOptions:
    """The pairs of the affinity loss and what is asked of them, checked.

    Args:
        kernel: side of the window in pixels, odd, at least 3.
        dilation: distance of neighbouring pixels of the window, at least 1.
        margin: Kullback-Leibler divergence in nats that pairs of different label should reach, above 0.
        ignore_index: label of pixels that belong to no pair; ``None`` for none.
        class_balanced: average the attraction over classes instead of over pairs.

    Raises:
        InputError: if a value is out of its range.
    """

    kernel: int = 3
    dilation: int = 1
    margin: float = 3.0
    ignore_index: int | None = 255
    class_balanced: bool = False

    def __post_init__(self) -> None:
        if not _is_integer(self.kernel) or self.kernel < 3 or self.kernel % 2 == 0:
            raise InputError(f"kernel must be an odd integer of at least 3, got {self.kernel!r}.")
        if not _is_integer(self.dilation) or self.dilation < 1:
            raise InputError(f"dilation must be an integer of at least 1, got {self.dilation!r}.")
        check_number("margin", self.margin, above=0)
        if self.ignore_index is not None and not _is_integer(self.ignore_index):
            raise InputError(f"ignore_index must be an integer or None, got {self.ignore_index!r}.")

    @property
    def radius(self) -> int:
        """Number of neighbours on each side along one axis."""
        return self.kernel // 2


def _is_integer(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)
