# SPDX-License-Identifier: Apache-2.0
"""Slices of DICOM become a volume: ordered by their positions, and refused where they cannot be.

File names and InstanceNumber are no slice order: both run either way, and names may sort as 1, 10, 2. The only order is
the position along the slice normal. Whatever library reads the files, their slices are checked here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from akd_monai.data._streams import FileError
from akd_monai.data.geometry import Array, affine_from_lps

__all__ = [
    "PlacedSlice",
    "Stack",
    "check_frames",
    "check_grey",
    "is_located",
    "normal_of",
    "stack_of",
    "stacked_pixels",
]

_EXPORT_AGAIN = "export the series again"
_POSITION_TOLERANCE_MM = 0.1
_RELATIVE_TOLERANCE = 0.1


class PlacedSlice(Protocol):
    """A slice and where it lies; what the file does not say is NaN. Positions and directions are LPS, lengths in mm."""

    @property
    def path(self) -> Path:
        """The file."""

    @property
    def pixels(self) -> NDArray[Any]:
        """``[row, column]``."""

    @property
    def position(self) -> NDArray[Any]:
        """Centre of the first pixel."""

    @property
    def orientation(self) -> NDArray[Any]:
        """Direction of a row (3 numbers) and of a column (3)."""

    @property
    def pixel_spacing(self) -> NDArray[Any]:
        """Between rows, between columns."""

    @property
    def thickness(self) -> float:
        """SliceThickness."""


@dataclass(frozen=True)
class Stack:
    """How slices become a volume.

    Args:
        order: numbers of the slices along the normal.
        places: of the slices in this order, along the normal in mm.
        affine: RAS, of ``[column, row, slice]``.
        warnings: what is odd about the distances.
    """

    order: tuple[int, ...]
    places: tuple[float, ...]
    affine: Array
    warnings: tuple[str, ...]


def check_grey(samples: int, photometric: str, name: str) -> None:
    """Refuse colours, and grey values that are stored inverted.

    Args:
        samples: SamplesPerPixel.
        photometric: PhotometricInterpretation.
        name: of the file.
    """
    # a palette has one sample a pixel, the number of a colour
    if samples != 1 or photometric == "PALETTE COLOR":
        remedy = "give the original slices, no screenshots"
        raise FileError("holds colours, not grey values", remedy=remedy, where=name, code="voxel-type")
    if photometric == "MONOCHROME1":
        what = "holds inverted grey values (MONOCHROME1), which no MRI scanner writes"
        raise FileError(what, remedy="export it as MONOCHROME2", where=name, code="voxel-type")


def check_frames(frames: int, name: str, *, remedy: str) -> None:
    """Refuse several frames in one file."""
    if frames != 1:
        raise FileError(f"holds {frames} frames in one file", remedy=remedy, where=name, code="frames")


def normal_of(one: PlacedSlice) -> NDArray[Any]:
    """Return the unit vector of the slice normal, LPS."""
    return np.cross(one.orientation[:3], one.orientation[3:])


def is_located(one: PlacedSlice) -> bool:
    """Return whether position, direction and pixel spacing are all there and describe a plane."""
    numbers = np.concatenate([one.position, one.orientation, one.pixel_spacing])
    if not np.isfinite(numbers).all() or one.pixel_spacing.min() <= 0:
        return False
    return bool(abs(np.linalg.norm(normal_of(one)) - 1) < 1e-2)


def stacked_pixels(slices: Sequence[PlacedSlice], order: Sequence[int]) -> NDArray[Any]:
    """Return the pixels as ``[column, row, slice]``."""
    return np.ascontiguousarray(np.stack([slices[number].pixels.T for number in order], axis=-1))


def stack_of(slices: Sequence[PlacedSlice], folder: str) -> Stack:
    """Order slices along their normal.

    The third axis runs with the normal (towards the head in axial slices), whatever the file names say. The slice
    distance is that of the positions; SliceThickness and SpacingBetweenSlices are known to be wrong.

    Args:
        slices: all slices of one series.
        folder: its name, for messages.

    Raises:
        FileError: for slices of different size, spacing or direction, two slices in one place, a gap, or no position.
    """
    lost = sum(not is_located(one) for one in slices)
    if lost:
        what = f"{lost} of {len(slices)} slices have no position, direction or pixel spacing"
        raise FileError(what, remedy=_EXPORT_AGAIN, where=folder, code="no-geometry")
    _check_alike(slices, folder)
    normal = normal_of(slices[0])
    places = np.array([float(np.dot(one.position, normal)) for one in slices])
    order = tuple(map(int, np.argsort(places, kind="stable")))
    ordered = [slices[number] for number in order]
    places = places[list(order)]
    warnings = _check_steps(ordered, places, folder)
    return Stack(order, tuple(map(float, places)), _affine(ordered), tuple(warnings))


def _check_alike(slices: Sequence[PlacedSlice], folder: str) -> None:
    first = slices[0]
    for other in slices[1:]:
        difference = _difference(first, other)
        if difference:
            what = f"slices {first.path.name} and {other.path.name} differ in {difference}"
            remedy = "keep the slices of one series only (no localizer)"
            raise FileError(what, remedy=remedy, where=folder, code="mixed-slices")


def _difference(first: PlacedSlice, other: PlacedSlice) -> str:
    """Return in what two slices differ that one volume must share, empty if in nothing."""
    if other.pixels.shape != first.pixels.shape:
        return "size"
    if not np.allclose(other.pixel_spacing, first.pixel_spacing, atol=1e-3):
        return "pixel spacing"
    if not np.allclose(other.orientation, first.orientation, atol=1e-3):
        return "direction"
    return ""


def _check_steps(ordered: Sequence[PlacedSlice], places: Array, folder: str) -> list[str]:
    """Return warnings about the distances between slices, and refuse gaps, copies and uneven distances."""
    if len(ordered) == 1:
        return [_one_slice(ordered[0])]
    steps = np.diff(places)
    # The lower of two middle values, so that one gap among two steps is seen as a gap.
    usual = float(np.sort(steps)[(len(steps) - 1) // 2])
    for index, step in enumerate(steps):
        _check_step(ordered[index], ordered[index + 1], float(places[index]), float(step), usual, folder)
    deviation = float(np.abs(steps - usual).max())
    if deviation > max(_POSITION_TOLERANCE_MM, _RELATIVE_TOLERANCE * usual):
        what = f"slice distances vary from {steps.min():.2f} to {steps.max():.2f} mm"
        raise FileError(what, remedy="resample the series to even slices first", where=folder, code="uneven")
    _check_straight(ordered, folder)
    return [f"slice distances vary by {deviation:.2f} mm"] if deviation > _POSITION_TOLERANCE_MM else []


def _one_slice(one: PlacedSlice) -> str:
    if one.thickness > 0:
        return "one slice only: its distance to the next is taken from SliceThickness"
    return "one slice only, without SliceThickness: its distance to the next is taken as 1 mm, so volumes in ml are guesses"


def _check_step(one: PlacedSlice, other: PlacedSlice, place: float, step: float, usual: float, folder: str) -> None:
    """Refuse two slices in one place, and a gap between two slices."""
    here = one.path.name
    after = other.path.name
    if step < max(0.01, 0.05 * usual):
        what = f"{here} and {after} lie at one position ({place:.2f} mm)"
        raise FileError(what, remedy="remove the copy or the second series", where=folder, code="same-position")
    if step > 1.5 * usual:
        missing = round(step / usual) - 1
        where = f"{place + usual:.2f} mm along the slice normal, between {here} and {after}"
        what = f"a gap: {missing} slice(s) missing at {where} (step {step:.2f} mm, usually {usual:.2f} mm)"
        raise FileError(what, remedy="fetch the missing slice(s)", where=folder, code="gap")


def _check_straight(ordered: Sequence[PlacedSlice], folder: str) -> None:
    """Refuse stacks whose slices slip sideways by more than a tenth of the slice distance (a sheared volume)."""
    way = ordered[-1].position - ordered[0].position
    along = float(np.dot(way, normal_of(ordered[0])))
    sideways = float(np.linalg.norm(way - along * normal_of(ordered[0])))
    if sideways > 0.1 * abs(along):
        what = f"slices slip sideways by {sideways:.1f} mm over {abs(along):.1f} mm"
        raise FileError(what, remedy="resample the series to a straight stack first", where=folder, code="sheared")


def _affine(ordered: Sequence[PlacedSlice]) -> Array:
    first = ordered[0]
    between_rows, between_columns = first.pixel_spacing
    if len(ordered) > 1:
        step = (ordered[-1].position - first.position) / (len(ordered) - 1)
    else:
        step = normal_of(first) * (first.thickness if first.thickness > 0 else 1.0)
    distance = float(np.linalg.norm(step))
    direction = np.stack([first.orientation[:3], first.orientation[3:], step / distance], axis=1)
    return affine_from_lps(direction, (between_columns, between_rows, distance), first.position)
