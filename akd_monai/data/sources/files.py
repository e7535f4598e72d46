# SPDX-License-Identifier: Apache-2.0
"""Read one volume from a NIfTI, NRRD or MetaImage file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from akd_monai.data.geometry import affine_from_lps, affine_problem
from akd_monai.data.nifti import NIFTI_SUFFIXES, FileProblem, read_nifti, read_whole
from akd_monai.data.sources.base import CaseError, Volume

ITK_SUFFIXES = (".nrrd", ".nhdr", ".mhd", ".mha")
VOLUME_SUFFIXES = NIFTI_SUFFIXES + ITK_SUFFIXES


def is_volume(path: Path) -> bool:
    """Tell by its name whether ``path`` is a volume file."""
    return path.name.lower().endswith(VOLUME_SUFFIXES)


def read_volume(path: Path, *, channel: int = 0) -> Volume:
    """Read a volume file whole.

    Args:
        path: ``.nii``, ``.nii.gz``, ``.nrrd``, ``.mhd`` (with its ``.raw`` beside it) or ``.mha``.
        channel: which volume of a 4-D NIfTI file (last axis) to take.

    Raises:
        CaseError: for a missing, truncated, damaged or non-scalar file, a wrong number of dimensions or a bad affine.
    """
    try:
        if path.name.lower().endswith(NIFTI_SUFFIXES):
            nifti = read_nifti(path)
            array, affine = nifti.array(), np.asarray(nifti.image.affine, dtype=float)
            files: tuple[Path, ...] = (path,)
        else:
            array, affine, files = _read_itk(path)
    except FileProblem as problem:
        raise CaseError(problem.reason, cure=problem.cure, file=path.name, code=problem.code) from None
    if array.ndim == 4 and channel < array.shape[3]:
        array = array[..., channel]
    if array.ndim != 3 or 0 in array.shape:
        reason = f"has shape {list(array.shape)}, expected three axes, none of them empty"
        raise CaseError(reason, cure="export one volume a file", file=path.name, code="dimensions")
    problem_text = affine_problem(affine)
    if problem_text:
        reason = f"the affine {problem_text}"
        raise CaseError(reason, cure="export the volume again with its geometry", file=path.name, code="affine-invalid")
    return Volume(array, affine, files)


def _read_itk(path: Path) -> tuple[NDArray, NDArray, tuple[Path, ...]]:
    files = (path, *data_files(path))
    for file in files:
        if not file.is_file():
            reason = f"its data file {file.name} is missing" if file != path else "the file is missing"
            raise FileProblem("missing-file", reason, "keep header and data file together in one folder")
    if path.stat().st_size == 0:
        read_whole(path)
    import itk

    damaged = "the file is truncated, damaged or no image: copy it again"
    # Named, because the factory that finds the right one loads every format ITK knows, which takes many seconds.
    io = (itk.NrrdImageIO if path.suffix.lower() in (".nrrd", ".nhdr") else itk.MetaImageIO).New()
    io.SetFileName(str(path))
    try:
        io.ReadImageInformation()
        if io.GetNumberOfComponents() != 1:
            raise FileProblem("voxel-type", "holds colours or vectors", "export the original grey values")
        # Signed bytes, the type of many masks, have no image class in Python.
        image = itk.imread(str(path), pixel_type=itk.D, fallback_only=True, imageio=io)
    except (RuntimeError, TypeError) as error:
        raise FileProblem("unreadable", f"cannot be read ({last_line(error, path)})", damaged) from None
    array = itk.array_from_image(image)
    if array.ndim != 3:
        return array.T, np.eye(4), files
    direction = np.asarray(itk.array_from_matrix(image.GetDirection()))
    affine = affine_from_lps(direction, list(image.GetSpacing()), list(image.GetOrigin()))
    return array.transpose(2, 1, 0), affine, files


def data_files(path: Path) -> list[Path]:
    """Return the files a detached header names."""
    if path.suffix.lower() not in (".mhd", ".nhdr") or not path.is_file():
        return []
    fields = ("elementdatafile", "data file", "datafile")
    for line in path.read_text(encoding="latin-1").splitlines():
        name, separator, value = line.replace("=", ":", 1).partition(":")
        if separator and name.strip().lower() in fields and value.strip().lower() not in ("local", "list", ""):
            return [path.parent / value.strip()]
    return []


def last_line(error: Exception, path: Path) -> str:
    """Return the last line of a library's message, without paths."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[-1] if lines else type(error).__name__
    text = text.replace(str(path), path.name).replace(str(path.parent), "")
    return text.split("): ", 1)[-1].removeprefix("ITK ERROR: ").rstrip(".")
