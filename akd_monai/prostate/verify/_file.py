# SPDX-License-Identifier: Apache-2.0
"""Checks of one NIfTI file, image or mask: is it readable to its end, is it a volume on a grid, does it name a person."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from akd_monai.data.geometry import Array, turned_to
from akd_monai.data.nifti import FileError, NiftiFile, read_nifti
from akd_monai.data.nifti_geometry import nifti_affine
from akd_monai.data.volume_file import spatial_shape
from akd_monai.files import sha256_of
from akd_monai.names import stem_of
from akd_monai.prostate._privacy import looks_personal
from akd_monai.prostate.verify._check import CaseCheck
from akd_monai.prostate.verify._header import header_texts, holds_dicom

__all__ = ["CheckedFile", "check_file", "turned_to_lps"]


@dataclass(frozen=True)
class CheckedFile:
    """A readable volume: voxels ``[i, j, k]``, affine (``None`` if unusable) and the header's own data type."""

    array: NDArray[Any]
    affine: Array | None
    dtype: np.dtype[Any]


def turned_to_lps(volume: CheckedFile) -> CheckedFile:
    """Return the volume with axes to the left, to the back and upwards, so that "in plane" and "slice" have a meaning."""
    if volume.affine is None:
        return volume
    array, affine, _ = turned_to(volume.array, volume.affine, "LPS")
    return replace(volume, array=array, affine=affine)


def check_file(check: CaseCheck, path: Path, name: str, sha256: str | None) -> CheckedFile | None:
    """Add the findings of one file, and return its volume, or ``None`` if it cannot be used further.

    Args:
        check: the case it belongs to.
        path: the file.
        name: its name below the data set, for the findings.
        sha256: checksum the manifest holds for it, if any.
    """
    try:
        nifti = read_nifti(path)
    except FileError as problem:
        check.error(name, problem.code, problem.what, problem.remedy)
        return None
    if sha256 is not None and sha256_of(path) != sha256:
        message = "is not the file of the manifest (SHA-256 differs)"
        check.error(name, "changed", message, "restore it or run prepare again")
    _check_header(check, path, name, nifti)
    if looks_personal(stem_of(path)):
        message = "the file's name holds a date or the name of a person"
        remedy = "rename image and mask, for instance Case00.nii.gz; prepare does"
        check.error(name, "personal-data", message, remedy)
    return _checked_volume(check, name, nifti)


def _check_header(check: CaseCheck, path: Path, name: str, nifti: NiftiFile) -> None:
    texts = header_texts(path, nifti)
    if not texts:
        return
    where = ", ".join(texts)
    remedy = "run verify with --fix, which empties it"
    if holds_dicom(nifti) or any(looks_personal(text) for text in texts.values()):
        message = f"the header may name a person or a date ({where}; the text is not repeated here)"
        check.error(name, "personal-data", message, remedy, "strip-header")
    else:
        check.warning(name, "header-text", f"the header holds text ({where})", remedy, "strip-header")


def _checked_volume(check: CaseCheck, name: str, nifti: NiftiFile) -> CheckedFile | None:
    try:
        spatial = spatial_shape(nifti.image.shape)
    except FileError as problem:
        check.error(name, problem.code, problem.what, problem.remedy)
        return None
    if 1 in spatial:
        check.warning(name, "one-slice", "has a single slice", "check that the volume is complete")
    affine = _checked_affine(check, name, nifti)
    return CheckedFile(nifti.array().reshape(spatial), affine, nifti.image.header.get_data_dtype())


def _checked_affine(check: CaseCheck, name: str, nifti: NiftiFile) -> Array | None:
    try:
        affine, warnings = nifti_affine(nifti)
    except FileError as problem:
        check.error(name, problem.code, problem.what, problem.remedy)
        return None
    for warning in warnings:
        remedy = "open it in the viewer and with the program that you use, and export it again if they differ"
        check.warning(name, "affine-unclear", warning, remedy)
    return affine
