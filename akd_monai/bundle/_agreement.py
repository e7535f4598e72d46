# SPDX-License-Identifier: Apache-2.0
"""In what the training, validation and inference of a bundle differ although they should not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from akd_monai.bundle._problems import Problem
from akd_monai.bundle._static import UNKNOWN, StaticConfig, try_static
from akd_monai.bundle._transforms import image_transforms

__all__ = ["disagreements"]

_SHARED = ("network_def", "spatial_size", "device")
_PREPARED = ("train#deterministic_transforms", "validate#preprocessing")


def disagreements(bundle_dir: str | Path) -> Iterator[Problem]:
    """Yield in what training, validation and inference differ; what can only be known by running it is not compared.

    Args:
        bundle_dir: a bundle's folder. Nothing is compared where one of the two configs is missing or broken.
    """
    train = try_static(bundle_dir, "train")
    inference = try_static(bundle_dir, "inference")
    if train is None or inference is None:
        return
    between = f"{train.name} and {inference.name}"
    for name in _SHARED:
        if _value(train, name) != _value(inference, name):
            # a bundle may be served on another device than it is trained on
            yield Problem(f"{name} differs between {between}", "note" if name == "device" else "warning")
    if "preprocessing" not in inference.parser:
        yield Problem(f"{inference.name} has no 'preprocessing'", "warning")
        return
    yield from _prepared_differently(train, inference)


def _value(config: StaticConfig, name: str) -> Any:
    """Return a value with its references followed where nothing of it must be run, else as it is written."""
    found = config.get(name)
    return config.parser.get(name) if _is_partly_unknown(found) else found


def _prepared_differently(train: StaticConfig, inference: StaticConfig) -> Iterator[Problem]:
    wanted = _deterministic(inference.get("preprocessing"))
    if wanted is None:
        return
    for place in _PREPARED:
        found = _deterministic(train.get(place))
        if found is not None and found != wanted:
            told = f"{place} of {train.name} prepares the image in another way than {inference.name}"
            yield Problem(told, "warning")


def _deterministic(content: Any) -> list[dict[str, Any]] | None:
    """Return the transforms of the image that are not random, or None where it can only be known by running them.

    Two arguments that cannot be known count as equal.
    """
    steps = content.get("transforms") if isinstance(content, Mapping) else content
    if not isinstance(steps, list) or any(step is UNKNOWN for step in steps):
        return None
    return [step for step in image_transforms(steps) if not _is_random(step)]


def _is_random(step: Mapping[str, Any]) -> bool:
    return str(step.get("_target_")).rsplit(".", 1)[-1].startswith("Rand")


def _is_partly_unknown(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(_is_partly_unknown(part) for part in value.values())
    if isinstance(value, list):
        return any(_is_partly_unknown(part) for part in value)
    return value is UNKNOWN
