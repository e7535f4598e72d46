# SPDX-License-Identifier: Apache-2.0
"""Read one volume from a NIfTI, NRRD or MetaImage file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from akd_monai.data.nifti import FileError
from akd_monai.data.volume_file import files_of, read_volume_file
from akd_monai.prostate.prepare._sources.base import CaseError, Volume

__all__ = ["data_files", "read_volume"]


def read_volume(path: Path, *, channel: int | None = None) -> Volume:
    """Read a volume file completely, by :func:`akd_monai.data.volume_file.read_volume_file`.

    Args:
        path: ``.nii``, ``.nii.gz``, ``.nrrd``, ``.mhd`` (with its ``.raw`` beside it) or ``.mha``.
        channel: which volume of a 4-D NIfTI file (last axis) to take; by default such a file is refused.

    Raises:
        CaseError: for a file that is refused there, naming it without its folders.
    """
    try:
        file = read_volume_file(path, several=channel is not None)
        array = file.array
        if array.ndim == 4:
            array = _one_of(array, int(channel or 0))
    except FileError as error:
        raise CaseError(error.what, where=path.name, remedy=error.remedy, code=error.code) from None
    return Volume(array, file.affine, file.files, warnings=file.warnings)


def _one_of(array: NDArray[Any], channel: int) -> NDArray[Any]:
    if not 0 <= channel < array.shape[3]:
        what = f"has {array.shape[3]} volumes along its fourth axis, none with number {channel}"
        raise FileError(what, remedy="fetch the file again", code="dimensions")
    return array[..., channel]


def data_files(path: Path) -> list[Path]:
    """Return the data file that a detached header names, as a list; empty for every other file, also a damaged one."""
    try:
        return list(files_of(path)[1:])
    except FileError:
        return []
