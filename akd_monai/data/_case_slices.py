# SPDX-License-Identifier: Apache-2.0
"""Read the files of a case into a row of outlines: which slice, in which orientation."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError

from akd_monai.data._case_pictures import ContourRow, largest_slice
from akd_monai.data.geometry import GRID_TOLERANCE_MM

__all__ = ["contour_row"]

logger = logging.getLogger(__name__)


def contour_row(
    case: str,
    image_file: Path,
    label_file: Path,
    mask_files: Mapping[str, Path],
    dice: Mapping[str, float],
    skipped: list[str],
) -> ContourRow | None:
    """Return the slice of a case with the largest reference; the outline is that of everything but the background.

    Args:
        case: its name.
        image_file: the image.
        label_file: the reference.
        mask_files: the mask of each system, by its label.
        dice: of each system, by its label.
        skipped: gets a sentence for each file that cannot be used; ``None`` is returned for the image or the reference.
    """
    image = _volume(image_file, skipped)
    label = _volume(label_file, skipped)
    if image is None or label is None or not _same_grid(image, label, f"{case}: label", skipped):
        return None
    masks = {}
    for name, file in mask_files.items():
        mask = _volume(file, skipped)
        if mask is not None and _same_grid(image, mask, f"{case}: prediction of {name}", skipped):
            masks[name] = _voxels(mask) > 0
    reference = _voxels(label) > 0
    k = largest_slice(reference, *masks.values())
    height, width = (float(s) for s in image.header.get_zooms()[1::-1])
    upright = {name: _upright(mask[..., k]) for name, mask in masks.items()}
    return ContourRow(
        title=f"{case}\nslice {k + 1} of {reference.shape[-1]}",
        image=_upright(_voxels(image)[..., k]),
        reference=_upright(reference[..., k]),
        predictions=upright,
        dice=dict(dice),
        spacing=(height, width),
    )


def _upright(axial: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Turn a slice whose axes run right and anterior into rows from anterior to posterior, the right side at the left."""
    return axial[::-1, ::-1].T


def _volume(path: Path, skipped: list[str]) -> nib.Nifti1Image | None:
    """Read a volume with its axes in the order right, anterior, superior."""
    try:
        volume: nib.Nifti1Image = nib.as_closest_canonical(nib.load(path))
        np.asanyarray(volume.dataobj)
    except (OSError, EOFError, ValueError, zlib.error, ImageFileError, HeaderDataError) as error:
        # The name alone: a report is passed on, and folders may name people.
        logger.warning("no picture from %s: %s", path, error)
        skipped.append(f"{path.name} could not be read, so its picture is skipped.")
        return None
    return volume


def _voxels(volume: nib.Nifti1Image) -> npt.NDArray[Any]:
    voxels = np.asanyarray(volume.dataobj)
    if voxels.ndim > 3 and voxels.size == np.prod(voxels.shape[:3]):
        return voxels.reshape(voxels.shape[:3])
    return voxels


def _same_grid(image: nib.Nifti1Image, mask: nib.Nifti1Image, what: str, skipped: list[str]) -> bool:
    same = _voxels(image).shape == _voxels(mask).shape and _voxels(image).ndim == 3
    if same and np.abs(image.affine - mask.affine).max() <= GRID_TOLERANCE_MM:
        return True
    skipped.append(f"{what} is not on the grid of the image, so its picture is skipped.")
    return False
