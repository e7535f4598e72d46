# SPDX-License-Identifier: Apache-2.0
"""What a new student must know of its teacher's bundle; nothing of it is run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from akd_monai.bundle._class_names import class_count
from akd_monai.bundle._static import StaticConfig, components, read_static, try_static
from akd_monai.bundle.metadata import input_shape, output_format, read_metadata
from akd_monai.errors import InputError

__all__ = ["TeacherFacts", "read_teacher"]

_CROPS = ("RandCrop", "RandSpatialCrop", "SlidingWindow")
_CHANNELS = {"in_channels": ("in_channels",), "out_channels": ("out_channels", "num_classes", "out_classes")}


@dataclass(frozen=True)
class TeacherFacts:
    """What a new student must know of its teacher's bundle.

    Args:
        root: the bundle's folder.
        metadata: content of its ``metadata.json``.
        spatial_dims: 2 for slices, 3 for volumes.
        in_channels: of the network.
        out_channels: of the network.
        sizes: sides of the images that its network is given: that of the metadata, crops, sliding windows.
    """

    root: Path
    metadata: Mapping[str, Any]
    spatial_dims: int
    in_channels: int
    out_channels: int
    sizes: Sequence[tuple[int, ...]]


def read_teacher(bundle_dir: str | Path) -> TeacherFacts:
    """Read a bundle for which a student is to be written.

    Raises:
        InputError: for what is no bundle, has no training, or whose network does another thing than to turn one image into
            one map of classes.
    """
    metadata = read_metadata(bundle_dir)
    train = read_static(bundle_dir, "train")
    if train is None:
        raise InputError(
            f"bundle {str(bundle_dir)!r} has no configs/train.json or train.yaml, so it is not known how its data are read, "
            "cropped and labelled",
            remedy="take a bundle with a training config, or write a student without --like",
            code="no-training",
        )
    _check_outputs(bundle_dir, metadata)
    if not isinstance(train.parser.get("network_def"), Mapping):
        raise InputError(
            f"{train.name} of bundle {str(bundle_dir)!r} has no network_def with a _target_, so there is nothing that a "
            "light network could take the place of",
            code="no-network",
        )
    shape = input_shape(metadata)
    dims = _integer(train, "network_def#spatial_dims") or len(shape) - 1
    return TeacherFacts(
        root=Path(bundle_dir),
        metadata=metadata,
        spatial_dims=dims,
        in_channels=_channels(train, "in_channels", shape[0], bundle_dir),
        out_channels=_channels(train, "out_channels", class_count(bundle_dir), bundle_dir),
        sizes=_sizes(bundle_dir, train, shape[1:], dims),
    )


def _check_outputs(bundle_dir: str | Path, metadata: Mapping[str, Any]) -> None:
    outputs = metadata.get("network_data_format", {}).get("outputs", {})
    if len(outputs) > 1:
        raise InputError(
            f"the network of bundle {str(bundle_dir)!r} has {len(outputs)} outputs ({', '.join(outputs)}), and its training "
            "needs all of them; a light network has one",
            remedy="write a student of your own with that many outputs",
            code="outputs",
        )
    count = class_count(bundle_dir)
    names = output_format(metadata).get("channel_def")
    # one channel may be described as background and foreground
    if isinstance(names, Mapping) and len(names) > max(count, 2):
        raise InputError(
            f"the network of bundle {str(bundle_dir)!r} gives {count} channel for {len(names)} classes, so it is told by a "
            "prompt which class is wanted; a light network takes the image alone",
            remedy="take a teacher with a channel for each class",
            code="prompts",
        )


def _channels(train: StaticConfig, name: str, told: int, bundle_dir: str | Path) -> int:
    for argument in _CHANNELS[name]:
        found = _integer(train, f"network_def#{argument}")
        if found is not None and found != told:
            raise InputError(
                f"bundle {str(bundle_dir)!r} has {argument} {found} in {train.name} and {told} channels in metadata.json",
                remedy="correct one of them",
                code="channels",
            )
    return told


def _integer(config: StaticConfig, place: str) -> int | None:
    found = config.get(place)
    return found if isinstance(found, int) and not isinstance(found, bool) else None


def _sizes(bundle_dir: str | Path, train: StaticConfig, told: Sequence[int], dims: int) -> tuple[tuple[int, ...], ...]:
    inference = try_static(bundle_dir, "inference")
    found = [tuple(told)]
    for config in (train, inference):
        if config is not None:
            found += _crops(config)
    usable = [size for size in found if len(size) == dims and all(side > 0 for side in size)]
    return tuple(dict.fromkeys(usable))


def _crops(config: StaticConfig) -> Iterator[tuple[int, ...]]:
    for _, component in components(config):
        target = component["_target_"].rsplit(".", 1)[-1]
        if not target.startswith(_CROPS):
            continue
        for argument in ("roi_size", "spatial_size"):
            value = config.follow(component.get(argument))
            if isinstance(value, list) and all(type(side) is int for side in value):
                yield tuple(value)
