# SPDX-License-Identifier: Apache-2.0
"""Read NIfTI files to their last byte, and write them without a word about the patient."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from akd_monai.data.geometry import Array
from akd_monai.errors import InputError
from akd_monai.files import atomic_write

TEXT_FIELDS = ("descrip", "aux_file", "intent_name", "db_name", "data_type")
NIFTI_SUFFIXES = (".nii.gz", ".nii")


class FileError(InputError):
    """A file that cannot be read as it should; ``code`` names the fault."""


@dataclass(frozen=True)
class NiftiFile:
    """A NIfTI file read whole: nibabel's ``image`` (in memory) and the decompressed ``data`` of the file."""

    image: Any
    data: bytes

    @property
    def offset(self) -> int:
        """Where the voxels begin in ``data``; the header of an image in memory no longer tells."""
        return int(self.image.dataobj.offset)

    def array(self) -> NDArray:
        """Return the voxels with slope and intercept applied, in the stored type where no scaling is set."""
        return np.asanyarray(self.image.dataobj)


def read_whole(path: Path) -> bytes:
    """Return the decompressed bytes of ``path``; a gzip stream is read to its end, so its checksum is tested.

    Raises:
        FileError: for a missing, empty, truncated or damaged file.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise FileError(
            f"cannot be opened ({error.strerror})", remedy="check the path and rights", code="missing-file"
        ) from None
    if not raw:
        raise FileError("the file has 0 bytes", remedy="copy or download the file again", code="empty-file")
    return unzipped(raw) if raw[:2] == b"\x1f\x8b" else raw


def unzipped(raw: bytes) -> bytes:
    """Decompress a gzip stream to its end and test its checksum.

    Raises:
        FileError: for a truncated or damaged stream.
    """
    again = "copy or download the file again"
    try:
        return gzip.decompress(raw)
    except EOFError:
        raise FileError(
            "the gzip stream ends too early: the file is truncated", remedy=again, code="truncated"
        ) from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise FileError(f"the gzip stream is damaged ({error})", remedy=again, code="damaged") from None


def read_nifti(path: Path) -> NiftiFile:
    """Read a ``.nii`` or ``.nii.gz`` file completely.

    Raises:
        FileError: for a file that is missing, truncated, damaged or no NIfTI at all, or holds colours.
    """
    import nibabel as nib

    data = read_whole(path)
    size = int.from_bytes(data[:4], "little"), int.from_bytes(data[:4], "big")
    kind = nib.Nifti1Image if 348 in size else nib.Nifti2Image if 540 in size else None
    if kind is None:
        raise FileError(
            f"is no NIfTI file (it starts with {_start(data)})", remedy="replace the file", code="not-an-image"
        )
    try:
        image = kind.from_bytes(data)
        dtype, shape = image.header.get_data_dtype(), image.header.get_data_shape()
        needed = NiftiFile(image, data).offset + int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    except (
        ValueError,
        TypeError,
        KeyError,
        IndexError,
        OverflowError,
        nib.spatialimages.HeaderDataError,
        nib.wrapstruct.WrapStructError,  # fewer bytes than a header has
    ) as error:
        raise FileError(
            f"has a damaged NIfTI header ({error})", remedy="replace the file", code="not-an-image"
        ) from None
    if dtype.names is not None or dtype.kind in "cV":
        _refuse_type(dtype)
    if needed > len(data):
        reason = f"is truncated: the header promises {needed} bytes, the file holds {len(data)}"
        raise FileError(reason, remedy="copy or download the file again", code="truncated")
    return NiftiFile(image, data)


def _refuse_type(dtype: np.dtype) -> NoReturn:
    words = "colours (RGB)" if dtype.names else f"voxels of type {dtype}"
    raise FileError(
        f"holds {words}, not one number a voxel", remedy="export the original grey values", code="voxel-type"
    )


def _start(data: bytes) -> str:
    return "HTML, perhaps a download page" if b"<html" in data[:512].lower() else repr(data[:8])


def nifti_bytes(array: NDArray, affine: Array) -> bytes:
    """Return ``.nii.gz`` bytes of a volume: qform and sform set, mm, no text field, no extension, no time stamp.

    The same array and affine give the same bytes, so a checksum tells whether a case has changed.
    """
    import nibabel as nib

    image = nib.Nifti1Image(np.asarray(array), affine)
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, code=1)
    image.set_qform(affine, code=1)
    return gzip.compress(image.to_bytes(), compresslevel=6, mtime=0)


def write_nifti(path: Path, array: NDArray, affine: Array) -> str:
    """Write a volume by :func:`nifti_bytes`, completely or not at all, and return the SHA-256 of the file."""
    data = nifti_bytes(array, affine)
    atomic_write(path, data)
    return hashlib.sha256(data).hexdigest()
