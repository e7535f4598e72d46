# SPDX-License-Identifier: Apache-2.0
"""Checks of one NIfTI file, image or mask: can it be read to its end, is it a volume, where does it lie, who is
named."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from akd_monai.data.geometry import Array, affine_problem
from akd_monai.data.nifti import FileError, NiftiFile, read_nifti
from akd_monai.files import sha256_of
from akd_monai.names import stem_of
from akd_monai.prostate.prepare.privacy import looks_personal
from akd_monai.prostate.verify.report import ERROR, WARNING, Finding

FLAGGED_FIELDS = ("descrip", "aux_file", "intent_name", "db_name")
_DICOM_EXTENSION = 2
Report = Callable[..., None]


@dataclass(frozen=True)
class CheckedFile:
    """A readable volume: voxels ``[i, j, k]``, affine (``None`` if unusable) and the header's own data type."""

    array: NDArray
    affine: Array | None
    dtype: np.dtype


def check_file(path: Path, name: str, case: str, sha256: str | None) -> tuple[CheckedFile | None, list[Finding]]:
    """Check one file; the volume is ``None`` if it cannot be used further.

    Args:
        path: the file.
        name: its name below the data set, for the report.
        case: the case it belongs to.
        sha256: checksum the manifest holds for it, if any.
    """
    findings: list[Finding] = []

    def report(code: str, severity: str, message: str, remedy: str, fix: str = "") -> None:
        findings.append(Finding(case, name, code, severity, message, remedy, fix))

    try:
        nifti = read_nifti(path)
    except FileError as problem:
        report(problem.code, ERROR, problem.what, problem.remedy)
        return None, findings
    if sha256 is not None and sha256_of(path) != sha256:
        report("changed", ERROR, "is not the file of the manifest (SHA-256 differs)", "restore it or run prepare again")
    _check_texts(path, nifti, report)
    if looks_personal(stem_of(path)):
        message = "the file's name holds a date or the name of a person"
        report("personal-data", ERROR, message, "rename image and mask, for instance Case00.nii.gz; prepare does")
    volume = _check_volume(nifti, report)
    return volume, findings


def _check_volume(nifti: NiftiFile, report: Report) -> CheckedFile | None:
    shape = nifti.image.shape
    spatial = shape[:3] if len(shape) > 3 and set(shape[3:]) == {1} else shape
    if 0 in shape:
        report("no-slices", ERROR, f"is empty: its shape is {list(shape)}", "export the volume again")
        return None
    if len(spatial) != 3:
        remedy = "keep one volume a file" if len(spatial) > 3 else "export the whole volume, not one slice of it"
        report("dimensions", ERROR, f"has shape {list(shape)}, expected three axes", remedy)
        return None
    if 1 in spatial:
        report("one-slice", WARNING, "has a single slice", "check that the volume is complete")
    header = nifti.image.header
    affine = _affine(header)
    problem = "has no affine (qform and sform codes are 0)" if affine is None else affine_problem(affine)
    if problem:
        text = problem if affine is None else f"the affine {problem}"
        report("affine-invalid", ERROR, text, "export the volume again with its geometry")
        affine = None
    return CheckedFile(nifti.array().reshape(spatial), affine, header.get_data_dtype())


def _affine(header: Any) -> Array | None:
    if int(header["sform_code"]) > 0:
        return np.asarray(header.get_sform(), dtype=float)
    if int(header["qform_code"]) == 0:
        return None
    try:
        return np.asarray(header.get_qform(), dtype=float)
    except ValueError:
        # The quaternion is no rotation.
        return np.zeros((4, 4))


def _check_texts(path: Path, nifti: NiftiFile, report: Report) -> None:
    """Report texts in the header, its extensions, and a file name kept in the gzip wrapper."""
    header = nifti.image.header
    texts = {name: bytes(header[name].item()).rstrip(b"\0 ").decode("latin-1") for name in FLAGGED_FIELDS}
    wrapped = gzip_name(path)
    if wrapped and stem_of(Path(wrapped)).lower() != stem_of(path).lower():
        texts["gzip file name"] = wrapped
    filled = {name: text for name, text in texts.items() if text}
    dicom = any(extension.get_code() == _DICOM_EXTENSION for extension in header.extensions)
    extension = nifti.data[extension_span(nifti)].strip(b"\0").decode("latin-1")
    if not filled and not extension:
        return
    where = [*filled, *(["header extension"] if extension else [])]
    personal = dicom or any(looks_personal(text) for text in (*filled.values(), extension))
    if personal:
        message = f"the header may name a person or a date ({', '.join(where)}; the text is not repeated here)"
        report("personal-data", ERROR, message, "run verify with fix=True, which empties it", "strip-header")
    else:
        message = f"the header holds text ({', '.join(where)})"
        report("header-text", WARNING, message, "run verify with fix=True, which empties it", "strip-header")


def extension_span(nifti: NiftiFile) -> slice:
    """Return where header extensions may stand: behind header and extension flag, before the voxels."""
    start = int(nifti.image.header["sizeof_hdr"]) + 4
    return slice(start, max(start, nifti.offset))


def gzip_name(path: Path) -> str:
    """Return the file name stored in a gzip header, or an empty text."""
    with path.open("rb") as stream:
        head = stream.read(1024)
    if head[:2] != b"\x1f\x8b" or len(head) < 10 or not head[3] & 8:
        return ""
    start = 10
    if head[3] & 4 and len(head) >= 12:
        start += 2 + struct.unpack("<H", head[10:12])[0]
    return head[start : head.find(b"\0", start)].decode("latin-1")
