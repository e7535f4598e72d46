# SPDX-License-Identifier: Apache-2.0
"""What a prostate MRI can look like, and what is known of the public sets; ``prepare`` and ``verify`` share it."""

from __future__ import annotations

__all__ = ["FIELD_OF_VIEW_MM", "SLICE_DISTANCE_MM", "ZONE_SITES", "within"]

# Values outside these ranges only raise a warning. PI-RADS 2.1 asks for a field of view of 120 to 200 mm and slices of 3 mm,
# and the six sites go from 1.25 to 4 mm; the ranges leave room for crops, 3-D scans and thick slices, so that a warning
# means a wrong header.
FIELD_OF_VIEW_MM = (60.0, 500.0)
SLICE_DISTANCE_MM = (0.5, 10.0)

# Sites whose public masks keep the zones of NCI-ISBI 2013 (1 peripheral zone, 2 central gland).
ZONE_SITES = ("RUNMC", "BMC")


def within(value: float, limits: tuple[float, float]) -> bool:
    """Return whether ``value`` lies between two limits, both included.

    Example:
        >>> within(500, FIELD_OF_VIEW_MM), within(0.4, SLICE_DISTANCE_MM)
        (True, False)
    """
    lowest, highest = limits
    return lowest <= value <= highest
