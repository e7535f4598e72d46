# SPDX-License-Identifier: Apache-2.0
"""Where a NIfTI file says that its voxels lie, in millimetres, and what in its header contradicts that."""

from __future__ import annotations

from typing import Any

import numpy as np
from nibabel.spatialimages import HeaderDataError

from akd_monai.data._streams import FileError
from akd_monai.data.geometry import GRID_TOLERANCE_MM, Array, affine_problem, corner_distance_mm, spacing_of
from akd_monai.data.nifti import NiftiFile

__all__ = ["nifti_affine"]

_REMEDY = "export the volume again with its geometry"
# A quaternion of single precision keeps four digits of a turn by nearly 180 degrees, as scanners' volumes often need.
_QFORM_PRECISION = 1e-3
# Codes of xyzt_units in its lowest three bits; a file that states none is in mm, as every program takes it.
_MM_OF_UNIT = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}


def nifti_affine(file: NiftiFile) -> tuple[Array, tuple[str, ...]]:
    """Return the affine of a file in mm, and warnings.

    The sform is used where its code is above 0, else the qform. Metres and micrometres are converted.

    Raises:
        FileError: if there is neither, or it describes no grid, or voxel sizes or units are impossible.
    """
    # nibabel repairs the header of its image, also voxel sizes of 0 and below, which are therefore taken as stored
    _check_voxel_sizes(file.header)
    header = file.image.header
    to_mm = np.diag([*[_mm_of_unit(header)] * 3, 1.0])
    sform = to_mm @ np.asarray(header.get_sform(), dtype=float) if int(header["sform_code"]) > 0 else None
    qform = _qform(header)
    if qform is not None:
        qform = to_mm @ qform
    affine = qform if sform is None else sform
    if affine is None:
        raise FileError("has no affine (qform and sform codes are 0)", remedy=_REMEDY, code="affine-invalid")
    problem = affine_problem(affine)
    if problem:
        raise FileError(f"the affine {problem}", remedy=_REMEDY, code="affine-invalid")
    if sform is None:
        return affine, ()
    return affine, _contradictions(file, sform, qform, to_mm[0, 0])


def _check_voxel_sizes(header: Any) -> None:
    sizes = np.asarray(header["pixdim"][1:4], dtype=float)
    if not (np.isfinite(sizes).all() and (sizes > 0).all()):
        words = " x ".join(f"{size:g}" for size in sizes)
        what = f"states voxels of {words} (pixdim), expected three numbers above 0"
        raise FileError(what, remedy=_REMEDY, code="affine-invalid")


def _mm_of_unit(header: Any) -> float:
    unit = int(header["xyzt_units"]) & 7
    if unit not in _MM_OF_UNIT:
        what = f"states its lengths in unit {unit} (xyzt_units), expected mm (2), metres (1) or micrometres (3)"
        raise FileError(what, remedy=_REMEDY, code="units")
    return _MM_OF_UNIT[unit]


def _qform(header: Any) -> Array | None:
    """Return the qform, NaN where its quaternion is no rotation, ``None`` without one."""
    if int(header["qform_code"]) <= 0:
        return None
    try:
        return np.asarray(header.get_qform(), dtype=float)
    except (ValueError, TypeError, HeaderDataError):
        return np.full((4, 4), np.nan)


def _contradictions(file: NiftiFile, sform: Array, qform: Array | None, mm: float) -> tuple[str, ...]:
    if qform is not None:
        if not np.isfinite(qform).all():
            return ("the qform is no rotation; the sform is used",)
        shape = file.image.shape[:3]
        distance = corner_distance_mm(sform, qform, shape)
        extent = float(np.linalg.norm((np.asarray(shape) - 1) * spacing_of(sform)))
        if distance > GRID_TOLERANCE_MM + _QFORM_PRECISION * extent:
            return (f"qform and sform lie up to {distance:.1f} mm apart; the sform is used",)
        return ()
    stated = np.asarray(file.header["pixdim"][1:4], dtype=float) * mm
    used = np.asarray(spacing_of(sform))
    if (np.abs(stated - used) * (np.asarray(file.image.shape[:3]) - 1) > GRID_TOLERANCE_MM).any():
        words = [" x ".join(f"{size:.3g}" for size in sizes) for sizes in (stated, used)]
        return (f"pixdim states voxels of {words[0]} mm, the sform of {words[1]} mm; the sform is used",)
    return ()
