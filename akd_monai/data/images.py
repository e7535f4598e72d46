# SPDX-License-Identifier: Apache-2.0
"""Images without labels, as a user names them: a list, a file that lists them, or a folder."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from akd_monai.data.volumes import input_volumes
from akd_monai.errors import InputError
from akd_monai.files import as_path, read_json

__all__ = ["unlabelled_images"]

_IMAGE = "image"
_LABEL = "label"
_WANTED = "a list of cases or paths, a JSON file with such a list, or a folder of volumes"


def unlabelled_images(
    given: str | os.PathLike[str] | Sequence[Any] | None, *, image_key: str = _IMAGE
) -> list[dict[str, Any]]:
    """Return cases that hold images alone.

    Args:
        given: a list of cases or of paths; a JSON file that holds such a list, whose relative paths start at the file's
            folder; a folder, whose volumes are taken as :func:`~akd_monai.data.input_volumes` finds them; or ``None`` for
            no images. An entry ``"label"`` of a case is left out.
        image_key: what a case calls its image.

    Raises:
        InputError: if it is none of these, a folder holds no volume, or a case has no image.

    Example:
        >>> unlabelled_images([{"image": "a.nii.gz", "label": "b.nii.gz"}, "c.nii.gz"])
        [{'image': 'a.nii.gz'}, {'image': 'c.nii.gz'}]
    """
    if given is None:
        return []
    if isinstance(given, Sequence) and not isinstance(given, str):
        return [_case(entry, image_key, number) for number, entry in enumerate(given)]
    path = as_path(given, "unlabelled_data")
    if path.is_file() and path.suffix.lower() == ".json":
        entries = read_json(path, kind=list)
        return [_placed(_case(entry, image_key, number), path.parent) for number, entry in enumerate(entries)]
    volumes = input_volumes(path)
    if not volumes:
        what = "holds no volume" if path.is_dir() else "does not exist"
        raise InputError(f"unlabelled_data {str(path)!r} {what}", remedy=f"give {_WANTED}")
    return [{image_key: volume} for volume in volumes]


def _case(entry: Any, image_key: str, number: int) -> dict[str, Any]:
    if isinstance(entry, (str, os.PathLike)):
        return {image_key: os.fspath(entry)}
    if not isinstance(entry, Mapping):
        raise InputError(f"entry {number} of unlabelled_data is a {type(entry).__name__}", remedy=f"give {_WANTED}")
    case = {str(key): value for key, value in entry.items() if key != _LABEL}
    if not case:
        raise InputError(f"entry {number} of unlabelled_data holds no image", remedy=f"give it an entry {image_key!r}")
    return case


def _placed(case: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return a case whose relative paths that lead to a file below ``folder`` are complete."""
    placed = {}
    for key, value in case.items():
        is_inside = isinstance(value, str) and (folder / value).is_file()
        placed[key] = str(folder / value) if is_inside else value
    return placed
