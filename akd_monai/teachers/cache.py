# SPDX-License-Identifier: Apache-2.0
"""A folder with the outputs of teachers, shared by every run that uses the same teachers and images."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from akd_monai.errors import check_choice
from akd_monai.files import as_path
from akd_monai.teachers._coding import CACHE_DTYPES, CacheDtype
from akd_monai.teachers._store import LOGITS, OutputStore, coding_for, described_shape, write_description

__all__ = ["LOGITS", "TeacherCache"]

# A change of what a row holds is another number, so that folders of an earlier version are not misread. 1 was one file for
# all rows.
_FORMAT = 2


class TeacherCache:
    """A folder for each teacher below ``cache_dir``, and in it a store for each layer and image shape.

    The name of a teacher's folder is a hash of what decides its outputs: weights, architecture, precision and device. A
    changed weight is another folder. Inside, outputs are found by a hash of the prepared volume, the slice and the
    view: a changed image or transform is another row. Nothing is ever replaced, so nothing can be stale; to free the
    space, delete ``cache_dir``.

    Args:
        cache_dir: the folder; it is made when the first output is stored.
        dtype: ``"float32"`` keeps every bit; ``"float16"`` halves the size of features and takes a quarter of that of
            two-class logits, whose decisions stay exact.

    Raises:
        InputError: for another dtype, or if ``cache_dir`` is no path.

    Example:
        >>> import tempfile, torch
        >>> from akd_monai.teachers import TeacherCache
        >>> facts, image = {"weights": "1f0c"}, (1, 4, 4)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     store = TeacherCache(folder).create(facts, "", image, shape=(2, 4, 4))
        ...     store.append(b"slice 0 view 0..", 7, torch.ones(2, 4, 4))
        ...     again = TeacherCache(folder).open(facts, "", image)
        ...     again.find(b"slice 0 view 0.."), again.read([b"slice 0 view 0.."]).shape
        (7, torch.Size([1, 2, 4, 4]))
        >>> TeacherCache("cache", dtype="float8")
        Traceback (most recent call last):
        ...
        akd_monai.errors.InputError: dtype of the teacher cache must be one of 'float32', 'float16', got 'float8'. ...
    """

    def __init__(self, cache_dir: str | os.PathLike[str], dtype: CacheDtype = "float32") -> None:
        check_choice("dtype of the teacher cache", dtype, CACHE_DTYPES)
        self.cache_dir = as_path(cache_dir, "cache_dir of the teacher cache")
        self.dtype = dtype

    def open(self, teacher: Mapping[str, Any], layer: str, input_shape: Sequence[int]) -> OutputStore | None:
        """Return the store of one layer, None if nothing was stored for it yet.

        Args:
            teacher: facts that decide the teacher's outputs, JSON values.
            layer: module path, :data:`LOGITS` for the network's output.
            input_shape: ``(C, *spatial)`` of the images.
        """
        folder, _ = self._place(teacher, layer, input_shape)
        shape = described_shape(folder)
        return None if shape is None else OutputStore(folder, coding_for(layer, shape, self.dtype))

    def create(
        self, teacher: Mapping[str, Any], layer: str, input_shape: Sequence[int], shape: Sequence[int]
    ) -> OutputStore:
        """Return the store of one layer and write down what it is for, unless that has been done.

        Args:
            teacher: facts that decide the teacher's outputs, JSON values.
            layer: module path, :data:`LOGITS` for the network's output.
            input_shape: ``(C, *spatial)`` of the images.
            shape: ``(C, *spatial)`` of the outputs.

        Raises:
            InputError: if the folder cannot be written to, or holds outputs of another shape.
        """
        folder, about = self._place(teacher, layer, input_shape)
        coding = coding_for(layer, shape, self.dtype)
        write_description(folder, {**about, "row_bytes": coding.row_bytes, "teacher": dict(teacher)}, shape)
        return OutputStore(folder, coding)

    def row_bytes(self, layer: str, shape: Sequence[int]) -> int:
        """Return the bytes that one output ``(C, *spatial)`` of a layer takes."""
        return coding_for(layer, shape, self.dtype).row_bytes

    def _place(self, teacher: Mapping[str, Any], layer: str, input_shape: Sequence[int]) -> tuple[Path, dict[str, Any]]:
        about = {"format": _FORMAT, "layer": layer, "input_shape": list(input_shape), "dtype": self.dtype}
        return self.cache_dir / _hash({"format": _FORMAT, **teacher}) / _hash(about), about


def _hash(about: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]
