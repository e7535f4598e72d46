# SPDX-License-Identifier: Apache-2.0
"""Order DICOM slices by their positions, and refuse what cannot be ordered.

File names and InstanceNumber are no slice order: both run either way, and names may sort as 1, 10, 2. The only order is
the position along the slice normal.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from akd_monai.data.geometry import Array, affine_from_lps
from akd_monai.prostate.prepare._sources.base import CaseError, Volume
from akd_monai.prostate.prepare._sources.dicom_slice import Slice

__all__ = ["one_series", "stack"]

_EXPORT_AGAIN = "export the series again"
_POSITION_TOLERANCE_MM = 0.1
_RELATIVE_TOLERANCE = 0.1


def one_series(slices: Sequence[Slice], folder: str) -> None:
    """Raise :class:`CaseError` when ``slices`` belong to more than one series, and list them."""
    uids = Counter(one.series_uid for one in slices)
    if len(uids) > 1:
        shown = ", ".join(f"{uid or 'no UID'} ({count} files)" for uid, count in uids.items())
        remedy = "put each series in its own folder and keep the axial T2-weighted one"
        raise CaseError(f"holds {len(uids)} series: {shown}", remedy=remedy, where=folder, code="several-series")


def stack(slices: Sequence[Slice], folder: str, *, need_positions: bool = True) -> Volume:
    """Order slices along their normal and stack them to ``[column, row, slice]`` with the RAS affine.

    The third axis runs with the normal (towards the head in axial slices), whatever the file names say. The slice
    distance is that of the positions; SliceThickness and SpacingBetweenSlices are known to be wrong.

    Args:
        slices: all slices of one series.
        folder: its name, for messages.
        need_positions: for ``False``, slices without positions are ordered by InstanceNumber (for masks only).

    Raises:
        CaseError: for slices of different size, spacing or direction, two slices in one place, a gap, or no position.
    """
    lost = sum(not one.located for one in slices)
    if lost and need_positions:
        what = f"{lost} of {len(slices)} slices have no position, direction or pixel spacing"
        raise CaseError(what, remedy=_EXPORT_AGAIN, where=folder, code="no-geometry")
    if lost:
        return _stack_by_instance(slices, folder)
    _check_alike(slices, folder)
    normal = slices[0].normal
    places = np.array([float(np.dot(one.position, normal)) for one in slices])
    order = np.argsort(places, kind="stable")
    places = places[order]
    ordered = [slices[index] for index in order]
    warnings = _check_steps(ordered, places, folder)
    files = tuple(one.path for one in ordered)
    instances = tuple(one.instance for one in ordered)
    return Volume(
        array=_stacked(ordered),
        affine=_affine(ordered),
        files=files,
        scanner=slices[0].scanner,
        positions=tuple(map(float, places)),
        instances=instances,
        warnings=tuple(warnings),
    )


def _stacked(ordered: Sequence[Slice]) -> NDArray[Any]:
    """Return the pixels as ``[column, row, slice]``."""
    return np.ascontiguousarray(np.stack([one.pixels.T for one in ordered], axis=-1))


def _stack_by_instance(slices: Sequence[Slice], folder: str) -> Volume:
    ordered = sorted(slices, key=lambda one: one.instance)
    numbers = [one.instance for one in ordered]
    sizes = {one.pixels.shape for one in ordered}
    if len(set(numbers)) != len(numbers) or len(sizes) > 1:
        what = "slices have neither positions nor InstanceNumbers that tell them apart"
        raise CaseError(what, remedy=_EXPORT_AGAIN, where=folder, code="no-geometry")
    files = tuple(one.path for one in ordered)
    return Volume(_stacked(ordered), np.eye(4), files, instances=tuple(numbers))


def _check_alike(slices: Sequence[Slice], folder: str) -> None:
    first = slices[0]
    for other in slices[1:]:
        difference = _difference(first, other)
        if difference:
            what = f"slices {first.path.name} and {other.path.name} differ in {difference}"
            remedy = "keep the slices of one series only (no localizer)"
            raise CaseError(what, remedy=remedy, where=folder, code="mixed-slices")


def _difference(first: Slice, other: Slice) -> str:
    """Return in what two slices differ that one volume must share, empty if in nothing."""
    if other.pixels.shape != first.pixels.shape:
        return "size"
    if not np.allclose(other.pixel_spacing, first.pixel_spacing, atol=1e-3):
        return "pixel spacing"
    if not np.allclose(other.orientation, first.orientation, atol=1e-3):
        return "direction"
    return ""


def _check_steps(ordered: Sequence[Slice], places: Array, folder: str) -> list[str]:
    """Return warnings about the distances between slices, and refuse gaps, copies and uneven distances."""
    if len(ordered) == 1:
        return ["one slice only: its distance to the next is taken from SliceThickness"]
    steps = np.diff(places)
    # The lower of two middle values, so that one gap among two steps is seen as a gap.
    usual = float(np.sort(steps)[(len(steps) - 1) // 2])
    for index, step in enumerate(steps):
        _check_step(ordered[index], ordered[index + 1], float(places[index]), float(step), usual, folder)
    deviation = float(np.abs(steps - usual).max())
    if deviation > max(_POSITION_TOLERANCE_MM, _RELATIVE_TOLERANCE * usual):
        what = f"slice distances vary from {steps.min():.2f} to {steps.max():.2f} mm"
        raise CaseError(what, remedy="resample the series to even slices first", where=folder, code="uneven")
    _check_straight(ordered, folder)
    return [f"slice distances vary by {deviation:.2f} mm"] if deviation > _POSITION_TOLERANCE_MM else []


def _check_step(one: Slice, other: Slice, place: float, step: float, usual: float, folder: str) -> None:
    """Refuse two slices in one place, and a gap between two slices."""
    here = one.path.name
    after = other.path.name
    if step < max(0.01, 0.05 * usual):
        what = f"{here} and {after} lie at one position ({place:.2f} mm)"
        raise CaseError(what, remedy="remove the copy or the second series", where=folder, code="same-position")
    if step > 1.5 * usual:
        missing = round(step / usual) - 1
        where = f"{place + usual:.2f} mm along the slice normal, between {here} and {after}"
        what = f"a gap: {missing} slice(s) missing at {where} (step {step:.2f} mm, usually {usual:.2f} mm)"
        raise CaseError(what, remedy="fetch the missing slice(s)", where=folder, code="gap")


def _check_straight(ordered: Sequence[Slice], folder: str) -> None:
    """Refuse stacks whose slices slip sideways by more than a tenth of the slice distance (a sheared volume)."""
    way = ordered[-1].position - ordered[0].position
    along = float(np.dot(way, ordered[0].normal))
    sideways = float(np.linalg.norm(way - along * ordered[0].normal))
    if sideways > 0.1 * abs(along):
        what = f"slices slip sideways by {sideways:.1f} mm over {abs(along):.1f} mm"
        raise CaseError(what, remedy="resample the series to a straight stack first", where=folder, code="sheared")


def _affine(ordered: Sequence[Slice]) -> Array:
    first = ordered[0]
    between_rows, between_columns = first.pixel_spacing
    if len(ordered) > 1:
        step = (ordered[-1].position - first.position) / (len(ordered) - 1)
    else:
        step = first.normal * (first.thickness or 1.0)
    distance = float(np.linalg.norm(step))
    direction = np.stack([first.orientation[:3], first.orientation[3:], step / distance], axis=1)
    return affine_from_lps(direction, (between_columns, between_rows, distance), first.position)
