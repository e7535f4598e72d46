# SPDX-License-Identifier: Apache-2.0
"""The gate that every image passes before a network sees it: its file, its geometry, its channels, its voxels."""

from __future__ import annotations

import os

from akd_monai.data._streams import FileError
from akd_monai.data.gate import check_voxels
from akd_monai.data.volume_file import VolumeFile, read_volume_file

__all__ = ["checked_volume"]


def checked_volume(path: str | os.PathLike[str], *, channels: int = 1) -> VolumeFile:
    """Read an image with every check of :func:`~akd_monai.data.volume_file.read_volume_file` and of its voxels.

    Args:
        path: a NIfTI, NRRD or MetaImage file.
        channels: volumes along the fourth axis of a NIfTI image; a file may also hold one alone, as labels do.

    Raises:
        FileError: naming the file, the fault and the remedy.

    Example:
        >>> checked_volume("no/such/t2.nii.gz")
        Traceback (most recent call last):
        ...
        akd_monai.data._streams.FileError: no/such/t2.nii.gz: cannot be opened (No such file or directory); check path and
        permissions.
    """
    try:
        volume = read_volume_file(path, several=channels > 1)
        _check_channels(volume, channels)
        check_voxels(volume.array)
    except FileError as error:
        raise FileError(error.what, where=str(path), remedy=error.remedy, code=error.code) from None
    return volume


def _check_channels(volume: VolumeFile, channels: int) -> None:
    shape = volume.array.shape
    if len(shape) == 4 and shape[3] != channels:
        what = f"has {shape[3]} volumes along its fourth axis, expected {channels}"
        raise FileError(what, remedy="give the sequences that the network was built for", code="dimensions")
