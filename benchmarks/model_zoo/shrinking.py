# SPDX-License-Identifier: Apache-2.0
"""Overrides that make a bundle's training short and small, found in its config."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["shrinking"]

_SIZES = ("spatial_size", "roi_size", "patch_size", "patch_size_valid")
_LARGEST = {"num_samples": 1, "num_patches_per_image": 1, "batch_size": 2, "sw_batch_size": 1, "cache_num": 0}
_ONCE = ("max_epochs", "epochs", "num_epochs", "val_interval", "ckpt_interval", "num_iters", "num_substeps")
_FIXED = {"num_workers": 0, "cache_rate": 0.0, "persistent_workers": False}


def shrinking(config: Mapping[str, Any], side: int) -> dict[str, Any]:
    """Return ids and values for one epoch of small crops in the main process.

    Example:
        >>> shrinking({"epochs": 9, "train": {"crop": {"spatial_size": [96, 96], "num_samples": 4}}}, 32)
        {'epochs': 1, 'train#crop#spatial_size': [32, 32], 'train#crop#num_samples': 1}
    """
    return dict(_found(config, "", side))


def _found(content: Any, place: str, side: int) -> Iterator[tuple[str, Any]]:
    items = content.items() if isinstance(content, Mapping) else enumerate(content)
    for name, value in items:
        where = f"{place}#{name}" if place else str(name)
        if isinstance(value, (Mapping, list)) and not _is_size(name, value):
            # networks keep their own sizes
            if name != "network_def":
                yield from _found(value, where, side)
            continue
        small = _small(name, value, side)
        if small is not None and small != value and not re.fullmatch(r"imports#\d+", where):
            yield where, small


def _is_size(name: object, value: Any) -> bool:
    return name in _SIZES and isinstance(value, list) and all(isinstance(part, int) for part in value)


def _small(name: Any, value: Any, side: int) -> Any:
    if _is_size(name, value):
        return [min(part, side) for part in value]
    if name in _FIXED:
        return _FIXED[name]
    if name in _ONCE and isinstance(value, int):
        return 1
    if name in _LARGEST and isinstance(value, int):
        return min(value, _LARGEST[name])
    return None
