# SPDX-License-Identifier: Apache-2.0
"""Where a cache keeps the outputs of each teacher and layer, and how it describes them."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from akd_monai.files import read_json, write_json
from akd_monai.teachers._rows import not_writable
from akd_monai.teachers._store import Coding, OutputStore, coding_for, other_shape
from akd_monai.teachers.cache import TeacherCache

__all__ = ["create_store", "open_store"]

logger = logging.getLogger(__name__)
_ABOUT = "about.json"
# A change of what a row holds is another number, so that folders of an earlier version are not misread. 1 was one file for
# all rows.
_FORMAT = 2


def open_store(
    cache: TeacherCache, teacher: Mapping[str, Any], layer: str, input_shape: Sequence[int]
) -> OutputStore | None:
    """Return the store of one layer, None if nothing was stored for it yet.

    Args:
        cache: where it is.
        teacher: facts that decide the teacher's outputs, JSON values.
        layer: module path, ``""`` for the network's output.
        input_shape: ``(C, *spatial)`` of the images.
    """
    folder, _ = _place(cache, teacher, layer, input_shape)
    shape = _described_shape(folder)
    return None if shape is None else OutputStore(folder, _coding(cache, teacher, layer, shape))


def create_store(
    cache: TeacherCache, teacher: Mapping[str, Any], layer: str, input_shape: Sequence[int], shape: Sequence[int]
) -> OutputStore:
    """Return the store of one layer and write down what it is for, unless that has been done.

    Args:
        cache: where it is.
        teacher: facts that decide the teacher's outputs, JSON values.
        layer: module path, ``""`` for the network's output.
        input_shape: ``(C, *spatial)`` of the images.
        shape: ``(C, *spatial)`` of the outputs.

    Raises:
        InputError: if the folder cannot be written to, or holds outputs of another shape.

    Example:
        >>> import tempfile, torch
        >>> facts, image = {"weights": "1f0c"}, (1, 4, 4)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     store = create_store(TeacherCache(folder), facts, "", image, shape=(2, 4, 4))
        ...     store.append(b"slice 0 view 0..", 7, torch.ones(2, 4, 4))
        ...     again = open_store(TeacherCache(folder), facts, "", image)
        ...     again.find(b"slice 0 view 0.."), again.read([b"slice 0 view 0.."]).shape
        (7, torch.Size([1, 2, 4, 4]))
    """
    folder, about = _place(cache, teacher, layer, input_shape)
    coding = _coding(cache, teacher, layer, shape)
    _describe(folder, {**about, "row_bytes": coding.row_bytes, "teacher": dict(teacher)}, shape)
    return OutputStore(folder, coding)


def _coding(cache: TeacherCache, teacher: Mapping[str, Any], layer: str, shape: Sequence[int]) -> Coding:
    """Return the coding that a teacher's facts ask for, which are all that names its folder."""
    return coding_for(layer, shape, cache.dtype, teacher.get("output", {}).get("activation", "softmax"))


def _place(
    cache: TeacherCache, teacher: Mapping[str, Any], layer: str, input_shape: Sequence[int]
) -> tuple[Path, dict[str, Any]]:
    about = {"format": _FORMAT, "layer": layer, "input_shape": list(input_shape), "dtype": cache.dtype}
    return cache.cache_dir / _hash({"format": _FORMAT, **teacher}) / _hash(about), about


def _hash(about: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]


def _described_shape(folder: Path) -> tuple[int, ...] | None:
    """Return the shape that a description tells; None if there is none, or a damaged one, which is deleted."""
    path = folder / _ABOUT
    if not path.is_file():
        return None
    try:
        return tuple(int(size) for size in read_json(path)["shape"])
    except (ValueError, KeyError, TypeError):
        logger.warning("%s is damaged and will be written again.", path)
        path.unlink(missing_ok=True)
        return None


def _describe(folder: Path, about: Mapping[str, Any], shape: Sequence[int]) -> None:
    known = _described_shape(folder)
    if known is not None:
        if known != tuple(shape):
            raise other_shape(known, shape)
        return
    try:
        write_json(folder / _ABOUT, {**about, "shape": list(shape)}, sort_keys=True)
    except OSError as error:
        raise not_writable(folder, error) from error
