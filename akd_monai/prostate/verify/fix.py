# SPDX-License-Identifier: Apache-2.0
"""Mend what can be mended without a doubt: empty header texts, write 0/255 masks as 0/1, store masks as uint8."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

import numpy as np

from akd_monai.data.nifti import TEXT_FIELDS, nifti_bytes, read_nifti
from akd_monai.files import atomic_write
from akd_monai.prostate.verify.file import extension_span

_DONE = {
    "strip-header": "emptied the texts of its header",
    "binarise": "wrote 255 as 1, stored as uint8",
    "uint8": "stored whole numbers as uint8",
}


def fix_file(path: Path, fixes: set[str]) -> tuple[str, list[str]]:
    """Apply ``fixes`` to a file, whole or not at all.

    Returns:
        The new SHA-256 of the file, and what was done in words.
    """
    # A mask written anew carries no text either.
    data = _mask_bytes(path) if fixes & {"binarise", "uint8"} else _stripped(path)
    if not path.name.lower().endswith(".gz"):
        data = gzip.decompress(data)
    atomic_write(path, data)
    return hashlib.sha256(data).hexdigest(), [words for fix, words in _DONE.items() if fix in fixes]


def _mask_bytes(path: Path) -> bytes:
    nifti = read_nifti(path)
    values = nifti.array()
    if set(np.unique(values).tolist()) == {0, 255}:
        values = values > 0
    return nifti_bytes(values.astype(np.uint8), np.asarray(nifti.image.affine, dtype=float))


def _stripped(path: Path) -> bytes:
    """Return the file with its text fields and extensions zeroed; voxels and geometry stay bit for bit."""
    nifti = read_nifti(path)
    data = bytearray(nifti.data)
    fields = nifti.image.header.template_dtype.fields
    for name in TEXT_FIELDS:
        if name in fields:
            kind, start = fields[name][:2]
            data[start : start + kind.itemsize] = bytes(kind.itemsize)
    span = extension_span(nifti)
    # The four bytes before an extension say that there is one.
    data[span.start - 4 : span.stop] = bytes(span.stop - span.start + 4)
    return gzip.compress(bytes(data), compresslevel=6, mtime=0)
