# SPDX-License-Identifier: Apache-2.0
"""How the deterministic transforms of a config prepare an image, as facts that can be compared."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from monai import transforms
from monai.transforms.intensity import array as intensity_transforms

from akd_monai.bundle._static import UNKNOWN

__all__ = ["ImageFacts", "image_facts"]

_SUFFIXES = ("Dict", "d", "D")
_LABELS = {"label", "labels", "mask", "seg", "segmentation", "pred", "others", "label_inst", "label_type"}
_TURNS = ("Flip", "Rotate90", "Rotate", "Transpose")
# without effect on values, or on what the other facts tell
_SILENT = {"keys", "dtype", "allow_missing_keys", "output_dtype", "lazy", "_target_", "_disabled_", "_desc_"}


@dataclass
class ImageFacts:
    """What happens to an image before a network sees it.

    Args:
        intensity: MONAI's transforms of intensity in their order, each as a name and its arguments, defaults included.
        spacing: of ``Spacing``; ``None`` without it, ``UNKNOWN`` where it must be run.
        orientation: axis codes of ``Orientation``.
        turns: transforms that flip or turn, in their order.
        size: of ``Resize``.
        crop: of the last transform that crops or pads, random ones included.
        unread: names of what cannot be read: code and classes that are not MONAI's.
    """

    intensity: list[tuple[str, tuple[tuple[str, Any], ...]]] = field(default_factory=list)
    spacing: Any = None
    orientation: Any = None
    turns: list[tuple[str, tuple[tuple[str, Any], ...]]] = field(default_factory=list)
    size: Any = None
    crop: Any = None
    unread: list[str] = field(default_factory=list)


def image_facts(content: Any) -> ImageFacts:
    """Return how transforms, as :meth:`~akd_monai.bundle._static.StaticConfig.follow` gives them, prepare the image.

    Example:
        >>> facts = image_facts([{"_target_": "Spacingd", "keys": ["image", "label"], "pixdim": [1, 1, 2]},
        ...                      {"_target_": "ScaleIntensityd", "keys": "image"}])
        >>> facts.spacing, [name for name, _ in facts.intensity]
        ([1, 1, 2], ['ScaleIntensity'])
    """
    facts = ImageFacts()
    for transform in _flat(content):
        if not isinstance(transform, Mapping):
            facts.unread.append("code" if transform is UNKNOWN else str(transform))
        elif _acts_on_image(transform):
            _add(facts, _array_name(str(transform.get("_target_"))), transform)
    return facts


def _flat(content: Any) -> Iterator[Any]:
    if isinstance(content, Mapping) and "transforms" in content:
        yield from _flat(content["transforms"])
    elif isinstance(content, list):
        for part in content:
            yield from _flat(part)
    elif content is not None:
        yield content


def _acts_on_image(transform: Mapping[str, Any]) -> bool:
    disabled = transform.get("_disabled_", False)
    return _place_of_image(transform) is not None and str(disabled).strip().lower() != "true"


def _place_of_image(transform: Mapping[str, Any]) -> int | None:
    keys = _keys(transform)
    return next((place for place, key in enumerate(keys) if str(key) not in _LABELS), None)


def _keys(transform: Mapping[str, Any]) -> list[Any]:
    keys = transform.get("keys", "image")
    return keys if isinstance(keys, list) else [keys]


def _array_name(target: str) -> str:
    name = target.rsplit(".", 1)[-1]
    for suffix in _SUFFIXES:
        if name.endswith(suffix) and hasattr(transforms, name.removesuffix(suffix)):
            return name.removesuffix(suffix)
    return name


def _add(facts: ImageFacts, name: str, transform: Mapping[str, Any]) -> None:
    given = _for_image(transform)
    _add_crop(facts, name, given)
    if name.startswith("Rand"):
        return
    if not hasattr(transforms, name) and "akd_monai." not in str(transform.get("_target_")):
        facts.unread.append(str(transform.get("_target_")))
    elif name in _intensity_names():
        step = (name, _arguments(name, given))
        # scaled twice in one way is scaled once
        facts.intensity += [] if facts.intensity[-1:] == [step] else [step]
    elif name == "Spacing":
        facts.spacing = given.get("pixdim", UNKNOWN)
    elif name == "Orientation":
        facts.orientation = given.get("axcodes", "RAS" if given.get("as_closest_canonical") is True else UNKNOWN)
    elif name == "LoadImage" and given.get("as_closest_canonical") is True:
        facts.orientation = "RAS"
    elif name == "Resize":
        facts.size = given.get("spatial_size", UNKNOWN)
    elif name in _TURNS:
        facts.turns.append((name, _arguments(name, given)))


def _add_crop(facts: ImageFacts, name: str, given: Mapping[str, Any]) -> None:
    if "Crop" in name or name == "SpatialPad":
        for argument in ("spatial_size", "roi_size"):
            if argument in given:
                facts.crop = given[argument]


def _for_image(transform: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a transform for the image alone, where they are one for each key."""
    keys = _keys(transform)
    place = _place_of_image(transform) or 0
    given = {}
    for name, value in transform.items():
        if name in _SILENT:
            continue
        one_each = isinstance(value, list) and len(value) == len(keys) > 1 and name not in ("pixdim", "spatial_size")
        given[name] = value[place] if one_each else value
    return given


@lru_cache(maxsize=1)
def _intensity_names() -> frozenset[str]:
    return frozenset(name for name in intensity_transforms.__all__ if not name.startswith("Rand"))


def _arguments(name: str, given: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    """Return the arguments of a transform of MONAI with its defaults, in one form whichever way they were written."""
    parameters = inspect.signature(getattr(transforms, name).__init__).parameters
    values = {key: p.default for key, p in parameters.items() if p.default is not inspect.Parameter.empty}
    values |= given
    kept = {key: _plain(value) for key, value in values.items() if key not in _SILENT}
    return tuple(sorted(kept.items()))


def _plain(value: Any) -> Any:
    """Return a value that compares equal however a config writes it: numbers as floats, lists as tuples."""
    if value == "True":
        return True
    if isinstance(value, bool) or value is UNKNOWN:
        return value
    if isinstance(value, (int, float)):
        return float(value)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return tuple(_plain(part) for part in value)
    return value
