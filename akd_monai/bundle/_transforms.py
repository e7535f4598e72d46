# SPDX-License-Identifier: Apache-2.0
"""Transforms of a config as far as they act on the image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["image_transforms"]


def image_transforms(content: Any) -> list[dict[str, Any]]:
    """Return the transforms that act on ``image``, with the arguments for ``image`` alone.

    What only checks a volume changes no voxel, and is left out: :class:`~akd_monai.data.CheckVolumesd`, and
    :class:`~akd_monai.data.CheckedReader` as the reader of ``LoadImaged``.

    Args:
        content: a list of transforms as configs hold it, or a ``Compose`` of them.

    Example:
        >>> image_transforms([{"_target_": "Resized", "keys": ["image", "label"], "mode": ["trilinear", "nearest"]}])
        [{'_target_': 'Resized', 'keys': 'image', 'mode': 'trilinear'}]
    """
    transforms = content.get("transforms", []) if isinstance(content, Mapping) else content
    if not isinstance(transforms, list):
        return []
    acting = [transform for transform in transforms if "image" in _keys(transform)]
    return [_for_image(transform) for transform in acting if not _is_target(transform, "CheckVolumesd")]


def _is_target(value: Any, name: str) -> bool:
    target = value.get("_target_") if isinstance(value, Mapping) else value
    return target in (name, f"akd_monai.data.{name}")


def _keys(transform: Any) -> list[Any]:
    keys = transform.get("keys") if isinstance(transform, Mapping) else None
    return list(keys) if isinstance(keys, (list, tuple)) else [keys]


def _for_image(transform: Mapping[str, Any]) -> dict[str, Any]:
    keys = _keys(transform)
    place = keys.index("image")
    kept = {}
    for name, value in transform.items():
        if name == "reader" and _is_target(value, "CheckedReader"):
            continue
        one_each = isinstance(value, list) and len(value) == len(keys) > 1
        kept[name] = value[place] if one_each else value
    return {**kept, "keys": "image"}
