# SPDX-License-Identifier: Apache-2.0
"""A volume becomes a mask: preparation, network, the way back to the image's own grid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from akd_monai.data.volume_file import VolumeFile
from akd_monai.deploy._decision import Activations, AsDiscrete, Invert
from akd_monai.deploy._engines import Network
from akd_monai.deploy._recipe import Recipe
from akd_monai.deploy._spatial import SpatialStep
from akd_monai.deploy._steps import Grid, Volume
from akd_monai.errors import InputError, NonFiniteError

__all__ = ["Prediction", "predict", "prepared"]

_Values = NDArray[Any]
_Trace = list[tuple[SpatialStep, Grid, Grid]]


@dataclass(frozen=True)
class Prediction:
    """What a volume became.

    Args:
        mask: class numbers ``[X, Y, Z]`` on the grid of the file.
        margin: how far each voxel was from another class, where it was asked for.
    """

    mask: NDArray[np.uint8]
    margin: _Values | None = None


def predict(file: VolumeFile, recipe: Recipe, network: Network, *, with_margin: bool = False) -> Prediction:
    """Return the mask of a volume.

    Raises:
        InputError: if the network returns another number of channels than the recipe has names for.
        NonFiniteError: if it returns NaN or infinite values.
    """
    volume, trace = prepared(file, recipe)
    values = recipe.inferer.run(volume.array, network.run)
    _check_output(values, recipe)
    margin: _Values | None = None
    for step in recipe.postprocessing:
        if isinstance(step, Activations):
            values = step.apply(values)
        elif isinstance(step, Invert):
            values = _undone(values, trace, step.nearest_interp)
            margin = None if margin is None else _undone(margin, trace, step.nearest_interp)
        elif isinstance(step, AsDiscrete):
            margin = step.margin(values)[None] if with_margin else None
            values = step.apply(values)
    mask = np.ascontiguousarray(values[0], np.uint8)
    return Prediction(mask, None if margin is None else margin[0])


def prepared(file: VolumeFile, recipe: Recipe) -> tuple[Volume, _Trace]:
    """Return the image as the network sees it, and which moves of its voxels have to be undone."""
    array = file.array.astype(np.float32)
    array = array[None] if array.ndim == 3 else np.moveaxis(array, -1, 0)
    volume = Volume(array, np.asarray(file.affine, dtype=float))
    if len(array) != recipe.channels:
        what = f"has {len(array)} channels, the network wants {recipe.channels}"
        raise InputError(
            what, remedy="give all its sequences along the fourth axis of one NIfTI file", code="dimensions"
        )
    trace: _Trace = []
    for step in recipe.preprocessing:
        if isinstance(step, SpatialStep):
            moved = step.apply(volume)
            trace.append((step, volume.grid, moved.grid))
            volume = moved
        else:
            volume = Volume(step.apply(volume.array), volume.affine)
    return volume, trace


def _undone(values: _Values, trace: _Trace, nearest: bool) -> _Values:
    for step, before, after in reversed(trace):
        values = step.undo(values, before, after, nearest)
    return values


def _check_output(values: _Values, recipe: Recipe) -> None:
    if len(values) != len(recipe.class_names):
        what = f"the network returned {len(values)} channels, its metadata name {len(recipe.class_names)} classes"
        raise InputError(what, remedy="correct channel_def of the bundle's metadata.json and export it again")
    if not np.isfinite(values).all():
        bad = int(values.size - np.isfinite(values).sum())
        raise NonFiniteError(
            f"{bad} of {values.size} values that the network returned are NaN or infinite, so no mask is made of them; "
            "check the weights."
        )
