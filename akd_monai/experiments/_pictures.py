# SPDX-License-Identifier: Apache-2.0
"""Read the files of a record into rows of outlines: which cases, which slice, in which orientation."""

from __future__ import annotations

import logging
import math
import os
import zlib
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError

from akd_monai.data.geometry import GRID_TOLERANCE_MM
from akd_monai.experiments._comparison import case_values, class_names
from akd_monai.experiments._figures import ContourRow, largest_slice
from akd_monai.experiments.results import Results

__all__ = ["MAX_CASES", "chosen_cases", "contour_rows"]

MAX_CASES = 6

logger = logging.getLogger(__name__)


def chosen_cases(results: Results, limit: int = MAX_CASES) -> list[str]:
    """Return the cases to picture, from the worst to the best: evenly spread over the ranks of the last system's Dice.

    The rule leaves no choice to whoever makes the report, and always shows the worst case. An undefined Dice ranks
    first.

    Example:
        >>> rows = [{"case_id": c, "dice": d} for c, d in zip("abcde", (0.5, 0.9, 0.1, 0.7, 0.8))]
        >>> files = {c: {"image": "", "label": ""} for c in "abcde"}
        >>> chosen_cases({"systems": [{"per_case": rows}], "images": files}, limit=3)
        ['c', 'd', 'b']
    """
    dice = case_values(results["systems"][-1], "dice", class_names(results)[0])
    pictured = [case for case in dice if case in results.get("images", {})]
    ranked = sorted(pictured, key=lambda case: (-1.0 if math.isnan(dice[case]) else dice[case], case))
    if len(ranked) <= limit:
        return ranked
    return [ranked[round(i * (len(ranked) - 1) / (limit - 1))] for i in range(limit)]


def contour_rows(
    results: Results, folder: str | os.PathLike[str], limit: int = MAX_CASES
) -> tuple[list[ContourRow], list[str]]:
    """Read the files of the chosen cases.

    Args:
        results: the record.
        folder: what relative paths in it are relative to.
        limit: how many cases at most.

    Returns:
        A row for each case whose image and label could be read, and a sentence for each file skipped. The outline is
        that of everything that is not background.
    """
    rows: list[ContourRow] = []
    skipped: list[str] = []
    for case in chosen_cases(results, limit):
        files = results["images"][case]
        image = _volume(Path(folder, files["image"]), skipped)
        label = _volume(Path(folder, files["label"]), skipped)
        if image is None or label is None or not _same_grid(image, label, f"{case}: label", skipped):
            continue
        masks = {}
        for system in results["systems"]:
            file = system.get("predictions", {}).get(case)
            mask = _volume(Path(folder, file), skipped) if file else None
            if mask is not None and _same_grid(image, mask, f"{case}: prediction of {system['label']}", skipped):
                masks[system["label"]] = _voxels(mask) > 0
        rows.append(_row(results, case, image, _voxels(label) > 0, masks))
    return rows, skipped


def _row(
    results: Results,
    case: str,
    image: nib.Nifti1Image,
    reference: npt.NDArray[np.bool_],
    masks: dict[str, npt.NDArray[np.bool_]],
) -> ContourRow:
    k = largest_slice(reference, *masks.values())
    names = class_names(results)
    # With several classes no single Dice belongs to the outline.
    scores = {s["label"]: case_values(s, "dice", names[0]) for s in results["systems"]} if len(names) == 1 else {}
    height, width = (float(s) for s in image.header.get_zooms()[1::-1])
    upright = {label: _upright(mask[..., k]) for label, mask in masks.items()}
    dice = {label: values[case] for label, values in scores.items() if case in values}
    return ContourRow(
        title=f"{case}\nslice {k + 1} of {reference.shape[-1]}",
        image=_upright(_voxels(image)[..., k]),
        reference=_upright(reference[..., k]),
        predictions=upright,
        dice=dice,
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
