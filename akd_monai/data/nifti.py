# SPDX-License-Identifier: Apache-2.0
"""Read NIfTI files to their last byte, and write them without any text about the patient."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from akd_monai.data.geometry import Array
from akd_monai.errors import InputError
from akd_monai.files import atomic_write

__all__ = [
    "TEXT_FIELDS",
    "FileError",
    "NiftiFile",
    "nifti_bytes",
    "read_decompressed",
    "read_nifti",
    "unzipped",
    "write_nifti",
]

TEXT_FIELDS = ("descrip", "aux_file", "intent_name", "db_name", "data_type")

_GZIP_MAGIC = b"\x1f\x8b"
# The first four bytes of a file state the length of its header.
_HEADER_BYTES = {348: nib.Nifti1Image, 540: nib.Nifti2Image}
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
_DOWNLOAD_AGAIN = "copy or download the file again"
_REPLACE = "replace the file"


class FileError(InputError):
    """A file that cannot be read as it should; ``code`` names the fault."""


@dataclass(frozen=True)
class NiftiFile:
    """A NIfTI file, completely read: nibabel's ``image`` (in memory) and the decompressed ``data`` of the file."""

    image: Any
    data: bytes

    @property
    def offset(self) -> int:
        """Where the voxels begin in ``data``; the header of an image in memory no longer tells."""
        return int(self.image.dataobj.offset)

    def array(self) -> NDArray[Any]:
        """Return the voxels with slope and intercept applied, in the stored type where no scaling is set."""
        return np.asanyarray(self.image.dataobj)


def read_decompressed(path: Path) -> bytes:
    """Return the decompressed bytes of ``path``; a gzip stream is read to its end, so its checksum is tested.

    Raises:
        FileError: for a missing, empty, truncated or damaged file.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise FileError(
            f"cannot be opened ({error.strerror})", remedy="check path and permissions", code="missing-file"
        ) from None
    if not raw:
        raise FileError("the file has 0 bytes", remedy=_DOWNLOAD_AGAIN, code="empty-file")
    return unzipped(raw) if raw.startswith(_GZIP_MAGIC) else raw


def unzipped(raw: bytes) -> bytes:
    """Decompress a gzip stream to its end and test its checksum.

    Raises:
        FileError: for a truncated or damaged stream.

    Example:
        >>> unzipped(gzip.compress(b"voxels"))
        b'voxels'
    """
    try:
        return gzip.decompress(raw)
    except EOFError:
        raise FileError(
            "the gzip stream ends too early: the file is truncated", remedy=_DOWNLOAD_AGAIN, code="truncated"
        ) from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise FileError(f"the gzip stream is damaged ({error})", remedy=_DOWNLOAD_AGAIN, code="damaged") from None


def read_nifti(path: Path) -> NiftiFile:
    """Read a ``.nii`` or ``.nii.gz`` file completely.

    Raises:
        FileError: for a file that is missing, truncated, damaged or no NIfTI at all, or holds colours.
    """
    data = read_decompressed(path)
    kind = _kind_of(data)
    try:
        file = NiftiFile(kind.from_bytes(data), data)
        dtype = file.image.header.get_data_dtype()
        voxels = int(np.prod(file.image.header.get_data_shape(), dtype=np.int64))
        needed = file.offset + voxels * dtype.itemsize
    except _HEADER_FAULTS as error:
        raise FileError(f"has a damaged NIfTI header ({error})", remedy=_REPLACE, code="not-an-image") from None
    _check_type(dtype)
    if needed > len(data):
        reason = f"is truncated: the header promises {needed} bytes, the file holds {len(data)}"
        raise FileError(reason, remedy=_DOWNLOAD_AGAIN, code="truncated")
    return file


def _kind_of(data: bytes) -> type[nib.Nifti1Image]:
    for order in ("little", "big"):
        kind = _HEADER_BYTES.get(int.from_bytes(data[:4], order))
        if kind is not None:
            return kind
    raise FileError(f"is no NIfTI file (it starts with {_start(data)})", remedy=_REPLACE, code="not-an-image")


def _start(data: bytes) -> str:
    return "HTML, perhaps a download page" if b"<html" in data[:512].lower() else repr(data[:8])


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
