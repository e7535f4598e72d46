# SPDX-License-Identifier: Apache-2.0
"""MetaImage, ``.mha`` and ``.mhd``: see https://docs.itk.org/en/latest/learn/metaio.html."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np

from akd_monai.data._streams import FileError, described_start, opened
from akd_monai.data._text_header import TextVolume, VoxelLayout, file_beside, integers, numbers, read_lines, read_voxels
from akd_monai.data.geometry import Array, affine_from_lps

__all__ = ["meta_image_files", "read_meta_image"]

_TYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    # MetaIO stores these in 4 bytes on every machine
    "MET_LONG": "i4",
    "MET_ULONG": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}
_LAST = "elementdatafile"
# Fields that have several names, the one used here first.
_SYNONYMS = (
    ("offset", "position", "origin"),
    ("transformmatrix", "rotation", "orientation"),
    ("elementspacing", "elementsize"),
    ("elementbyteordermsb", "binarydatabyteordermsb"),
)
_GREY = "export the original grey values"

_Fields = Mapping[str, str]


def read_meta_image(path: Path) -> TextVolume:
    """Read a 3-D MetaImage of one number a voxel.

    Raises:
        FileError: if it is missing, damaged, truncated, or another kind of image.
    """
    with opened(path) as stream:
        fields = _fields_of(stream)
        end = stream.tell()
    _check_kind(fields)
    files = _files(path, fields)
    shape = tuple(integers(fields, "dimsize", 3))
    if min(shape) < 0:
        raise FileError(f"its header states the shape {list(shape)}", remedy=_GREY, code="not-an-image")
    layout = VoxelLayout(
        shape=shape,
        dtype=_dtype(fields),
        compressed=_is_true(fields, "compresseddata"),
        start=_start(fields, end if len(files) == 1 else 0),
        file=files[-1],
    )
    affine, warnings = _geometry(fields)
    return TextVolume(read_voxels(layout), affine, files, warnings)


def meta_image_files(path: Path) -> tuple[Path, ...]:
    """Return a MetaImage's header and, if it has one, its data file."""
    with opened(path) as stream:
        return _files(path, _fields_of(stream))


def _fields_of(stream: BinaryIO) -> dict[str, str]:
    start = stream.read(512)
    if b"=" not in start.split(b"\n", 1)[0]:
        what = f"is no MetaImage (it starts with {described_start(start)})"
        raise FileError(what, remedy="replace the file", code="not-an-image")
    stream.seek(0)
    fields = {}
    for line in read_lines(stream, lambda line: _name_of(line) == _LAST):
        fields[_name_of(line)] = line.partition("=")[2].strip()
    for name, *others in _SYNONYMS:
        for other in others:
            if other in fields:
                fields.setdefault(name, fields[other])
    return fields


def _name_of(line: str) -> str:
    return line.partition("=")[0].strip().lower()


def _check_kind(fields: _Fields) -> None:
    axes = fields.get("ndims", "none")
    if axes != "3":
        raise FileError(f"has {axes[:10]} axes, expected three", remedy="export one volume a file", code="dimensions")
    if fields.get("elementnumberofchannels", "1") != "1":
        raise FileError("holds colours or vectors", remedy=_GREY, code="voxel-type")
    if fields.get("binarydata", "true").lower() != "true":
        raise FileError("its voxels are stored as text", remedy="store them as binary data", code="unsupported")


def _dtype(fields: _Fields) -> np.dtype:
    name = fields.get("elementtype", "none")
    if name not in _TYPES:
        raise FileError(f"holds voxels of type {name[:20]}", remedy=_GREY, code="voxel-type")
    return np.dtype((">" if _is_true(fields, "elementbyteordermsb") else "<") + _TYPES[name])


def _is_true(fields: _Fields, name: str) -> bool:
    return fields.get(name, "false").lower() in ("true", "1")


def _files(path: Path, fields: _Fields) -> tuple[Path, ...]:
    name = fields[_LAST]
    return (path,) if name.upper() == "LOCAL" else (path, file_beside(path, name))


def _start(fields: _Fields, end_of_header: int) -> int:
    if "headersize" not in fields:
        return end_of_header
    skipped = integers(fields, "headersize", 1)[0]
    return -1 if skipped < 0 else end_of_header + skipped


def _geometry(fields: _Fields) -> tuple[Array, tuple[str, ...]]:
    if "elementspacing" not in fields:
        what = "its header states no voxel sizes (ElementSpacing)"
        raise FileError(what, remedy="export the volume again with its geometry", code="affine-invalid")
    spacing = numbers(fields, "elementspacing", 3)
    if min(spacing) <= 0:
        what = f"states voxels of {fields['elementspacing'][:40]} mm, expected three numbers above 0"
        raise FileError(what, remedy="export the volume again with its geometry", code="affine-invalid")
    origin = numbers(fields, "offset", 3) if "offset" in fields else [0.0, 0.0, 0.0]
    if "transformmatrix" not in fields:
        warning = "the header states no directions (TransformMatrix): axes are taken to run left, back and up"
        return affine_from_lps(np.eye(3), spacing, origin), (warning,)
    # a row is the direction of an axis
    rows = np.array(numbers(fields, "transformmatrix", 9)).reshape(3, 3)
    lengths = np.linalg.norm(rows, axis=1)
    if np.abs(lengths - 1).max() > 1e-3:
        what = "its directions (TransformMatrix) are not of length 1"
        raise FileError(what, remedy="export the volume again with its geometry", code="affine-invalid")
    return affine_from_lps(rows.T, spacing, origin), ()
