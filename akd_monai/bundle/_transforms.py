# SPDX-License-Identifier: Apache-2.0
"""Transforms of a config as far as they act on the image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["image_transforms"]


def image_transforms(content: Any) -> list[dict[str, Any]]:
    """Return the transforms that act on ``image``, with the arguments for ``image`` alone.

    Args:
        content: a list of transforms as configs hold it, or a ``Compose`` of them.

    Example:
        >>> image_transforms([{"_target_": "Resized", "keys": ["image", "label"], "mode": ["trilinear", "nearest"]}])
        [{'_target_': 'Resized', 'keys': 'image', 'mode': 'trilinear'}]
    """
    transforms = content.get("transforms", []) if isinstance(content, Mapping) else content
    if not isinstance(transforms, list):
        return []
    return [_for_image(transform) for transform in transforms if "image" in _keys(transform)]


def _keys(transform: Any) -> list[Any]:
    keys = transform.get("keys") if isinstance(transform, Mapping) else None
    return keys if isinstance(keys, list) else [keys]


def _for_image(transform: Mapping[str, Any]) -> dict[str, Any]:
    keys = _keys(transform)
    place = keys.index("image")
    kept = {}
    for name, value in transform.items():
        one_each = isinstance(value, list) and len(value) == len(keys) > 1
        kept[name] = value[place] if one_each else value
    return {**kept, "keys": "image"}
