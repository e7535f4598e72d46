# SPDX-License-Identifier: Apache-2.0
"""Read NRRD and MetaImage files by ITK, after checks that ITK leaves out."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from akd_monai.data.geometry import affine_from_lps
from akd_monai.data.nifti import FileError, read_decompressed, unzipped
from akd_monai.prostate.prepare._sources.base import Volume

__all__ = ["data_files", "itk_image", "last_line", "read_itk"]

_NRRD = (".nrrd", ".nhdr")
_DETACHED_HEADERS = (".mhd", ".nhdr")
_DATA_FILE_FIELDS = ("elementdatafile", "data file", "datafile")
# What a header may say in place of a file name.
_NO_FILE = ("local", "list", "")
_DAMAGED = "the file is truncated, damaged or no image: copy it again"


def read_itk(path: Path) -> Volume:
    """Read a 3-D NRRD or MetaImage file of one number a voxel.

    Raises:
        FileError: for a missing, truncated, damaged or non-scalar file, or a wrong number of dimensions.
    """
    files = (path, *data_files(path))
    _check_files(files)
    import itk

    io = _io_of(path)
    try:
        io.ReadImageInformation()
        _check_header(io)
        _check_raw(files, int(io.GetImageSizeInBytes()))
        image = itk_image(io, path)
    except (RuntimeError, TypeError) as error:
        raise FileError(f"cannot be read ({last_line(error, path)})", remedy=_DAMAGED, code="unreadable") from None
    array = itk.array_from_image(image)
    direction = np.asarray(itk.array_from_matrix(image.GetDirection()))
    affine = affine_from_lps(direction, list(image.GetSpacing()), list(image.GetOrigin()))
    return Volume(array.transpose(2, 1, 0), affine, files)


def _is_nrrd(path: Path) -> bool:
    return path.suffix.lower() in _NRRD


def _io_of(path: Path) -> Any:
    import itk

    # Named, because the factory that finds the right one loads every format ITK knows, which takes many seconds.
    kind = itk.NrrdImageIO if _is_nrrd(path) else itk.MetaImageIO
    io = kind.New()
    io.SetFileName(str(path))
    return io


def _check_files(files: tuple[Path, ...]) -> None:
    path = files[0]
    for file in files:
        if not file.is_file():
            what = "the file is missing" if file == path else f"its data file {file.name} is missing"
            raise FileError(what, remedy="keep header and data file together in one folder", code="missing-file")
    if path.stat().st_size == 0:
        read_decompressed(path)  # raises the error of an empty file
    if _is_nrrd(path):
        _check_nrrd(files)


def _check_nrrd(files: tuple[Path, ...]) -> None:
    """Test the checksum of gzip data, which the NRRD library does not, so that damaged voxels load silently."""
    header, *rest = re.split(rb"\r?\n\r?\n", files[0].read_bytes(), maxsplit=1)
    data = rest[0] if rest else b""
    if re.search(rb"^encoding:\s*gz(ip)?\s*$", header, re.MULTILINE | re.IGNORECASE):
        unzipped(data if len(files) == 1 else files[1].read_bytes())


def _check_header(io: Any) -> None:
    if io.GetNumberOfComponents() != 1:
        raise FileError("holds colours or vectors", remedy="export the original grey values", code="voxel-type")
    if io.GetNumberOfDimensions() != 3:
        what = f"has {io.GetNumberOfDimensions()} axes, expected three"
        raise FileError(what, remedy="export one volume a file", code="dimensions")


def _check_raw(files: tuple[Path, ...], needed: int) -> None:
    """Compare the size of a MetaImage's uncompressed data file with what its header promises."""
    if len(files) != 2 or files[0].suffix.lower() != ".mhd":
        return
    if re.search(rb"^CompressedData\s*=\s*True", files[0].read_bytes(), re.MULTILINE | re.IGNORECASE):
        return
    size = files[1].stat().st_size
    if size < needed:
        what = f"its data file {files[1].name} is truncated: the header promises {needed} bytes, it holds {size}"
        raise FileError(what, remedy="copy or download both files again", code="truncated")


def itk_image(io: Any, path: Path) -> Any:
    """Read a 3-D file through ``io`` as double, which holds every stored type exactly and has a class in Python."""
    import itk

    reader = itk.ImageFileReader[itk.Image[itk.D, 3]].New(FileName=str(path), ImageIO=io)
    reader.Update()
    return reader.GetOutput()


def data_files(path: Path) -> list[Path]:
    """Return the data file that a detached header names, as a list; empty for every other file."""
    if path.suffix.lower() not in _DETACHED_HEADERS or not path.is_file():
        return []
    for line in path.read_text(encoding="latin-1").splitlines():
        name, separator, value = line.replace("=", ":", 1).partition(":")
        if not separator or name.strip().lower() not in _DATA_FILE_FIELDS:
            continue
        if value.strip().lower() not in _NO_FILE:
            return [path.parent / value.strip()]
    return []


def last_line(error: Exception, path: Path) -> str:
    """Return the last line of a library's message, without paths."""
    lines = [line.strip() for line in str(error).splitlines()]
    telling = [line for line in lines if line and not line.startswith("Reason:")]
    message = telling[-1] if telling else type(error).__name__
    message = message.replace(str(path), path.name).replace(str(path.parent), "")
    return message.split("): ", 1)[-1].removeprefix("ITK ERROR: ").rstrip(".")
