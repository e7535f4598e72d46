# SPDX-License-Identifier: Apache-2.0
"""Pair two DICOM series slice by slice, by position; by InstanceNumber where the label's slices have no position."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from akd_monai.data.geometry import GRID_TOLERANCE_MM, spacing_of
from akd_monai.prostate.prepare._sources.base import CaseError, Pair, Volume, gland_of
from akd_monai.prostate.prepare._sources.pairing import sizes_of

__all__ = ["pair_by_slices"]

_GET_LABEL = "fetch the label that was drawn on this series"


@dataclass(frozen=True)
class _Places:
    """Where the slices of both series are, in one unit: mm along the slice normal, or InstanceNumber."""

    image: tuple[float, ...]
    label: tuple[float, ...]
    tolerance: float

    def chosen(self) -> list[int | None]:
        """Return for each slice of the image the slice of the label in its place."""
        return [_nearest(place, self.label, self.tolerance) for place in self.image]


def pair_by_slices(image: Volume, label: Volume, label_file: str) -> Pair:
    """Pair a label with an image, both read from DICOM slices.

    Slices the label lacks count as background if they lie outside the drawn gland, with a warning; one missing inside
    it is refused.

    Args:
        image: the image.
        label: the label, with positions or InstanceNumbers.
        label_file: its name, for messages.

    Raises:
        CaseError: if the slices differ in size, or a slice within the gland has no label.
    """
    if image.array.shape[:2] != label.array.shape[:2]:
        what = f"slice sizes differ: {sizes_of(image, label)}"
        raise CaseError(what, remedy=_GET_LABEL, where=label_file, code="shape-mismatch")
    label = gland_of(label)
    values = label.array
    warnings = []
    if label.positions:
        places = _by_position(image, label, label_file)
    else:
        places = _by_instance(image, label)
        warnings.append("the label's slices have no position: paired by InstanceNumber")
    chosen = places.chosen()
    paired = _gathered(values, chosen)
    warnings += _missing(chosen, paired, label_file)
    unused = len(places.label) - len(chosen) + chosen.count(None)
    if unused > 0:
        warnings.append(f"{unused} slice(s) of the label have no image: left out")
    return Pair(image, label.with_array(paired, image.affine), tuple(warnings))


def _by_position(image: Volume, label: Volume, label_file: str) -> _Places:
    beside = _in_plane_distance(image, label)
    if beside > GRID_TOLERANCE_MM or not np.allclose(image.affine[:3, :2], label.affine[:3, :2], atol=1e-3):
        what = f"the label's slices have another direction or pixel size, or lie beside the image's ({beside:.1f} mm)"
        raise CaseError(what, remedy=_GET_LABEL, where=label_file, code="affine-mismatch")
    return _Places(image.positions, label.positions, tolerance=0.25 * spacing_of(image.affine)[2])


def _by_instance(image: Volume, label: Volume) -> _Places:
    return _Places(tuple(map(float, image.instances)), tuple(map(float, label.instances)), tolerance=0.0)


def _in_plane_distance(image: Volume, label: Volume) -> float:
    """Return how far, across the slice normal, the two series' first voxels lie apart, in mm."""
    normal = image.affine[:3, 2] / np.linalg.norm(image.affine[:3, 2])
    # The two may start at different slices, so a step along the image's own slice axis is no displacement.
    between = label.affine[:3, 3] - image.affine[:3, 3]
    return float(np.linalg.norm(between - (between @ normal) * normal))


def _nearest(place: float, found: Sequence[float], tolerance: float) -> int | None:
    index = int(np.argmin(np.abs(np.asarray(found) - place)))
    return index if abs(found[index] - place) <= tolerance else None


def _gathered(values: NDArray[np.uint8], chosen: Sequence[int | None]) -> NDArray[np.uint8]:
    """Return the chosen slices of a label in the image's order, background where there is none."""
    paired = np.zeros((*values.shape[:2], len(chosen)), dtype=np.uint8)
    for index, other in enumerate(chosen):
        if other is not None:
            paired[:, :, index] = values[:, :, other]
    return paired


def _missing(chosen: Sequence[int | None], paired: NDArray[Any], label_file: str) -> list[str]:
    """Return a warning of slices without label, and refuse a label that lacks slices of the gland."""
    missing = [index for index, other in enumerate(chosen) if other is None]
    if len(missing) == len(chosen):
        what = "no slice of the label lies where the image has one"
        raise CaseError(what, remedy=_GET_LABEL, where=label_file, code="positions")
    drawn = np.flatnonzero(paired.any(axis=(0, 1)))
    inside = [index for index in missing if len(drawn) and drawn[0] < index < drawn[-1]]
    if inside:
        what = f"the label lacks slice(s) {', '.join(map(str, inside))} within the gland"
        raise CaseError(what, remedy="fetch the missing slice(s) of the label", where=label_file, code="gap")
    if not missing:
        return []
    return [f"the label lacks {len(missing)} slice(s) outside the drawn gland: taken as background"]
