# SPDX-License-Identifier: Apache-2.0
"""Checks of a mask by itself: its values, how much it marks, and the volume of the gland."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from akd_monai.data.gate import check_classes, check_share, class_counts, rounded
from akd_monai.data.geometry import Array
from akd_monai.data.nifti import FileError
from akd_monai.prostate.verify._check import CaseCheck
from akd_monai.prostate.verify._file import CheckedFile, turned_to_lps
from akd_monai.prostate.verify.report import Fix

__all__ = ["check_mask"]

# Expert masks of the NCI-ISBI 2013 training set run from 17 to 313 cm3; pieces of a few slices are smaller.
_GLAND_CM3 = (3.0, 400.0)
_SHOWN_VALUES = 8


def check_mask(check: CaseCheck, name: str, mask: CheckedFile, allowed: Sequence[int]) -> None:
    """Add findings and facts of a mask.

    Args:
        check: the case.
        name: name of the file, for the findings.
        mask: the file's content.
        allowed: values that it may hold.
    """
    mask = turned_to_lps(mask)
    try:
        counts = class_counts(mask.array)
    except FileError as problem:
        check.error(name, problem.code, problem.what, problem.remedy)
        return
    _check_values(check, name, mask, counts, allowed)
    gland = rounded(mask.array) > 0
    share = float(gland.mean())
    check.facts["gland_slices"] = int(gland.any(axis=(0, 1)).sum())
    if share == 0:
        check.warning(name, "label-empty", "marks no voxel", "check whether the case really shows no prostate")
        return
    try:
        check_share(counts)
    except FileError as problem:
        check.error(name, problem.code, problem.what, problem.remedy)
        return
    _check_gaps(check, name, gland)
    _check_volume(check, name, gland, mask.affine)


def _check_values(
    check: CaseCheck, name: str, mask: CheckedFile, counts: Mapping[float, int], allowed: Sequence[int]
) -> None:
    check.facts["label_values"] = " ".join(_shown(counts))
    try:
        check_classes(counts, allowed)
    except FileError as problem:
        fix: Fix = "binarise" if set(counts) == {0, 255} else ""
        check.error(name, problem.code, problem.what, problem.remedy, fix)
        return
    if mask.dtype.kind == "f":
        message = f"integers are stored as {mask.dtype}"
        check.warning(name, "label-type", message, "run verify with --fix, which stores uint8", "uint8")


def _shown(values: Iterable[float]) -> list[str]:
    return [f"{value:g}" for value in values][:_SHOWN_VALUES]


def _check_gaps(check: CaseCheck, name: str, gland: NDArray[np.bool_]) -> None:
    drawn = np.flatnonzero(gland.any(axis=(0, 1)))
    between = np.arange(drawn[0], drawn[-1] + 1)
    gaps = np.setdiff1d(between, drawn).tolist()
    if gaps:
        message = f"slice(s) {', '.join(_shown(gaps))} within the gland are not drawn"
        check.warning(name, "label-gap", message, "open these slices and complete the mask")


def _check_volume(check: CaseCheck, name: str, gland: NDArray[Any], affine: Array | None) -> None:
    if affine is None:
        return
    volume = float(gland.sum() * abs(np.linalg.det(affine[:3, :3])) / 1000)
    check.facts["gland_cm3"] = round(volume, 2)
    low, high = _GLAND_CM3
    if not low <= volume <= high:
        message = f"a gland of {volume:.3g} cm3 ({low:g} to {high:g} are usual)"
        check.warning(name, "gland-volume", message, "check the spacing, and whether the mask is complete")
