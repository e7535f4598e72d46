# SPDX-License-Identifier: Apache-2.0
"""NRRD, ``.nrrd`` and ``.nhdr``: see https://teem.sourceforge.net/nrrd/format.html."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np

from akd_monai.data._streams import FileError, described_start, opened
from akd_monai.data._text_header import TextVolume, VoxelLayout, file_beside, integers, numbers, read_lines, read_voxels
from akd_monai.data.geometry import Array

__all__ = ["nrrd_files", "read_nrrd"]

_TYPES = {
    "i1": ("signed char", "int8", "int8_t"),
    "u1": ("uchar", "unsigned char", "uint8", "uint8_t"),
    "i2": ("short", "short int", "signed short", "signed short int", "int16", "int16_t"),
    "u2": ("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"),
    "i4": ("int", "signed int", "int32", "int32_t"),
    "u4": ("uint", "unsigned int", "uint32", "uint32_t"),
    "i8": ("longlong", "long long", "long long int", "signed long long", "signed long long int", "int64", "int64_t"),
    "u8": ("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"),
    "f4": ("float",),
    "f8": ("double",),
}
_ENCODINGS = {"raw": False, "gz": True, "gzip": True}
# Directions of the world's axes, as factors that lead to RAS.
_SPACES = {
    "right-anterior-superior": (1, 1, 1),
    "ras": (1, 1, 1),
    "left-anterior-superior": (-1, 1, 1),
    "las": (-1, 1, 1),
    "left-posterior-superior": (-1, -1, 1),
    "lps": (-1, -1, 1),
}
_MM_OF_UNIT = {"mm": 1.0, "m": 1000.0, "um": 0.001, "µm": 0.001}
_VECTOR = re.compile(r"\(([^()]*)\)")
_GREY = "export the original grey values"
_GEOMETRY = "export the volume again with its geometry"

_Fields = Mapping[str, str]


def read_nrrd(path: Path) -> TextVolume:
    """Read a 3-D NRRD of one number a voxel.

    Raises:
        FileError: if it is missing, damaged, truncated, or another kind of image.
    """
    with opened(path) as stream:
        fields = _fields_of(stream)
        end = stream.tell()
    files = _files(path, fields)
    skipped = integers(fields, "byte skip", 1)[0] if "byte skip" in fields else 0
    begin = end if len(files) == 1 else 0
    layout = VoxelLayout(
        shape=_shape(fields),
        dtype=_dtype(fields),
        compressed=_is_compressed(fields),
        start=-1 if skipped < 0 else begin + skipped,
        file=files[-1],
    )
    affine = _affine(fields)
    return TextVolume(read_voxels(layout), affine, files)


def nrrd_files(path: Path) -> tuple[Path, ...]:
    """Return an NRRD's header and, if it has one, its data file."""
    with opened(path) as stream:
        return _files(path, _fields_of(stream))


def _fields_of(stream: BinaryIO) -> dict[str, str]:
    start = stream.read(512)
    if not start.startswith(b"NRRD000"):
        what = f"is no NRRD file (it starts with {described_start(start)})"
        raise FileError(what, remedy="replace the file", code="not-an-image")
    stream.seek(0)
    fields = {}
    for line in _header_lines(stream):
        name, separator, value = line.partition(": ")
        if separator and not line.startswith("#"):
            fields[name.strip().lower()] = value.strip()
    if "datafile" in fields:
        fields.setdefault("data file", fields["datafile"])
    if "byteskip" in fields:
        fields.setdefault("byte skip", fields["byteskip"])
    return fields


def _header_lines(stream: BinaryIO) -> list[str]:
    try:
        return read_lines(stream, lambda line: not line)
    except FileError:
        # a detached header may end with its last line
        stream.seek(0)
        lines = stream.read(1 << 20).decode("latin-1").splitlines()
        if any(line.lower().startswith(("data file:", "datafile:")) for line in lines):
            return lines
        raise


def _files(path: Path, fields: _Fields) -> tuple[Path, ...]:
    if "data file" not in fields:
        return (path,)
    return (path, file_beside(path, fields["data file"]))


def _shape(fields: _Fields) -> tuple[int, ...]:
    axes = fields.get("dimension", "none")
    if axes != "3":
        remedy = "export one volume of one number a voxel a file"
        raise FileError(f"has {axes[:10]} axes, expected three", remedy=remedy, code="dimensions")
    if any(kind in fields.get("kinds", "").lower() for kind in ("color", "vector", "list", "complex", "matrix")):
        raise FileError("holds colours or vectors", remedy=_GREY, code="voxel-type")
    shape = tuple(integers(fields, "sizes", 3))
    if min(shape) < 0:
        raise FileError(f"its header states the shape {list(shape)}", remedy=_GREY, code="not-an-image")
    return shape


def _dtype(fields: _Fields) -> np.dtype:
    name = " ".join(fields.get("type", "none").lower().split())
    code = next((code for code, names in _TYPES.items() if name in names), None)
    if code is None:
        raise FileError(f"holds voxels of type {name[:20]}", remedy=_GREY, code="voxel-type")
    order = fields.get("endian", "").lower()
    if code[1] != "1" and order not in ("little", "big"):
        raise FileError("its header states no byte order (endian)", remedy=_GREY, code="not-an-image")
    return np.dtype((">" if order == "big" else "<") + code)


def _is_compressed(fields: _Fields) -> bool:
    encoding = fields.get("encoding", "none").lower()
    if encoding not in _ENCODINGS or fields.get("line skip", "0") != "0":
        what = f"its voxels are stored with encoding {encoding[:20]}, known are {', '.join(_ENCODINGS)}"
        raise FileError(what, remedy="save it with gzip or uncompressed", code="unsupported")
    return _ENCODINGS[encoding]


def _affine(fields: _Fields) -> Array:
    space = fields.get("space", "none").lower()
    if space not in _SPACES or "space directions" not in fields:
        what = f"its header states no place in a patient (space {space[:30]}, with space directions)"
        raise FileError(what, remedy=_GEOMETRY, code="affine-invalid")
    axes = [_vector(text, "space directions") for text in _VECTOR.findall(fields["space directions"])]
    if len(axes) != 3:
        what = f"its header states {len(axes)} space directions, expected three"
        raise FileError(what, remedy=_GEOMETRY, code="affine-invalid")
    origin = _vector(fields.get("space origin", "(0,0,0)").strip("() "), "space origin")
    affine = np.eye(4)
    affine[:3, :3] = np.array(axes).T
    affine[:3, 3] = origin
    return np.asarray(np.diag([*_SPACES[space], 1.0]) @ np.diag([*[_mm(fields)] * 3, 1.0]) @ affine)


def _vector(text: str, name: str) -> list[float]:
    return numbers({name: text.replace(",", " ")}, name, 3)


def _mm(fields: _Fields) -> float:
    units = set(re.findall(r'"([^"]*)"', fields.get("space units", '"mm"')))
    unit = units.pop() if len(units) == 1 else "several"
    if unit not in _MM_OF_UNIT:
        what = f"states its lengths in unit {unit[:20]!r} (space units), expected mm, m or um"
        raise FileError(what, remedy=_GEOMETRY, code="units")
    return _MM_OF_UNIT[unit]
