# SPDX-License-Identifier: Apache-2.0
"""Bring a label onto the grid of its image without resampling: by direction or by index, else refuse."""

from __future__ import annotations

from akd_monai.data.geometry import GRID_TOLERANCE_MM, corner_distance_mm, orientation_of, turned_to
from akd_monai.prostate.prepare._sources.base import CaseError, Pair, RawCase, Volume, gland_of
from akd_monai.prostate.prepare._sources.files import read_volume

__all__ = ["pair_by_index", "pair_on_one_grid", "read_on_one_grid", "sizes_of"]


def sizes_of(image: Volume, label: Volume) -> str:
    """Return the sizes of both in words."""
    shapes = ["x".join(map(str, volume.array.shape)) for volume in (image, label)]
    return f"image {shapes[0]}, label {shapes[1]}"


def read_on_one_grid(case: RawCase, *, channel: int | None = None) -> Pair:
    """Read a case of one image file and at most one label file, which must share their grid.

    Args:
        case: the case.
        channel: which volume of a 4-D image to take, for a source that documents its channels; else such a file is
            refused. A label never has channels.

    Raises:
        CaseError: if a file cannot be read, or the grids differ.
    """
    image = read_volume(case.images[0], channel=channel)
    if not case.labels:
        return Pair(image, None)
    return pair_on_one_grid(image, read_volume(case.labels[0]), case.labels[0].name)


def pair_on_one_grid(image: Volume, label: Volume, label_file: str) -> Pair:
    """Pair a label whose header can be trusted: turn it to the image's axes, then both grids must agree to 0.1 mm.

    Raises:
        CaseError: if shapes differ, or a corner lies more than 0.1 mm away.
    """
    label = gland_of(label)
    array, affine, steps = turned_to(label.array, label.affine, orientation_of(image.affine))
    if array.shape != image.array.shape:
        raise _shapes_differ(image, label, label_file, "give a label drawn on this image")
    distance = corner_distance_mm(image.affine, affine, array.shape)
    if distance > GRID_TOLERANCE_MM:
        what = f"the label's grid lies up to {distance:.1f} mm beside the image's"
        remedy = "export image and label with the same geometry"
        raise CaseError(what, remedy=remedy, where=label_file, code="affine-mismatch")
    return Pair(image, label.with_array(array, image.affine), flips=tuple(f"label: {step}" for step in steps))


def pair_by_index(image: Volume, label: Volume, label_file: str) -> Pair:
    """Pair files whose headers are not trusted: equal shapes pair voxel by voxel, a different grid only warns.

    Raises:
        CaseError: if shapes differ.
    """
    label = gland_of(label)
    values = label.array
    if values.shape != image.array.shape:
        raise _shapes_differ(image, label, label_file, "fetch both files again")
    warnings = []
    distance = corner_distance_mm(image.affine, label.affine, values.shape)
    if distance > GRID_TOLERANCE_MM:
        warnings.append(f"paired by index: the label's header puts it {distance:.1f} mm beside the image")
    return Pair(image, label.with_array(values, image.affine), tuple(warnings))


def _shapes_differ(image: Volume, label: Volume, label_file: str, remedy: str) -> CaseError:
    return CaseError(
        f"shapes differ: {sizes_of(image, label)}",
        where=label_file,
        remedy=f"{remedy} (labels are never resampled silently)",
        code="shape-mismatch",
    )
