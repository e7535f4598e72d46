# SPDX-License-Identifier: Apache-2.0
"""What NRRD and MetaImage have in common: a header of text lines, and voxels after it or in a file of their own.

Both are read here and not by ITK, whose readers trust the header: one that says ``NDims = 30000`` ends the process, and
the checksum of gzip data is not tested.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from akd_monai.data._streams import FileError, Inflater, opened, read_promised
from akd_monai.data.geometry import Array

__all__ = ["TextVolume", "VoxelLayout", "file_beside", "integers", "numbers", "read_lines", "read_voxels"]

# Segmentations of 3D Slicer describe each of their segments in the header.
_LONGEST_HEADER = 1 << 20
_REMEDY = "export the volume again, for instance with 3D Slicer"


@dataclass(frozen=True)
class VoxelLayout:
    """How voxels are stored.

    Args:
        shape: voxels along the three axes, the fastest first.
        dtype: type of a voxel, with its byte order.
        compressed: whether they are a gzip or zlib stream.
        start: byte of the file at which they begin; -1 if they are the last ones of the file.
        file: the file that holds them.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    compressed: bool
    start: int
    file: Path


@dataclass(frozen=True)
class TextVolume:
    """A volume and its grid.

    Args:
        array: ``[i, j, k]``.
        affine: RAS, in mm.
        files: header and data file.
        warnings: what is odd about the header.
    """

    array: NDArray[Any]
    affine: Array
    files: tuple[Path, ...]
    warnings: tuple[str, ...] = ()


def read_lines(stream: BinaryIO, is_last: Callable[[str], bool]) -> list[str]:
    """Return the lines of a header, up to the one that ends it; the stream is then at the first byte after it.

    Raises:
        FileError: if no line ends it within 1 MiB.
    """
    lines = []
    left = _LONGEST_HEADER
    while left > 0:
        raw = stream.readline(left)
        left -= len(raw)
        if not raw:
            break
        lines.append(raw.decode("latin-1").rstrip("\r\n"))
        if is_last(lines[-1]):
            return lines
    raise FileError("its header has no end", remedy=_REMEDY, code="not-an-image")


def read_voxels(layout: VoxelLayout) -> NDArray[Any]:
    """Read the voxels that a header describes, and never more than it promises.

    Raises:
        FileError: if the file holds fewer or more, or its compressed data are damaged.
    """
    voxels = math.prod(layout.shape)
    promised = voxels * layout.dtype.itemsize
    with opened(layout.file) as stream:
        stored = os.fstat(stream.fileno()).st_size
        start = layout.start if layout.start >= 0 else max(0, stored - promised)
        stream.seek(start)
        source = Inflater(stream) if layout.compressed else stream
        data = read_promised(source, promised, voxels=voxels, stored=stored - start)
    stored_voxels = np.frombuffer(data, dtype=layout.dtype).reshape(layout.shape, order="F")
    # a copy, in the byte order of this machine, that may be written to
    return stored_voxels.astype(layout.dtype.newbyteorder("="), order="F")


def file_beside(header: Path, name: str) -> Path:
    """Return the data file that a header names, which must lie in its folder or below.

    Raises:
        FileError: for a list or pattern of files, a path that leaves the folder, or a missing file.
    """
    if not name or name.split()[0].upper() == "LIST" or "%" in name:
        raise FileError("its voxels are in several files", remedy="store them in one file", code="unsupported")
    relative = Path(name)
    if relative.is_absolute() or ".." in relative.parts:
        what = "its header names a data file in another folder"
        raise FileError(what, remedy="keep header and data file together in one folder", code="missing-file")
    path = header.parent / relative
    if not path.is_file():
        what = f"its data file {relative.name} is missing"
        raise FileError(what, remedy="keep header and data file together in one folder", code="missing-file")
    return path


def numbers(fields: Mapping[str, str], name: str, count: int) -> list[float]:
    """Return ``count`` finite numbers of a header field.

    Raises:
        FileError: if the field is missing or holds something else.
    """
    words = fields.get(name, "").split()
    try:
        values = [float(word) for word in words]
    except ValueError:
        values = []
    if len(values) != count or not all(map(math.isfinite, values)):
        what = f"its header needs {count} number(s) as '{name}', got {fields.get(name, 'none')[:40]!r}"
        raise FileError(what, remedy=_REMEDY, code="not-an-image")
    return values


def integers(fields: Mapping[str, str], name: str, count: int) -> Sequence[int]:
    """Return ``count`` integers of a header field; errors as in :func:`numbers`."""
    values = numbers(fields, name, count)
    if any(value != int(value) for value in values):
        what = f"its header needs {count} integer(s) as '{name}', got {fields[name][:40]!r}"
        raise FileError(what, remedy=_REMEDY, code="not-an-image")
    return [int(value) for value in values]
