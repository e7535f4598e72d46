# SPDX-License-Identifier: Apache-2.0
"""Give a mask the very geometry of its image's NIfTI header, so that every program places both alike."""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from akd_monai.data.geometry import GRID_TOLERANCE_MM, Array, corner_distance_mm
from akd_monai.files import atomic_write
from akd_monai.names import is_nifti

__all__ = ["nifti_like", "write_mask"]

# Programs differ in which of qform and sform they use, and what they take for a missing one.
_FIELDS = (
    "qform_code",
    "sform_code",
    "quatern_b",
    "quatern_c",
    "quatern_d",
    "qoffset_x",
    "qoffset_y",
    "qoffset_z",
    "srow_x",
    "srow_y",
    "srow_z",
    "xyzt_units",
)
# masks are mostly zero, so a higher level gains little
_LEVEL = 1
_MM_OF_UNIT = {1: 1000.0, 3: 0.001}


def nifti_like(array: NDArray[Any], affine: Array, image_path: str | os.PathLike[str] | None) -> nib.Nifti1Image:
    """Return a mask as a NIfTI image, with qform, sform, their codes and the units of the file of its image.

    Without such a file (it is no NIfTI file, or lies on another grid), qform and sform are ``affine``, in mm.

    Args:
        array: ``[i, j, k]``.
        affine: where the mask lies; in mm, or in the unit of the image's header.
        image_path: file of the image.

    Example:
        >>> image = nifti_like(np.zeros((4, 4, 2), np.uint8), np.eye(4), None)
        >>> int(image.header["qform_code"]), int(image.header["sform_code"]), image.header.get_xyzt_units()
        (1, 1, ('mm', 'unknown'))
    """
    header = None if image_path is None else _header_of(image_path, array.shape, affine)
    return _placed(array, affine, header)


def write_mask(path: str | os.PathLike[str], image: nib.Nifti1Image) -> Path:
    """Write an image of :func:`nifti_like`, completely or not at all; a name that ends in ``.gz`` is compressed.

    Equal masks give equal bytes.

    Raises:
        InputError: if the folder cannot be made or written to.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_mask(f"{folder}/a.nii.gz", nifti_like(np.ones((4, 4, 2), np.uint8), np.eye(4), None)).name
        'a.nii.gz'
    """
    data = image.to_bytes()
    is_gzip = os.fspath(path).lower().endswith(".gz")
    return atomic_write(path, gzip.compress(data, _LEVEL, mtime=0) if is_gzip else data)


def _placed(array: NDArray[Any], affine: Array, header: Any | None) -> nib.Nifti1Image:
    """Return ``array`` as a NIfTI image placed by the fields of ``header``, else by ``affine`` in mm."""
    if header is None:
        image = nib.Nifti1Image(array, affine)
        image.header.set_xyzt_units("mm")
        image.set_sform(affine, code=1)
        image.set_qform(affine, code=1)
        return image
    placed = nib.Nifti1Header()
    placed.set_data_dtype(array.dtype)
    placed.set_data_shape(array.shape)
    for field in _FIELDS:
        placed[field] = header[field]
    # its first number is the handedness of the qform, then come voxel sizes
    placed["pixdim"][:4] = header["pixdim"][:4]
    # nibabel would write the sform again for any other affine
    return nib.Nifti1Image(array, placed.get_best_affine(), placed)


def _header_of(path: str | os.PathLike[str], shape: tuple[int, ...], affine: Array) -> Any | None:
    """Return the header of a NIfTI file if it has this grid."""
    if not (is_nifti(path) and os.path.isfile(path)):
        return None
    try:
        header: Any = nib.load(path).header
        stored = header.get_best_affine()
    except Exception:  # nibabel raises many kinds of error for a damaged header, which then places nothing
        return None
    if tuple(header.get_data_shape()[:3]) != tuple(shape[:3]):
        return None
    return header if _same_grid(np.asarray(affine, dtype=float), stored, header, shape) else None


def _same_grid(affine: Array, stored: Array, header: Any, shape: tuple[int, ...]) -> bool:
    to_mm = np.diag([*[_MM_OF_UNIT.get(int(header["xyzt_units"]) & 7, 1.0)] * 3, 1.0])
    # a reader may have converted the affine to mm, or left it in the file's unit
    distances = [corner_distance_mm(given, to_mm @ stored, shape) for given in (affine, to_mm @ affine)]
    return min(distances) <= GRID_TOLERANCE_MM
