# SPDX-License-Identifier: Apache-2.0
"""Read one volume from a NIfTI, NRRD or MetaImage file, with every check that a file alone allows."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from akd_monai.data._meta_image import meta_image_files, read_meta_image
from akd_monai.data._nrrd import nrrd_files, read_nrrd
from akd_monai.data._streams import FileError
from akd_monai.data.geometry import Array, affine_problem, spacing_of
from akd_monai.data.nifti import NiftiFile, read_nifti
from akd_monai.data.nifti_geometry import nifti_affine
from akd_monai.names import ITK_SUFFIXES, VOLUME_SUFFIXES, is_nifti, is_volume

__all__ = ["VolumeFile", "files_of", "read_volume_file", "spatial_shape"]

_NRRD = (".nrrd", ".nhdr")
# No scanner makes voxels beyond these; a file in mm that states metres or micrometres does.
_VOXEL_MM = (0.01, 100.0)
_ONE_VOLUME = (
    "keep one volume a file: one frame of a time series, one sequence, and class numbers in place of a channel a class"
)


@dataclass(frozen=True)
class VolumeFile:
    """A volume as its file holds it.

    Args:
        array: ``[i, j, k]``, or ``[i, j, k, c]`` where several volumes were asked for, with slope and intercept applied.
        affine: 4x4, RAS, in mm.
        files: what was read: the file, and a data file beside its header.
        warnings: what in the header contradicts itself, and which of it is used.
        nifti: the NIfTI file, ``None`` for another format.
    """

    array: NDArray[Any]
    affine: Array
    files: tuple[Path, ...]
    warnings: tuple[str, ...] = ()
    nifti: NiftiFile | None = None


def read_volume_file(path: str | os.PathLike[str], *, several: bool = False) -> VolumeFile:
    """Read a volume file to its last byte.

    The file must be regular, complete and undamaged (checksums of gzip are tested), and no more memory is used than its
    header justifies. It must hold one volume of three axes, none of them empty (further axes of length 1 are dropped), of
    one real number a voxel. Its geometry must be stated, in mm, metres or micrometres (converted to mm; a NIfTI file
    without unit is in mm), and neither singular nor sheared. Of a NIfTI file the sform is used where its code is above 0,
    else the qform; if the two contradict each other, that is a warning, and so is a voxel below 0.01 or above 100 mm.

    Args:
        path: ``.nii``, ``.nii.gz``, ``.nrrd``, ``.nhdr``, ``.mhd`` or ``.mha``.
        several: whether a NIfTI file may hold several volumes, along its fourth axis; by default such a file is refused.

    Raises:
        FileError: for any other file, with a ``code`` that names the fault; the message does not name the file.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> from akd_monai.data.nifti import write_nifti
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder) / "t2.nii.gz"
        ...     _ = write_nifti(file, np.zeros((4, 4, 2), np.uint8), np.diag([0.5, 0.5, 3.0, 1.0]))
        ...     read_volume_file(file).array.shape
        (4, 4, 2)
    """
    path = Path(path)
    if not is_volume(path):
        what = f"is no volume by its name, expected {', '.join(VOLUME_SUFFIXES)}"
        raise FileError(what, remedy="convert it", code="not-an-image")
    volume = _read_nifti(path, several) if is_nifti(path) else _read_text_volume(path)
    return replace(volume, warnings=(*volume.warnings, *_odd_sizes(volume.affine)))


def _odd_sizes(affine: Array) -> tuple[str, ...]:
    sizes = spacing_of(affine)
    if all(_VOXEL_MM[0] <= size <= _VOXEL_MM[1] for size in sizes):
        return ()
    words = " x ".join(f"{size:.3g}" for size in sizes)
    return (f"its voxels are {words} mm, which no scanner makes: are the units of its header right?",)


def files_of(path: Path) -> tuple[Path, ...]:
    """Return the files that make up a volume: the file itself, and the data file that its header names.

    Raises:
        FileError: if the header cannot be read or names no file.
    """
    suffix = path.suffix.lower()
    if suffix not in ITK_SUFFIXES:
        return (path,)
    return nrrd_files(path) if suffix in _NRRD else meta_image_files(path)


def spatial_shape(shape: Sequence[int]) -> tuple[int, int, int]:
    """Return the three axes of one volume; further axes of length 1 are dropped.

    Raises:
        FileError: for another number of axes, or an empty one.

    Example:
        >>> spatial_shape((320, 320, 24, 1))
        (320, 320, 24)
    """
    if 0 in shape:
        raise FileError(f"is empty: its shape is {list(shape)}", remedy="export the volume again", code="no-slices")
    spatial = shape[:3] if set(shape[3:]) == {1} else shape
    if len(spatial) != 3:
        remedy = _ONE_VOLUME if len(spatial) > 3 else "export the complete volume, not one slice of it"
        raise FileError(f"has shape {list(shape)}, expected three axes", remedy=remedy, code="dimensions")
    i, j, k = spatial
    return int(i), int(j), int(k)


def _read_nifti(path: Path, several: bool) -> VolumeFile:
    nifti = read_nifti(path)
    shape = nifti.image.shape
    channels: tuple[int, ...] = ()
    if several and len(shape) == 4 and shape[3] > 1:
        channels = shape[3:]
    spatial = spatial_shape(shape[:3] if channels else shape)
    affine, warnings = nifti_affine(nifti)
    return VolumeFile(nifti.array().reshape(spatial + channels), affine, (path,), warnings, nifti)


def _read_text_volume(path: Path) -> VolumeFile:
    volume = read_nrrd(path) if path.suffix.lower() in _NRRD else read_meta_image(path)
    spatial_shape(volume.array.shape)
    problem = affine_problem(volume.affine)
    if problem:
        remedy = "export the volume again with its geometry"
        raise FileError(f"the affine {problem}", remedy=remedy, code="affine-invalid")
    return VolumeFile(volume.array, volume.affine, volume.files, volume.warnings)
