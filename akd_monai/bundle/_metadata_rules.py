# SPDX-License-Identifier: Apache-2.0
"""What the Model Zoo and this package expect of ``metadata.json``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from akd_monai.bundle._problems import Problem

__all__ = ["metadata_problems"]

_REQUIRED = (
    "schema", "version", "changelog", "monai_version", "pytorch_version", "numpy_version", "required_packages_version",
    "task", "description", "authors", "copyright", "network_data_format",
)  # fmt: skip
# older bundles give the versions of all packages under this name
_OLD_PACKAGES = "optional_packages_version"
_MAPPINGS = ("changelog", "required_packages_version", _OLD_PACKAGES, "network_data_format", "distillation_layers")
_STRINGS = (
    "schema", "version", "monai_version", "pytorch_version", "numpy_version", "task", "description", "authors",
    "copyright", "weights_sha256",
)  # fmt: skip
_TENSOR = ("type", "format", "num_channels", "spatial_shape", "dtype", "value_range")


def metadata_problems(metadata: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield what is missing in a bundle's metadata, or of another type than it should be.

    Example:
        >>> metadata = {name: "" for name in ("schema", "version", "changelog", "monai_version", "task")}
        >>> [problem for problem in metadata_problems(metadata) if "changelog" in problem]
        ["metadata.json: 'changelog' must be an object, got str"]
    """
    for name in _REQUIRED:
        if name not in metadata:
            yield _missing(name, metadata)
    yield from _wrong_types(metadata)
    changelog = metadata.get("changelog")
    if isinstance(changelog, Mapping) and str(metadata.get("version")) not in changelog:
        yield Problem(f"metadata.json: version {metadata.get('version')!r} is not in changelog", "warning")
    formats = metadata.get("network_data_format")
    if isinstance(formats, Mapping):
        yield from _format_problems(formats)


def _missing(name: str, metadata: Mapping[str, Any]) -> Problem:
    if name == "required_packages_version" and _OLD_PACKAGES in metadata:
        return Problem(f"metadata.json has no {name!r}, only the older {_OLD_PACKAGES!r}", "note")
    return Problem(f"metadata.json has no {name!r}", "warning")


def _wrong_types(metadata: Mapping[str, Any]) -> Iterator[Problem]:
    for names, kind, word in ((_MAPPINGS, Mapping, "an object"), (_STRINGS, str, "a string")):
        for name in names:
            value = metadata.get(name, None)
            if name in metadata and not isinstance(value, kind):
                yield Problem(f"metadata.json: {name!r} must be {word}, got {type(value).__name__}", "warning")


def _format_problems(formats: Mapping[str, Any]) -> Iterator[Problem]:
    for side in ("inputs", "outputs"):
        place = f"network_data_format#{side}"
        tensors = formats.get(side)
        if not isinstance(tensors, Mapping) or not tensors:
            yield Problem(f"metadata.json: {place!r} must be an object that describes at least one tensor", "warning")
            continue
        for name, tensor in tensors.items():
            # the zoo allows a plain value in place of a tensor
            if isinstance(tensor, Mapping):
                yield from _tensor_problems(f"{place}#{name}", tensor)


def _tensor_problems(place: str, tensor: Mapping[str, Any]) -> Iterator[Problem]:
    for name in _TENSOR:
        if name not in tensor:
            yield Problem(f"metadata.json: {place!r} has no {name!r}", "warning")
    channels = tensor.get("num_channels", 1)
    if isinstance(channels, bool) or not isinstance(channels, int) or channels < 1:
        yield Problem(
            f"metadata.json: '{place}#num_channels' must be an integer of 1 or more, got {channels!r}", "warning"
        )
    shape = tensor.get("spatial_shape", [])
    if not isinstance(shape, list):
        yield Problem(f"metadata.json: '{place}#spatial_shape' must be a list, got {type(shape).__name__}", "warning")
