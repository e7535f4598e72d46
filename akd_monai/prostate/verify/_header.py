# SPDX-License-Identifier: Apache-2.0
"""Texts that a NIfTI file carries beside its voxels: header fields, header extensions, a name in the gzip wrapper."""

from __future__ import annotations

import struct
from pathlib import Path

from akd_monai.data.nifti import NiftiFile
from akd_monai.names import stem_of

__all__ = ["extension_span", "header_texts", "holds_dicom"]

_TEXT_FIELDS = ("descrip", "aux_file", "intent_name", "db_name")
_DICOM_EXTENSION = 2

_GZIP_MAGIC = b"\x1f\x8b"
_GZIP_HEADER_BYTES = 10
_GZIP_HAS_EXTRA = 4
_GZIP_HAS_NAME = 8


def header_texts(path: Path, nifti: NiftiFile) -> dict[str, str]:
    """Return the texts that a file carries, by the place where they are; places without text are left out."""
    header = nifti.image.header
    texts = {name: bytes(header[name].item()).rstrip(b"\0 ").decode("latin-1") for name in _TEXT_FIELDS}
    wrapped = _gzip_name(path)
    if stem_of(wrapped).lower() != stem_of(path).lower():
        texts["gzip file name"] = wrapped
    texts["header extension"] = nifti.data[extension_span(nifti)].strip(b"\0").decode("latin-1")
    return {place: text for place, text in texts.items() if text}


def holds_dicom(nifti: NiftiFile) -> bool:
    """Return whether a header extension holds DICOM elements."""
    return any(extension.get_code() == _DICOM_EXTENSION for extension in nifti.image.header.extensions)


def extension_span(nifti: NiftiFile) -> slice:
    """Return where header extensions may stand: after header and extension flag, before the voxels."""
    start = int(nifti.image.header["sizeof_hdr"]) + 4
    return slice(start, max(start, nifti.offset))


def _gzip_name(path: Path) -> str:
    """Return the file name stored in a gzip header, or an empty string."""
    with path.open("rb") as stream:
        head = stream.read(1024)
    if head[:2] != _GZIP_MAGIC or len(head) < _GZIP_HEADER_BYTES:
        return ""
    flags = head[3]
    if not flags & _GZIP_HAS_NAME:
        return ""
    start = _GZIP_HEADER_BYTES
    if flags & _GZIP_HAS_EXTRA and len(head) >= start + 2:
        start += 2 + struct.unpack("<H", head[start : start + 2])[0]
    return head[start : head.find(b"\0", start)].decode("latin-1")
