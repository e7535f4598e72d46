# SPDX-License-Identifier: Apache-2.0
"""Fix what leaves no doubt: empty header texts, write masks of 0 and 255 as 0 and 1, store masks as uint8."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Collection
from pathlib import Path

import numpy as np

from akd_monai.data.gate import rounded
from akd_monai.data.nifti import TEXT_FIELDS, nifti_bytes, read_nifti
from akd_monai.data.nifti_geometry import nifti_affine
from akd_monai.files import atomic_write
from akd_monai.prostate.verify._header import extension_span
from akd_monai.prostate.verify.report import Fix

__all__ = ["fix_file"]

_DONE: dict[Fix, str] = {
    "strip-header": "emptied the texts of its header",
    "binarise": "wrote 255 as 1, stored as uint8",
    "uint8": "stored integers as uint8",
}


def fix_file(path: Path, fixes: Collection[Fix]) -> tuple[str, list[str]]:
    """Apply ``fixes`` to a file; a process killed meanwhile leaves the old file or the new one.

    Returns:
        The new SHA-256 of the file, and what was done in words.
    """
    # A mask that is written again carries no text either.
    stores_mask = "binarise" in fixes or "uint8" in fixes
    data = _mask_bytes(path) if stores_mask else _stripped(path)
    if not path.name.lower().endswith(".gz"):
        data = gzip.decompress(data)
    atomic_write(path, data)
    return hashlib.sha256(data).hexdigest(), [words for fix, words in _DONE.items() if fix in fixes]


def _mask_bytes(path: Path) -> bytes:
    nifti = read_nifti(path)
    values = rounded(nifti.array())
    if set(np.unique(values).tolist()) == {0, 255}:
        values = values > 0
    affine, _ = nifti_affine(nifti)
    return nifti_bytes(values.astype(np.uint8), affine)


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
