# SPDX-License-Identifier: Apache-2.0
"""Read one volume from a NIfTI, NRRD or MetaImage file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from akd_monai.data.geometry import affine_from_lps, affine_problem
from akd_monai.data.nifti import FileError, read_nifti, read_whole, unzipped
from akd_monai.names import NIFTI_SUFFIXES
from akd_monai.prostate.prepare.sources.base import CaseError, Volume

_NRRD = (".nrrd", ".nhdr")
ITK_SUFFIXES = (*_NRRD, ".mhd", ".mha")
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
    except FileError as problem:
        raise CaseError(problem.what, remedy=problem.remedy, where=path.name, code=problem.code) from None
    if array.ndim == 4 and channel < array.shape[3]:
        array = array[..., channel]
    if array.ndim != 3 or 0 in array.shape:
        reason = f"has shape {list(array.shape)}, expected three axes, none of them empty"
        raise CaseError(reason, remedy="export one volume a file", where=path.name, code="dimensions")
    problem_text = affine_problem(affine)
    if problem_text:
        reason = f"the affine {problem_text}"
        raise CaseError(
            reason, remedy="export the volume again with its geometry", where=path.name, code="affine-invalid"
        )
    return Volume(array, affine, files)


def _read_itk(path: Path) -> tuple[NDArray, NDArray, tuple[Path, ...]]:
    files = (path, *data_files(path))
    for file in files:
        if not file.is_file():
            reason = f"its data file {file.name} is missing" if file != path else "the file is missing"
            raise FileError(reason, remedy="keep header and data file together in one folder", code="missing-file")
    if path.stat().st_size == 0:
        read_whole(path)
    if path.suffix.lower() in _NRRD:
        _check_nrrd(files)
    import itk

    damaged = "the file is truncated, damaged or no image: copy it again"
    # Named, because the factory that finds the right one loads every format ITK knows, which takes many seconds.
    io = (itk.NrrdImageIO if path.suffix.lower() in _NRRD else itk.MetaImageIO).New()
    io.SetFileName(str(path))
    try:
        io.ReadImageInformation()
        if io.GetNumberOfComponents() != 1:
            raise FileError("holds colours or vectors", remedy="export the original grey values", code="voxel-type")
        if io.GetNumberOfDimensions() != 3:
            reason = f"has {io.GetNumberOfDimensions()} axes, expected three"
            raise FileError(reason, remedy="export one volume a file", code="dimensions")
        _check_raw(files, int(io.GetImageSizeInBytes()))
        image = itk_image(io, path)
    except (RuntimeError, TypeError) as error:
        raise FileError(f"cannot be read ({last_line(error, path)})", remedy=damaged, code="unreadable") from None
    array = itk.array_from_image(image)
    direction = np.asarray(itk.array_from_matrix(image.GetDirection()))
    affine = affine_from_lps(direction, list(image.GetSpacing()), list(image.GetOrigin()))
    return array.transpose(2, 1, 0), affine, files


def _check_nrrd(files: tuple[Path, ...]) -> None:
    """Test the checksum of gzip data, which the NRRD library does not, so that damaged voxels load silently."""
    header, *rest = re.split(rb"\r?\n\r?\n", files[0].read_bytes(), maxsplit=1)
    data = rest[0] if rest else b""
    if re.search(rb"^encoding:\s*gz(ip)?\s*$", header, re.MULTILINE | re.IGNORECASE):
        unzipped(data if len(files) == 1 else files[1].read_bytes())


def _check_raw(files: tuple[Path, ...], needed: int) -> None:
    """Compare the size of a MetaImage's uncompressed data file with what its header promises."""
    if len(files) != 2 or files[0].suffix.lower() != ".mhd":
        return
    if re.search(rb"^CompressedData\s*=\s*True", files[0].read_bytes(), re.MULTILINE | re.IGNORECASE):
        return
    size = files[1].stat().st_size
    if size < needed:
        reason = f"its data file {files[1].name} is truncated: the header promises {needed} bytes, it holds {size}"
        raise FileError(reason, remedy="copy or download both files again", code="truncated")


def itk_image(io: Any, path: Path) -> Any:
    """Read a 3-D file through ``io`` as double, which holds every stored type exactly and has a class in Python."""
    import itk

    reader = itk.ImageFileReader[itk.Image[itk.D, 3]].New(FileName=str(path), ImageIO=io)
    reader.Update()
    return reader.GetOutput()


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
    lines = [line.strip() for line in str(error).splitlines() if line.strip() and not line.startswith("Reason:")]
    text = lines[-1] if lines else type(error).__name__
    text = text.replace(str(path), path.name).replace(str(path.parent), "")
    return text.split("): ", 1)[-1].removeprefix("ITK ERROR: ").rstrip(".")
