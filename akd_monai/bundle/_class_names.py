# SPDX-License-Identifier: Apache-2.0
"""The classes that a bundle's metadata gives its output channels."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from akd_monai.bundle.metadata import output_format, read_metadata
from akd_monai.errors import InputError

__all__ = ["class_count", "class_names", "folded"]


def class_count(bundle_dir: str | Path) -> int:
    """Return the number of output channels that a bundle's metadata gives.

    Raises:
        InputError: if it gives none.
    """
    count = output_format(read_metadata(bundle_dir)).get("num_channels")
    if isinstance(count, str) and count.strip().isdecimal():
        count = int(count)
    if not isinstance(count, int) or isinstance(count, bool) or count < 1:
        raise InputError(
            f"metadata.json of bundle {str(bundle_dir)!r} gives {count!r} as num_channels of the output",
            remedy="write the number of channels that the network returns",
        )
    return count


def class_names(bundle_dir: str | Path) -> list[str] | None:
    """Return the name of each output channel, or ``None`` unless the metadata has exactly one for each.

    Names must differ after :func:`folded`.

    Raises:
        InputError: if the metadata gives no number of channels.
    """
    given = output_format(read_metadata(bundle_dir)).get("channel_def")
    names = _ordered(given, class_count(bundle_dir)) if isinstance(given, Mapping) else None
    return names if names is not None and _differ(names) else None


def _ordered(given: Mapping[Any, Any], count: int) -> list[str] | None:
    by_key = {str(key).strip(): value for key, value in given.items()}
    keys = [str(channel) for channel in range(count)]
    if set(keys) != set(by_key) or not all(isinstance(name, str) and name.strip() for name in by_key.values()):
        return None
    return [by_key[key].strip() for key in keys]


def _differ(names: Sequence[str]) -> bool:
    return len({folded(name) for name in names}) == len(names)


def folded(name: str) -> str:
    """Return a class name as it is compared: lower case, with one space for each run of spaces, ``_`` and ``-``.

    Example:
        >>> folded(" Peripheral_Zone")
        'peripheral zone'
    """
    return re.sub(r"[\s_-]+", " ", name).strip().casefold()
