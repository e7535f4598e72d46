# SPDX-License-Identifier: Apache-2.0
"""Everything that a network needs beside itself to make a mask of a volume; the metadata of an exported model hold it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from akd_monai.deploy._decision import POSTPROCESSING, AsDiscrete, Invert, PostStep
from akd_monai.deploy._intensity import INTENSITY, IntensityStep
from akd_monai.deploy._spatial import SPATIAL, SpatialStep
from akd_monai.deploy._steps import NOT_EXPORTABLE, read_step, written_step
from akd_monai.deploy._windows import INFERERS, SlidingWindowInferer
from akd_monai.errors import InputError, one_line

__all__ = ["FORMAT", "PREFIX", "PREPARATION", "Recipe", "recipe_of_metadata"]

PREFIX = "akd_monai."
FORMAT = 1
PREPARATION: dict[str, type[Any]] = {**SPATIAL, **INTENSITY}

_STEPS = ("preprocessing", "inferer", "postprocessing")
_AGAIN = "export it again with this version: python -m akd_monai export BUNDLE"


@dataclass(frozen=True)
class Recipe:
    """How an image becomes an input of the network, and its output a mask.

    Args:
        channels: channels of the image.
        class_names: of the network's outputs, the background first where there is one.
        preprocessing: steps on the image, in order.
        inferer: windows over the volume.
        postprocessing: steps on the logits, in order.
        facts: what else the file says: bundle, version, SHA-256 of the weights, opset.
    """

    channels: int
    class_names: tuple[str, ...]
    preprocessing: tuple[SpatialStep | IntensityStep, ...]
    inferer: SlidingWindowInferer
    postprocessing: tuple[PostStep, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_order(self.postprocessing, len(self.class_names))

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Return ``(channels, *spatial)`` of one input of the network."""
        return (self.channels, *self.inferer.input_shape)

    @property
    def decision(self) -> AsDiscrete:
        """Return the step that decides on the class of each voxel."""
        return next(step for step in self.postprocessing if isinstance(step, AsDiscrete))

    @property
    def labels(self) -> dict[int, str]:
        """Return the names of the classes that are marked in a mask, by their numbers."""
        if self.decision.argmax:
            return dict(enumerate(self.class_names[1:], start=1))
        return {1: self.class_names[-1]}

    def as_metadata(self) -> dict[str, str]:
        """Return entries for the metadata of an ONNX file, each of them JSON."""
        content = {
            "format": FORMAT,
            "channels": self.channels,
            "class_names": list(self.class_names),
            "preprocessing": [written_step(step) for step in self.preprocessing],
            "inferer": written_step(self.inferer),
            "postprocessing": [written_step(step) for step in self.postprocessing],
            **self.facts,
        }
        return {f"{PREFIX}{name}": json.dumps(value) for name, value in content.items()}


def _check_order(steps: Sequence[PostStep], classes: int) -> None:
    kinds = [type(step) for step in steps]
    if kinds.count(Invert) != 1 or kinds.count(AsDiscrete) != 1:
        what = (
            "has a postprocessing without exactly one Invert and one AsDiscrete, so its mask is not on the image's grid"
        )
        raise InputError(what, remedy="add Invertd and AsDiscreted", code=NOT_EXPORTABLE)
    inverted = kinds.index(Invert)
    decision = steps[kinds.index(AsDiscrete)]
    nearest = getattr(steps[inverted], "nearest_interp", True)
    if kinds.index(AsDiscrete) < inverted and not nearest:
        what = "interpolates class numbers: Invert follows AsDiscrete with nearest_interp = False"
        raise InputError(what, remedy="set nearest_interp, or put AsDiscreted last", code=NOT_EXPORTABLE)
    if isinstance(decision, AsDiscrete) and not decision.argmax and classes != 1:
        what = f"has {classes} channels that may overlap, by a threshold; one mask holds one class a voxel"
        raise InputError(what, remedy="run this bundle by python -m monai.bundle run", code=NOT_EXPORTABLE)


def recipe_of_metadata(entries: Mapping[str, str], where: str) -> Recipe:
    """Return the recipe that the metadata of an ONNX file hold.

    Args:
        entries: the metadata, by name.
        where: the file, for messages.

    Raises:
        InputError: if there is none, it is damaged, or of a later version.
    """
    if f"{PREFIX}format" not in entries:
        what = "says nothing about how its input is prepared"
        raise InputError(what, where=where, remedy="make it by python -m akd_monai export BUNDLE", code="no-recipe")
    try:
        content = {
            key.removeprefix(PREFIX): json.loads(value) for key, value in entries.items() if key.startswith(PREFIX)
        }
        if content.pop("format") != FORMAT:
            raise InputError("is of another version of the format", where=where, remedy=_AGAIN, code="no-recipe")
        given = {name: content.pop(name) for name in _STEPS}
        for name, value in {**given, "class_names": content["class_names"]}.items():
            if name != "inferer" and not isinstance(value, list):
                raise TypeError(f"{name} is no list")
        return Recipe(
            channels=int(content.pop("channels")),
            class_names=tuple(map(str, content.pop("class_names"))),
            preprocessing=tuple(_step(PREPARATION, step, where) for step in given["preprocessing"]),
            inferer=_step(INFERERS, given["inferer"], where),
            postprocessing=tuple(_step(POSTPROCESSING, step, where) for step in given["postprocessing"]),
            facts=content,
        )
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, InputError):
            # what is found when all is put together does not know the file
            known = error.where or where
            raise InputError(error.what, where=known, remedy=error.remedy, code=error.code) from error
        what = f"has damaged metadata ({type(error).__name__}: {one_line(error)})"
        raise InputError(what, where=where, remedy=_AGAIN, code="no-recipe") from error


def _step(kinds: Mapping[str, type[Any]], content: Mapping[str, Any], where: str) -> Any:
    arguments = dict(content)
    return read_step(kinds, str(arguments.pop("name")), arguments, where)
