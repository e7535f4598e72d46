# SPDX-License-Identifier: Apache-2.0
"""The part from which the bundle of a new network is assembled: what differs from the project's own bundles."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from akd_monai.bundle.assemble import PARTS

_PAPER = "arXiv:2404.02738"
_SIZED = "network_data_format#{}#{}"


@dataclass
class NewBundle:
    """What a new bundle is about; ``classes`` are those beside the background, ``facts`` what was seen of the network."""

    name: str
    network_def: Mapping[str, Any]
    in_channels: int
    classes: Sequence[str]
    spatial_size: Sequence[int]
    layers: Mapping[str, str]
    teacher: bool
    task: str
    authors: str
    reference: str | None
    facts: Mapping[str, str] = field(default_factory=dict)

    @property
    def out_channels(self) -> int:
        """Channels of the logits, background included."""
        return len(self.classes) + 1


def new_part(about: NewBundle) -> dict[str, Any]:
    """Return the part, as ``akd_monai.bundle.assemble`` wants it."""
    network = {"network_def": dict(about.network_def), "spatial_size": list(about.spatial_size)}
    many, wide = about.out_channels > 2, about.in_channels > 1
    train = _read("train.json")
    student: dict[str, Any] = {} if about.teacher else {"folds": 4}
    inference = _read("inference.json")["preprocessing"]["transforms"]
    validation = train["validate"]["preprocessing"]["transforms"]
    evaluate = _read("evaluate.json")
    part: dict[str, Any] = {
        "bundle": about.name,
        "metadata.json": _metadata(about),
        "train.json": {
            **student,
            **network,
            "train#random_transforms": _varied(train["train"]["random_transforms"], about.spatial_size),
            "train#deterministic_transforms": _prepared(train["train"]["deterministic_transforms"], many, wide),
            "validate#preprocessing#transforms": _prepared(validation, many, wide),
            "validate#postprocessing#transforms": _judged(train["validate"]["postprocessing"]["transforms"], about),
        },
        "inference.json": {**network, "preprocessing#transforms": _prepared(inference, many, wide)},
        "evaluate.json": {
            "validate#postprocessing#transforms": _judged(evaluate["validate#postprocessing#transforms"], about),
            "validate#handlers": [
                {**h, "class_names": list(about.classes)} if "class_names" in h else h
                for h in evaluate["validate#handlers"]
            ],
        },
        "multi_gpu_train.json": {},
        "preprocessing.json": {},
        "tracking.json": {},
        "README.md": _readme(about),
    }
    if about.teacher:
        return part
    overlay = {"student_layer": about.layers["high"]}
    if wide:
        overlay["train#trainer#input_shape"] = f"$[{about.in_channels}] + list(@spatial_size)"
    return {**part, "distill.json": overlay}


def _read(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((PARTS / "common" / name).read_text(encoding="utf-8"))
    return content


def _prepared(transforms: Sequence[Mapping[str, Any]], many: bool, wide: bool) -> list[dict[str, Any]]:
    """With several classes labels stay numbers; several channels are scaled each by itself."""
    kept = [dict(t) for t in transforms if not (many and t["_target_"] == "AsDiscreted")]
    for t in kept:
        if wide and t["_target_"] in ("ScaleIntensityRangePercentilesd", "NormalizeIntensityd"):
            t["channel_wise"] = True
    return kept


def _varied(transforms: Sequence[Mapping[str, Any]], size: Sequence[int]) -> list[dict[str, Any]]:
    """A quarter turn would change the shape of slices that are not square, so those are flipped along both axes."""
    kept = [dict(t) for t in transforms]
    if size[0] == size[1]:
        return kept
    flip = {"_target_": "RandFlipd", "keys": ["image", "label"], "spatial_axis": 1, "prob": 0.5}
    return [flip if t["_target_"] == "RandRotate90d" else t for t in kept]


def _judged(transforms: Sequence[Mapping[str, Any]], about: NewBundle) -> list[dict[str, Any]]:
    return [{**t, "to_onehot": about.out_channels} if "to_onehot" in t else dict(t) for t in transforms]


def _metadata(about: NewBundle) -> dict[str, Any]:
    names = ["background", *about.classes]
    numbers = ", ".join(f"{i} is {name}" for i, name in enumerate(names))
    labels = numbers if about.out_channels > 2 else f"0 is background, any other value is {about.classes[0]}"
    image, pred = "inputs#image", "outputs#pred"
    channels = {str(i): "image" if about.in_channels == 1 else f"image {i}" for i in range(about.in_channels)}
    return {
        "name": f"{about.name} ({'teacher' if about.teacher else 'student'})",
        "task": about.task,
        "description": f"{about.network_def['_target_']} that segments slice by slice",
        "authors": about.authors,
        "copyright": f"Copyright (c) {about.authors}",
        "data_source": "not stated; no weights are shipped",
        "image_classes": f"{_count(about.in_channels, 'channel')}, clipped at the 0.5 and 99.5 percentiles and "
        "standardised per volume",
        "label_classes": f"one channel, {labels}",
        "pred_classes": f"{_count(about.out_channels, 'channel')} by softmax: {', '.join(names)}",
        "references": [_PAPER, *([about.reference] if about.reference else [])],
        "distillation_layers": dict(about.layers),
        _SIZED.format(image, "num_channels"): about.in_channels,
        _SIZED.format(image, "spatial_shape"): list(about.spatial_size),
        _SIZED.format(image, "channel_def"): channels,
        _SIZED.format(pred, "num_channels"): about.out_channels,
        _SIZED.format(pred, "spatial_shape"): list(about.spatial_size),
        _SIZED.format(pred, "channel_def"): {str(i): name for i, name in enumerate(names)},
    }


def _readme(about: NewBundle) -> dict[str, str]:
    command = (
        "```bash\npython -m monai.bundle run --config_file \"['configs/train.json','configs/distill.json']\" "
        "--teacher_bundle TEACHER --dataset_dir DATA\n```"
    )
    how = "Distil from a teacher, whose bundle is not modified; the result in `models/model.pt` is the plain network"
    if about.teacher:
        how = "To use it as a teacher, run from the student's folder"
    return {
        "title": about.name,
        "network": f"`{about.network_def['_target_']}` ({about.facts['parameters']} parameters)",
        "role": f"It is a {'teacher' if about.teacher else 'student'}; layers: {about.facts['layers']}.",
        "distil": f"{how}:\n\n{command}",
        "source": about.reference or f"`{about.network_def['_target_']}`.",
    }


def readme_of(text: str, about: NewBundle) -> str:
    """Return the common read-me with the task, the channels and the size of the new bundle."""
    names = ", ".join(["background", *about.classes])
    target = f"{about.classes[0]} (background 0, any other label is {about.classes[0]})"
    if about.out_channels > 2:
        target = ", ".join(f"{name} ({i})" for i, name in enumerate(["background", *about.classes]))
    if about.out_channels > 2 or list(about.classes) != ["prostate"]:
        text = re.sub(r"The public six-site set is made of [^\n]*\n\n", "", text)
    for old, new in {
        "Segmentation of the whole prostate gland on axial T2-weighted MRI.": f"{about.task}.",
        "Target: prostate gland (background 0, any other label is gland)": f"Target: {target}",
        "- Modality: T2-weighted MRI\n": "",
        "384 x 384": " x ".join(map(str, about.spatial_size)),
        "[1, 1, 384, 384]": str([1, about.in_channels, *about.spatial_size]),
        "One channel: an axial T2-weighted volume.": f"{_count(about.in_channels, 'channel').capitalize()}.",
        "Two channels: background, prostate.": f"{_count(about.out_channels, 'channel').capitalize()}: {names}.",
    }.items():
        text = text.replace(old, new)
    return text


def _count(number: int, what: str) -> str:
    words = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
    return f"{words[number] if number < len(words) else number} {what}{'' if number == 1 else 's'}"
