# SPDX-License-Identifier: Apache-2.0
"""How much a teacher cache will take, told before anything is written, and refused where it does not fit."""

from __future__ import annotations

import logging
import shutil
from dataclasses import dataclass
from pathlib import Path

from akd_monai.errors import InputError

__all__ = ["Demand", "check_space"]

logger = logging.getLogger(__name__)
_UNITS = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"))


@dataclass(frozen=True)
class Demand:
    """What one layer will take.

    Args:
        row_bytes: of one output.
        missing: the most outputs that may be computed, None if that is unknown.
    """

    row_bytes: int
    missing: int | None


def check_space(cache_dir: Path, demands: list[Demand]) -> None:
    """Log the size of a cache.

    Args:
        cache_dir: the folder, which need not exist yet.
        demands: of each layer; ``missing`` is known for all of them or for none.

    Raises:
        InputError: if it is larger than what is free.
    """
    free = shutil.disk_usage(_existing(cache_dir)).free
    each = sum(demand.row_bytes for demand in demands)
    told = f"teacher cache {str(cache_dir)!r}: {_size(each)} for each view of a slice"
    counts = [demand.missing for demand in demands if demand.missing is not None]
    if counts:
        needed = sum(demand.row_bytes * (demand.missing or 0) for demand in demands)
        told += f", at most {max(counts)} still to be computed, {_size(needed)}"
        if needed > free:
            raise InputError(
                f"{told}, but {_size(free)} are free: free space, choose another folder, set cache_dtype to float16, or "
                "leave out terms that compare features."
            )
    logger.info("%s; %s are free", told, _size(free))


def _size(count: float) -> str:
    """Return bytes with three digits.

    Example:
        >>> _size(313_344), _size(12), _size(7.5e12)
        ('313 kB', '12 B', '7.5e+03 GB')
    """
    for limit, unit in _UNITS:
        if count >= limit:
            return f"{count / limit:.3g} {unit}"
    return f"{count} B"


def _existing(folder: Path) -> Path:
    folder = folder.absolute()
    return next(place for place in (folder, *folder.parents) if place.exists())
