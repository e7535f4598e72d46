# SPDX-License-Identifier: Apache-2.0
"""Volumes to be segmented, as a user has them: one file or a folder, without labels."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from akd_monai.errors import InputError
from akd_monai.names import VOLUME_SUFFIXES, is_mask_name, is_volume

__all__ = ["input_volumes", "require_volumes"]


def input_volumes(path: str | os.PathLike[str]) -> list[str]:
    """Return the image files below ``path``, or ``path`` itself when it is a file; masks by name are left out.

    A path that does not exist gives an empty list, so that a config with its default path can be read;
    :func:`require_volumes` turns it into an error when the config is run.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for name in ("a.nii.gz", "a_segmentation.nii.gz", "notes.txt"):
        ...         _ = (Path(folder) / name).write_bytes(b"")
        ...     [Path(volume).name for volume in input_volumes(folder)]
        ['a.nii.gz']
    """
    root = Path(path)
    if root.is_file():
        return [str(root)]
    found = (file for file in root.rglob("*") if not file.name.startswith("."))
    return [str(file) for file in sorted(found) if is_volume(file) and not is_mask_name(file)]


def require_volumes(volumes: Sequence[str], path: str | os.PathLike[str]) -> None:
    """Raise an :class:`~akd_monai.errors.InputError` when there is nothing to segment.

    Example:
        >>> require_volumes(input_volumes("no/such/folder"), "no/such/folder")
        Traceback (most recent call last):
        ...
        akd_monai.errors.InputError: 'no/such/folder' does not exist; give a volume or a folder with --dataset_dir.
    """
    if not volumes:
        what = f"holds no volume ({', '.join(VOLUME_SUFFIXES)})" if Path(path).is_dir() else "does not exist"
        raise InputError(f"{str(path)!r} {what}; give a volume or a folder with --dataset_dir.")
