# SPDX-License-Identifier: Apache-2.0
"""Read one volume from a NIfTI, NRRD or MetaImage file."""

from __future__ import annotations

from pathlib import Path

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
        file = read_volume_file(path, channel=channel)
    except FileError as error:
        raise CaseError(error.what, where=path.name, remedy=error.remedy, code=error.code) from None
    return Volume(file.array, file.affine, file.files, warnings=file.warnings)


def data_files(path: Path) -> list[Path]:
    """Return the data file that a detached header names, as a list; empty for every other file, also a damaged one."""
    try:
        return list(files_of(path)[1:])
    except FileError:
        return []
