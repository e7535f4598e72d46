# SPDX-License-Identifier: Apache-2.0
"""Packages whose names are imported when they are first used, so that importing the package loads nothing heavy."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any

from akd_monai._moved import moved_name

__all__ = ["lazy_names"]


def lazy_names(package: str, homes: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return ``__getattr__`` and ``__dir__`` of a package.

    Args:
        package: name of the package.
        homes: module below the package in which each public name is defined.

    Example:
        >>> lookup, listing = lazy_names("akd_monai.data", {"KeyedSampler": "sampler"})
        >>> lookup("KeyedSampler").__name__, listing()
        ('KeyedSampler', ['KeyedSampler'])
    """

    def lookup(name: str) -> Any:
        if name not in homes:
            return moved_name(package, name)
        return getattr(importlib.import_module(f"{package}.{homes[name]}"), name)

    return lookup, lambda: sorted(homes)
