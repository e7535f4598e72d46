# SPDX-License-Identifier: Apache-2.0
"""The part from which the bundle of a new network is assembled: what differs from the project's own bundles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from akd_monai.bundle._new_bundle import NewBundle
from akd_monai.bundle._new_readme import counted, new_readme
from akd_monai.bundle._parts import read_common

__all__ = ["new_part"]

_PAPER = "arXiv:2404.02738"
_SCALING = ("ScaleIntensityRangePercentilesd", "NormalizeIntensityd")
_CHECK = "akd_monai.data.CheckVolumesd"


def new_part(about: NewBundle) -> dict[str, Any]:
    """Return the part, in the form of ``parts/networks/<name>.json``."""
    part = {
        "bundle": about.name,
        "metadata.json": _metadata(about),
        "train.json": _train(about),
        "inference.json": _inference(about),
        "evaluate.json": _evaluate(about),
        "multi_gpu_train.json": {},
        "preprocessing.json": {},
        "tracking.json": {},
        "README.md": new_readme(about),
    }
    if not about.teacher:
        part["distill.json"] = _distill(about)
    return part


def _train(about: NewBundle) -> dict[str, Any]:
    common = read_common("train.json")
    training = common["train"]
    validation = common["validate"]
    changes = {
        **_network(about),
        "train#random_transforms": _augmentation(training["random_transforms"], about),
        "train#deterministic_transforms": _preprocessing(training["deterministic_transforms"], about),
        "validate#preprocessing#transforms": _preprocessing(validation["preprocessing"]["transforms"], about),
        "validate#postprocessing#transforms": _postprocessing(validation["postprocessing"]["transforms"], about),
    }
    return changes if about.teacher else {"folds": 4, **changes}


def _inference(about: NewBundle) -> dict[str, Any]:
    transforms = read_common("inference.json")["preprocessing"]["transforms"]
    return {**_network(about), "preprocessing#transforms": _preprocessing(transforms, about)}


def _evaluate(about: NewBundle) -> dict[str, Any]:
    common = read_common("evaluate.json")
    name = "validate#postprocessing#transforms"
    handlers = [dict(handler) for handler in common["validate#handlers"]]
    for handler in handlers:
        if "class_names" in handler:
            handler["class_names"] = list(about.classes)
    return {name: _postprocessing(common[name], about), "validate#handlers": handlers}


def _distill(about: NewBundle) -> dict[str, Any]:
    overlay = {"student_layer": about.layers["high"]}
    if about.in_channels > 1:
        overlay["train#trainer#input_shape"] = f"$[{about.in_channels}] + list(@spatial_size)"
    return overlay


def _network(about: NewBundle) -> dict[str, Any]:
    return {"network_def": dict(about.network_def), "spatial_size": list(about.spatial_size)}


def _preprocessing(transforms: Sequence[Mapping[str, Any]], about: NewBundle) -> list[dict[str, Any]]:
    """With several classes labels keep their numbers; several channels are read, and scaled each by itself."""
    kept = []
    for transform in transforms:
        if about.out_channels > 2 and transform["_target_"] == "AsDiscreted":
            continue
        kept.append({**transform, **_of_channels(transform, about), **_of_classes(transform, about)})
    return kept


def _of_channels(transform: Mapping[str, Any], about: NewBundle) -> dict[str, Any]:
    if about.in_channels == 1:
        return {}
    target = transform["_target_"]
    if target in _SCALING:
        return {"channel_wise": True}
    if "reader" in transform:
        return {"reader": {"_target_": transform["reader"], "channels": about.in_channels}}
    return {"channels": about.in_channels} if target == _CHECK else {}


def _of_classes(transform: Mapping[str, Any], about: NewBundle) -> dict[str, Any]:
    if about.out_channels == 2 or "label_values" not in transform:
        return {}
    return {"label_values": list(range(about.out_channels))}


def _augmentation(transforms: Sequence[Mapping[str, Any]], about: NewBundle) -> list[dict[str, Any]]:
    """A quarter turn would change the shape of slices that are not square, so those are flipped along both axes."""
    height, width = about.spatial_size
    flip = {"_target_": "RandFlipd", "keys": ["image", "label"], "spatial_axis": 1, "prob": 0.5}
    kept = []
    for transform in transforms:
        turns = height != width and transform["_target_"] == "RandRotate90d"
        kept.append(flip if turns else dict(transform))
    return kept


def _postprocessing(transforms: Sequence[Mapping[str, Any]], about: NewBundle) -> list[dict[str, Any]]:
    kept = [dict(transform) for transform in transforms]
    for transform in kept:
        if "to_onehot" in transform:
            transform["to_onehot"] = about.out_channels
    return kept


def _metadata(about: NewBundle) -> dict[str, Any]:
    role = "teacher" if about.teacher else "student"
    return {
        "name": f"{about.name} ({role})",
        "task": about.task,
        "description": f"{about.network_def['_target_']} that segments slice by slice",
        "authors": about.authors,
        "copyright": f"Copyright (c) {about.authors}",
        "data_source": "not stated; no weights are shipped",
        "image_classes": f"{counted(about.in_channels, 'channel')}, clipped at the 0.5 and 99.5 percentiles and "
        "standardised per volume",
        "label_classes": f"one channel, {_labels(about)}",
        "pred_classes": f"{counted(about.out_channels, 'channel')} by softmax: {', '.join(about.class_names)}",
        "references": [_PAPER, about.reference] if about.reference else [_PAPER],
        "distillation_layers": dict(about.layers),
        **_sized("inputs#image", about.in_channels, _channel_names(about), about),
        **_sized("outputs#pred", about.out_channels, about.class_names, about),
    }


def _sized(side: str, channels: int, names: Sequence[str], about: NewBundle) -> dict[str, Any]:
    place = f"network_data_format#{side}"
    return {
        f"{place}#num_channels": channels,
        f"{place}#spatial_shape": list(about.spatial_size),
        f"{place}#channel_def": {str(i): name for i, name in enumerate(names)},
    }


def _channel_names(about: NewBundle) -> list[str]:
    if about.in_channels == 1:
        return ["image"]
    return [f"image {i}" for i in range(about.in_channels)]


def _labels(about: NewBundle) -> str:
    if about.out_channels == 2:
        return f"0 is background, any other value is {about.classes[0]}"
    return ", ".join(f"{i} is {name}" for i, name in enumerate(about.class_names))
