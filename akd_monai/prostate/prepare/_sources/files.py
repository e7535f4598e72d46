# SPDX-License-Identifier: Apache-2.0
"""Read one volume from a NIfTI, NRRD or MetaImage file."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from akd_monai.data.geometry import affine_problem
from akd_monai.data.nifti import FileError, read_nifti
from akd_monai.names import is_nifti
from akd_monai.prostate.prepare._sources.base import CaseError, Volume
from akd_monai.prostate.prepare._sources.itk_files import data_files, read_itk

__all__ = ["data_files", "read_volume"]


def read_volume(path: Path, *, channel: int = 0) -> Volume:
    """Read a volume file completely.

    Args:
        path: ``.nii``, ``.nii.gz``, ``.nrrd``, ``.mhd`` (with its ``.raw`` beside it) or ``.mha``.
        channel: which volume of a 4-D NIfTI file (last axis) to take.

    Raises:
        CaseError: for a missing, truncated, damaged or non-scalar file, a wrong number of dimensions or a bad affine.
    """
    with _file_named(path):
        volume = _read_nifti(path) if is_nifti(path) else read_itk(path)
        array = volume.array
        if array.ndim == 4 and channel < array.shape[3]:
            array = array[..., channel]
        if array.ndim != 3 or 0 in array.shape:
            what = f"has shape {list(array.shape)}, expected three axes, none of them empty"
            raise FileError(what, remedy="export one volume a file", code="dimensions")
        problem = affine_problem(volume.affine)
        if problem:
            remedy = "export the volume again with its geometry"
            raise FileError(f"the affine {problem}", remedy=remedy, code="affine-invalid")
        return volume.with_array(array)


@contextlib.contextmanager
def _file_named(path: Path) -> Iterator[None]:
    """Add the name of the file, without its folders, to errors that are raised while it is read."""
    try:
        yield
    except FileError as error:
        raise CaseError(error.what, where=path.name, remedy=error.remedy, code=error.code) from None


def _read_nifti(path: Path) -> Volume:
    nifti = read_nifti(path)
    return Volume(nifti.array(), np.asarray(nifti.image.affine, dtype=float), (path,))
