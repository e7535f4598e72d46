# SPDX-License-Identifier: Apache-2.0
"""Read NIfTI files to their last byte, and write them without any text about the patient."""

from __future__ import annotations

import gzip
import hashlib
import logging
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from akd_monai.data._streams import (
    GZIP_MAGIC,
    FileError,
    Inflater,
    Source,
    described_start,
    opened,
    read_promised,
)
from akd_monai.data.geometry import Array
from akd_monai.files import atomic_write

__all__ = ["TEXT_FIELDS", "FileError", "NiftiFile", "nifti_bytes", "read_nifti", "write_nifti"]

TEXT_FIELDS = ("descrip", "aux_file", "intent_name", "db_name", "data_type")

# The first four bytes of a file state the length of its header.
_KINDS = {348: nib.Nifti1Image, 540: nib.Nifti2Image}
# What nibabel raises for a damaged header; the last one for fewer bytes than a header has.
_HEADER_FAULTS = (
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    OverflowError,
    nib.spatialimages.HeaderDataError,
    nib.wrapstruct.WrapStructError,
)
_REPLACE = "replace the file"
# nibabel tells what it finds in a header on the terminal; a file that is refused has its own message
_SILENT = logging.getLogger(f"{__name__}.header")
_SILENT.disabled = True


@dataclass(frozen=True)
class NiftiFile:
    """A NIfTI file, completely read.

    Args:
        image: nibabel's image, in memory.
        data: the decompressed bytes of the file.
        header: the header as stored; nibabel repairs that of ``image`` silently.
    """

    image: Any
    data: bytes
    header: Any

    @property
    def offset(self) -> int:
        """Where the voxels begin in ``data``; the header of an image in memory no longer tells."""
        return int(self.image.dataobj.offset)

    def array(self) -> NDArray[Any]:
        """Return the voxels with slope and intercept applied, in the stored type where no scaling is set."""
        return np.asanyarray(self.image.dataobj)


def read_nifti(path: Path) -> NiftiFile:
    """Read a ``.nii`` or ``.nii.gz`` file completely; a gzip stream is read to its end, so its checksum is tested.

    The header is read first, and never more than it promises is decompressed.

    Raises:
        FileError: for a file that is missing, truncated, damaged, longer than its header says or no NIfTI at all, or
            holds colours.
    """
    with opened(path) as stream:
        stored = os.fstat(stream.fileno()).st_size
        source = _source_of(stream)
        kind, head = _read_header(source)
        header, promised, voxels = _parsed(kind, head)
        data = read_promised(source, promised, voxels=voxels, stored=stored, head=head)
    try:
        return NiftiFile(kind.from_bytes(data), data, header)
    except _HEADER_FAULTS as error:
        raise _damaged_header(error) from None


def _source_of(stream: BinaryIO) -> Source:
    magic = stream.read(len(GZIP_MAGIC))
    stream.seek(0)
    return Inflater(stream) if magic == GZIP_MAGIC else stream


def _read_header(source: Source) -> tuple[type[nib.Nifti1Image], bytes]:
    """Return the kind of image and the bytes of its header."""
    head = source.read(4)
    for order in ("little", "big"):
        length = int.from_bytes(head, order)
        if length in _KINDS:
            return _KINDS[length], head + source.read(length - len(head))
    start = head + source.read(508)
    raise FileError(f"is no NIfTI file (it starts with {described_start(start)})", remedy=_REPLACE, code="not-an-image")


def _parsed(kind: type[nib.Nifti1Image], head: bytes) -> tuple[Any, int, int]:
    """Return the header as stored, the length of the file that it promises, and the number of voxels."""
    try:
        stored = kind.header_class(head, check=False)
        checked = stored.copy()
        checked.check_fix(logger=_SILENT)
        dtype = checked.get_data_dtype()
        shape = checked.get_data_shape()
        offset = int(checked.get_data_offset())
        if min(shape, default=0) < 0 or offset < len(head):
            raise ValueError(f"shape {list(shape)}, voxels from byte {offset}")
        # NaN means no scaling in nibabel's own files; infinity it would pass over in silence
        if math.isinf(float(stored["scl_slope"])):
            raise ValueError("scl_slope is infinite")
    except _HEADER_FAULTS as error:
        raise _damaged_header(error) from None
    _check_type(dtype)
    voxels = math.prod(map(int, shape))
    return stored, offset + voxels * dtype.itemsize, voxels


def _damaged_header(error: Exception) -> FileError:
    return FileError(f"has a damaged NIfTI header ({error})", remedy=_REPLACE, code="not-an-image")


def _check_type(dtype: np.dtype) -> None:
    if dtype.names is None and dtype.kind not in "cV":
        return
    words = "colours (RGB)" if dtype.names else f"voxels of type {dtype}"
    raise FileError(
        f"holds {words}, not one number a voxel", remedy="export the original grey values", code="voxel-type"
    )


def nifti_bytes(array: NDArray[Any], affine: Array) -> bytes:
    """Return ``.nii.gz`` bytes of a volume: qform and sform set, mm, no text field, no extension, no time stamp.

    The same array and affine give the same bytes, so a checksum tells whether a case has changed.

    Example:
        >>> nifti_bytes(np.zeros((2, 2, 2), np.uint8), np.eye(4)) == nifti_bytes(np.zeros((2, 2, 2), np.uint8), np.eye(4))
        True
    """
    image = nib.Nifti1Image(np.asarray(array), affine)
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, code=1)
    image.set_qform(affine, code=1)
    return gzip.compress(image.to_bytes(), compresslevel=6, mtime=0)


def write_nifti(path: Path, array: NDArray[Any], affine: Array) -> str:
    """Write a volume by :func:`nifti_bytes`, completely or not at all, and return the SHA-256 of the file."""
    data = nifti_bytes(array, affine)
    atomic_write(path, data)
    return hashlib.sha256(data).hexdigest()
