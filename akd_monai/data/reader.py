# SPDX-License-Identifier: Apache-2.0
"""MONAI's ``LoadImage`` with a reader that refuses what cannot be trusted, instead of guessing."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from monai.data import ImageReader, NibabelReader
from numpy.typing import NDArray

from akd_monai.data.checked_volume import checked_volume
from akd_monai.data.volume_file import VolumeFile
from akd_monai.names import is_volume

__all__ = ["CheckedReader"]

logger = logging.getLogger(__name__)

_Path = str | os.PathLike[str]


class CheckedReader(ImageReader):
    """Reader of NIfTI, NRRD and MetaImage for MONAI's ``LoadImaged``, which refuses what cannot be trusted.

    The file is read to its last byte, and its geometry, its dimensions and its voxels are checked
    (:func:`akd_monai.data.volume_file.read_volume_file`, :func:`akd_monai.data.gate.check_voxels`). What it accepts it
    returns as :class:`monai.data.NibabelReader` does: the same voxels, and the same entries of the header. ``"affine"``
    is in mm, also where the header states metres or micrometres; of a sform and a qform that contradict each other it is
    the sform, and a warning is logged.

    Args:
        channels: volumes along the fourth axis of a NIfTI image; a file may also hold one alone, as labels do.

    Raises:
        FileError: while it reads, naming the file, the fault and the remedy.

    Example:
        >>> import tempfile
        >>> from monai.transforms import LoadImage
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "t2.nii.gz"
        ...     nib.save(nib.Nifti1Image(np.full((4, 4, 2), np.nan, np.float32), np.eye(4)), path)
        ...     LoadImage(reader=CheckedReader())(path)
        Traceback (most recent call last):
        ...
        akd_monai.data._streams.FileError: ...t2.nii.gz: holds 32 voxels that are NaN or Inf; export the image again.
    """

    def __init__(self, channels: int = 1) -> None:
        super().__init__()
        self.channels = channels

    def verify_suffix(self, filename: Sequence[_Path] | _Path) -> bool:
        """Return whether all files are volumes by their names."""
        return all(is_volume(path) for path in _listed(filename))

    def read(self, data: Sequence[_Path] | _Path, **_: Any) -> list[Path]:
        """Return the paths; the files are read by :meth:`get_data`.

        ``LoadImage`` takes what is raised here for a reason to try other readers, which would accept the file.
        """
        return [Path(path) for path in _listed(data)]

    def get_data(self, img: Sequence[Path]) -> tuple[NDArray[Any], dict[str, Any]]:
        """Return voxels and metadata; several files become channels of one image."""
        volumes = [_checked(path, self.channels) for path in img]
        # made for each call: it keeps the names of the files, and threads share this reader
        reader = NibabelReader()
        reader.filenames = tuple(img)
        array, meta = reader.get_data([_as_nifti(volume) for volume in volumes])
        for key in ("affine", "original_affine"):
            meta[key] = volumes[0].affine.copy()
        return array, meta


def _listed(paths: Sequence[_Path] | _Path) -> Sequence[_Path]:
    return [paths] if isinstance(paths, (str, os.PathLike)) else paths


def _checked(path: Path, channels: int) -> VolumeFile:
    volume = checked_volume(path, channels=channels)
    for warning in volume.warnings:
        logger.warning("%s: %s.", path, warning)
    return volume


def _as_nifti(volume: VolumeFile) -> Any:
    """Return an image in memory, with the header of the file if it is NIfTI."""
    if volume.nifti is None:
        image = nib.Nifti1Image(_storable(volume.array), volume.affine)
        image.header.set_xyzt_units("mm")
        return image
    image = volume.nifti.image
    return type(image)(volume.array, image.affine, image.header)


def _storable(array: NDArray[Any]) -> NDArray[Any]:
    # nibabel wants to be asked before it makes a header for these
    return array.astype(np.float64) if array.dtype in (np.int64, np.uint64) else array
