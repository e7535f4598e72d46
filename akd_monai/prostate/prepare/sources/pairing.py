# SPDX-License-Identifier: Apache-2.0
"""Bring a label onto the grid of its image without resampling: by index, by position, or by direction, else refuse."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from akd_monai.data.geometry import (
    GRID_TOLERANCE_MM,
    Array,
    corner_distance_mm,
    orientation_of,
    shifted,
    spacing_of,
    turned_to,
)
from akd_monai.prostate.flip_evidence import flip_evidence
from akd_monai.prostate.prepare.sources.base import CaseError, Pair, Volume, binary

_GET_LABEL = "fetch the label that was drawn on this series"
_DOUBT = -4.0


def _sizes(image: Volume, label: Volume) -> str:
    return f"image {'x'.join(map(str, image.array.shape))}, label {'x'.join(map(str, label.array.shape))}"


def pair_on_one_grid(image: Volume, label: Volume, label_file: str) -> Pair:
    """Pair a label whose header can be trusted: turn it to the image's axes, then both grids must agree to 0.1 mm.

    Raises:
        CaseError: if shapes differ, or a corner lies more than 0.1 mm away.
    """
    array, affine, done = turned_to(binary(label.array), label.affine, orientation_of(image.affine))
    if array.shape != image.array.shape:
        remedy = "give a label drawn on this image; a label is never resampled silently"
        raise CaseError(
            f"shapes differ: {_sizes(image, label)}", remedy=remedy, where=label_file, code="shape-mismatch"
        )
    distance = corner_distance_mm(image.affine, affine, array.shape)
    if distance > GRID_TOLERANCE_MM:
        reason = f"the label's grid lies up to {distance:.1f} mm beside the image's"
        remedy = "export image and label with the same geometry"
        raise CaseError(reason, remedy=remedy, where=label_file, code="affine-mismatch")
    return Pair(image, label.with_array(array, image.affine), flips=tuple(f"label: {step}" for step in done))


def pair_by_index(image: Volume, label: Volume, label_file: str) -> Pair:
    """Pair files whose headers are not trusted: equal shapes pair voxel by voxel, a different grid only warns.

    Raises:
        CaseError: if shapes differ.
    """
    values = binary(label.array)
    if values.shape != image.array.shape:
        remedy = "fetch both files again; a label is never resampled silently"
        raise CaseError(
            f"shapes differ: {_sizes(image, label)}", remedy=remedy, where=label_file, code="shape-mismatch"
        )
    warnings = []
    distance = corner_distance_mm(image.affine, label.affine, values.shape)
    if distance > GRID_TOLERANCE_MM:
        warnings.append(f"paired by index: the label's header puts it {distance:.1f} mm beside the image")
    return Pair(image, label.with_array(values, image.affine), tuple(warnings))


def pair_corner_origin(image: Volume, label: Volume, label_file: str, *, both_orders: bool = False) -> Pair:
    """Pair a DICOM series with a label whose header gives the corner of the first voxel, not its centre.

    The true grid of such a label is its header's, moved by half a voxel. Equal shapes pair by index, because the
    directions of many such headers are wrong; the header only decides when it clearly says that the slices run the
    other way. Other shapes pair by position: the image must be a block of the label's grid.

    Args:
        both_orders: also ask the image whether the label would fit better upside down, and warn if so.

    Raises:
        CaseError: if shapes differ and the positions do not match.
    """
    values, corrected = binary(label.array), shifted(label.affine, (0.5, 0.5, 0.5))
    if values.shape != image.array.shape:
        block = _block(image, corrected, values.shape, _sizes(image, label), label_file)
        note = f"the label covers {values.shape[2]} slices, the image {image.array.shape[2]}: paired by position"
        return Pair(image, label.with_array(values[block], image.affine), (note,))
    warnings, flips = [], []
    same = corner_distance_mm(image.affine, corrected, values.shape)
    turned = shifted(corrected, (0, 0, values.shape[2] - 1)) @ np.diag([1.0, 1.0, -1.0, 1.0])
    if same > GRID_TOLERANCE_MM and corner_distance_mm(image.affine, turned, values.shape) <= GRID_TOLERANCE_MM:
        values = np.ascontiguousarray(values[:, :, ::-1])
        flips.append("label: slices reversed, as its header says")
        warnings.append("the label's slices ran the other way and were reversed: look at the case once")
    elif same > GRID_TOLERANCE_MM:
        warnings.append(f"paired by index: the label's header puts it {same:.1f} mm beside the image")
    if both_orders and flip_evidence(image.array, values, image.affine)["S"] < _DOUBT:
        warnings.append("the label may be upside down: look at the case, and give its patient id as flip_labels if so")
    return Pair(image, label.with_array(values, image.affine), tuple(warnings), tuple(flips))


def _block(
    image: Volume, label_affine: Array, label_shape: Sequence[int], sizes: str, label_file: str
) -> tuple[slice, ...]:
    """Return the block of the label's grid that is the image's grid, to a tenth of a voxel."""
    shape = np.array(image.array.shape)
    to_label = np.linalg.inv(label_affine) @ image.affine
    start, end = to_label[:3, 3], (to_label @ [*(shape - 1), 1])[:3]
    first = np.round(start).astype(int)
    matches = np.abs(start - first).max() <= 0.1 and np.abs(end - (first + shape - 1)).max() <= 0.1
    if not matches or (first < 0).any() or (first + shape > np.array(label_shape)).any():
        spacings = [" x ".join(f"{s:.2f}" for s in spacing_of(a)) for a in (image.affine, label_affine)]
        reason = (
            f"shapes differ ({sizes}) and the image is no block of the label's grid: its first and last voxel lie at "
            f"label voxels {_point(start)} and {_point(end)} (mm a voxel: {spacings[0]} and {spacings[1]})"
        )
        raise CaseError(reason, remedy=_GET_LABEL, where=label_file, code="shape-mismatch")
    return tuple(slice(int(f), int(f + n)) for f, n in zip(first, shape, strict=True))


def _point(index: NDArray) -> str:
    return "(" + ", ".join(f"{value:.1f}" for value in index) + ")"


def pair_by_slices(image: Volume, label: Volume, label_file: str) -> Pair:
    """Pair two DICOM series slice by slice, by position; by InstanceNumber where the label's slices have no position.

    Slices the label lacks count as background if they lie outside the drawn gland, with a warning; one missing inside
    it is refused.

    Raises:
        CaseError: if the slices differ in size, or a slice within the gland has no label.
    """
    if image.array.shape[:2] != label.array.shape[:2]:
        reason = f"slice sizes differ: {_sizes(image, label)}"
        raise CaseError(reason, remedy=_GET_LABEL, where=label_file, code="shape-mismatch")
    values, warnings = binary(label.array), []
    if label.positions:
        found, wanted, tolerance = label.positions, image.positions, 0.25 * spacing_of(image.affine)[2]
        beside = _in_plane_distance(image, label)
        if beside > GRID_TOLERANCE_MM or not np.allclose(image.affine[:3, :2], label.affine[:3, :2], atol=1e-3):
            reason = (
                f"the label's slices have another direction or pixel size, or lie beside the image's ({beside:.1f} mm)"
            )
            raise CaseError(reason, remedy=_GET_LABEL, where=label_file, code="affine-mismatch")
    else:
        found, wanted, tolerance = tuple(map(float, label.instances)), tuple(map(float, image.instances)), 0.0
        warnings.append("the label's slices have no position: paired by InstanceNumber")
    chosen = [_nearest(place, found, tolerance) for place in wanted]
    paired = np.zeros(image.array.shape, dtype=np.uint8)
    for index, other in enumerate(chosen):
        if other is not None:
            paired[:, :, index] = values[:, :, other]
    _check_missing(chosen, paired, label_file, warnings)
    if len(found) > len(chosen) - chosen.count(None):
        warnings.append(
            f"{len(found) - len(chosen) + chosen.count(None)} slice(s) of the label have no image: left out"
        )
    return Pair(image, label.with_array(paired, image.affine), tuple(warnings))


def _in_plane_distance(image: Volume, label: Volume) -> float:
    """Return how far, across the slice normal, the two series' first voxels lie apart, in mm."""
    normal = image.affine[:3, 2] / np.linalg.norm(image.affine[:3, 2])
    # The two may start at different slices, so a step along the image's own slice axis is no displacement.
    between = label.affine[:3, 3] - image.affine[:3, 3]
    return float(np.linalg.norm(between - (between @ normal) * normal))


def _nearest(place: float, found: Sequence[float], tolerance: float) -> int | None:
    index = int(np.argmin(np.abs(np.asarray(found) - place)))
    return index if abs(found[index] - place) <= tolerance else None


def _check_missing(chosen: list[int | None], paired: NDArray, label_file: str, warnings: list[str]) -> None:
    missing = [index for index, other in enumerate(chosen) if other is None]
    drawn = np.flatnonzero(paired.any(axis=(0, 1)))
    if len(missing) == len(chosen):
        reason = "no slice of the label lies where the image has one"
        raise CaseError(reason, remedy=_GET_LABEL, where=label_file, code="positions")
    inside = [index for index in missing if len(drawn) and drawn[0] < index < drawn[-1]]
    if inside:
        reason = f"the label lacks slice(s) {', '.join(map(str, inside))} within the gland"
        raise CaseError(reason, remedy="fetch the missing slice(s) of the label", where=label_file, code="gap")
    if missing:
        warnings.append(f"the label lacks {len(missing)} slice(s) outside the drawn gland: taken as background")
