# SPDX-License-Identifier: Apache-2.0
"""Volumes to be segmented, as a user has them: one file or a folder, without labels."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path

from akd_monai.data._searched import searched
from akd_monai.errors import InputError
from akd_monai.names import VOLUME_SUFFIXES, is_volume, suggests_mask

__all__ = ["input_volumes", "require_volumes"]

logger = logging.getLogger(__name__)

_MOST_NAMES = 5
# What may be an image as well, but is not read here.
_OTHER_IMAGES = (".img", ".hdr", ".mgz", ".mgh", ".mnc", ".dcm", ".ima", ".gipl", ".tif", ".bz2", ".xz", ".zst", ".zip")


def input_volumes(path: str | os.PathLike[str], *, output_dir: str | os.PathLike[str] | None = None) -> list[str]:
    """Return the image files below ``path``, or ``path`` itself when it is a file.

    Masks and earlier predictions are left out by their names (:func:`akd_monai.names.suggests_mask`), and so is what is
    hidden. A path that does not exist gives an empty list, so that a config with its default path can be read;
    :func:`require_volumes` turns it into an error when the config is run.

    Args:
        path: a file, which is taken whatever its name, or a folder.
        output_dir: a folder below ``path`` that is not searched.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for name in ("a.nii.gz", "a_segmentation.nii.gz", "a_pred.nii.gz", "notes.txt"):
        ...         _ = (Path(folder) / name).write_bytes(b"")
        ...     [Path(volume).name for volume in input_volumes(folder)]
        ['a.nii.gz']
    """
    root = Path(path)
    if root.is_file():
        return [str(root)]
    return [str(file) for file in _volume_files(root, output_dir) if not _is_mask(file, root)]


def require_volumes(
    volumes: Sequence[str],
    path: str | os.PathLike[str],
    *,
    output_dir: str | os.PathLike[str] | None = None,
    flag: str = "--dataset_dir",
    series_files: Collection[Path] = (),
) -> None:
    """Log in one line each which files are skipped as masks, and what else may hold images and is not read.

    The latter are links to folders, which are not followed, and files of other formats.

    Args:
        volumes: of :func:`input_volumes`.
        path: as given there.
        output_dir: as given there.
        flag: how messages call the argument that names ``path``.
        series_files: files that are read as DICOM, by a command that does so.

    Raises:
        InputError: when there is nothing to segment.

    Example:
        >>> require_volumes(input_volumes("no/such/folder"), "no/such/folder")
        Traceback (most recent call last):
        ...
        akd_monai.errors.InputError: 'no/such/folder' does not exist; give a volume or a folder with --dataset_dir.
    """
    root = Path(path)
    # what was named by its path is no mask, whatever its name
    masks = [file for file in _volume_files(root, output_dir) if _is_mask(file, root) and str(file) not in volumes]
    names = _shortened(file.relative_to(root).as_posix() for file in masks)
    others = [file for file in _unread(root, output_dir) if file not in series_files]
    unread = _shortened(_described(file, root) for file in others)
    if volumes or series_files:
        if masks:
            logger.warning(
                "skipped as masks or predictions, by their names: %s; give one by its path to use it.", names
            )
        if unread:
            logger.warning("not read: %s; convert files to NIfTI, and give a linked folder by its path.", unread)
        return
    what = f"holds no volume ({', '.join(VOLUME_SUFFIXES)})" if root.is_dir() else "does not exist"
    if masks:
        what = f"holds no volume but masks or predictions, by their names ({names})"
    if unread:
        what += f"; not read: {unread}"
    raise InputError(f"{str(path)!r} {what}; give a volume or a folder with {flag}.")


def _volume_files(root: Path, output_dir: str | os.PathLike[str] | None) -> Iterator[Path]:
    for file in searched(root, output_dir):
        # a broken link and what is no regular file stay in, so that reading names them
        if is_volume(file) and not file.is_dir():
            yield file


def _unread(root: Path, output_dir: str | os.PathLike[str] | None) -> Iterator[Path]:
    for path in searched(root, output_dir):
        is_linked_folder = path.is_symlink() and path.is_dir()
        if is_linked_folder or (path.is_file() and path.name.lower().endswith(_OTHER_IMAGES)):
            yield path


def _described(path: Path, root: Path) -> str:
    name = path.relative_to(root).as_posix()
    return f"{name} (a link to a folder)" if path.is_dir() else name


def _is_mask(file: Path, root: Path) -> bool:
    return suggests_mask(file.relative_to(root))


def _shortened(names: Iterable[str]) -> str:
    listed = list(names)
    more = f" and {len(listed) - _MOST_NAMES} more" if len(listed) > _MOST_NAMES else ""
    return ", ".join(listed[:_MOST_NAMES]) + more
