# SPDX-License-Identifier: Apache-2.0
"""A folder with the maps that teachers made, shared by every run that uses the same teachers and images."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from akd_monai.errors import InputError
from akd_monai.files import atomic_write
from akd_monai.teachers.coding import DTYPES, TargetCoding
from akd_monai.teachers.rows import RowStore, cannot_write

_LOGGER = logging.getLogger(__name__)
LOGITS = ""
_FORMAT = 1


class TeacherCache:
    """One folder for each teacher below ``cache_dir``, and in it one store for each kind of map.

    The name of a teacher's folder is a hash of what decides its output: weights, structure, computing. A changed weight
    is another folder. Inside, rows are found by the hash of the prepared volume, slice and view: a changed image or
    transform is another row. Nothing is ever replaced, so nothing can be stale; to be rid of it, delete ``cache_dir``.

    Args:
        cache_dir: the folder; it is made when the first map is written.
        dtype: how logits are kept, see :class:`~akd_monai.teachers.coding.TargetCoding`.
        feature_dtype: how features are kept, ``"float32"`` or ``"float16"``; as logits by default.

    Raises:
        InputError: for an unknown dtype.

    Example:
        >>> TeacherCache("cache", dtype="float8")
        Traceback (most recent call last):
        ...
        akd_monai.errors.InputError: dtype of the teacher cache must be 'float32' or 'float16', got 'float8'.
    """

    def __init__(
        self, cache_dir: str | os.PathLike[str], dtype: str = "float32", feature_dtype: str | None = None
    ) -> None:
        for name, value in (("dtype", dtype), ("feature_dtype", feature_dtype or dtype)):
            if value not in DTYPES:
                raise InputError(
                    f"{name} of the teacher cache must be {' or '.join(map(repr, DTYPES))}, got {value!r}."
                )
        self.cache_dir, self.dtype, self.feature_dtype = Path(cache_dir), dtype, feature_dtype or dtype

    def maps(self, teacher: Mapping[str, Any], layer: str, input_shape: Sequence[int]) -> MapStore:
        """Return the store of one kind of map.

        Args:
            teacher: facts that decide the teacher's output, JSON values.
            layer: module path, :data:`LOGITS` for the network's output.
            input_shape: ``(C, *spatial)`` of the images.
        """
        folder = self.cache_dir / _hash({"format": _FORMAT, **teacher})
        dtype = self.feature_dtype if layer else self.dtype
        about = {"format": _FORMAT, "layer": layer, "input_shape": list(input_shape), "dtype": dtype}
        return MapStore(folder / _hash(about), about, dict(teacher))


class MapStore:
    """Maps of one kind, all of one shape, which is known once the first one has been made.

    Args:
        folder: of this kind.
        about: ``"layer"``, ``"dtype"`` and what else tells it from others; kept in ``about.json`` for a reader.
        teacher: facts of the teacher, likewise.
    """

    def __init__(self, folder: Path, about: Mapping[str, Any], teacher: Mapping[str, Any]) -> None:
        self.folder, self.about, self.teacher = folder, dict(about), dict(teacher)
        self.shape: tuple[int, ...] | None = None
        self._rows: RowStore | None = None
        self._look()

    @property
    def is_logits(self) -> bool:
        """Whether the maps are the network's output."""
        return self.about["layer"] == LOGITS

    @property
    def row_bytes(self) -> int:
        """Bytes of one map.

        Raises:
            InputError: if the shape is not known yet.
        """
        if self.shape is None:
            raise InputError(f"no map was made yet for {str(self.folder)!r}, so that its size is unknown.")
        if self.is_logits:
            return self._coding.row_bytes
        return -(-math.prod(self.shape) * np.dtype(self.about["dtype"]).itemsize // 8) * 8

    @property
    def _coding(self) -> TargetCoding:
        return TargetCoding(self.shape or (), self.about["dtype"])

    def _look(self) -> bool:
        path = self.folder / "about.json"
        if self.shape is None and path.is_file():
            try:
                self.set_shape([int(n) for n in json.loads(path.read_text(encoding="utf-8"))["shape"]])
            except (ValueError, KeyError, TypeError):
                _LOGGER.warning("%s is damaged and is made again.", path)
                path.unlink(missing_ok=True)
        return self.shape is not None

    def set_shape(self, shape: Sequence[int]) -> None:
        """Say what shape ``(C, *spatial)`` the maps have."""
        if self.shape is not None and self.shape != tuple(shape):
            raise InputError(f"the teacher gave maps {list(self.shape)} and {list(shape)} for inputs of one shape.")
        if self.shape is None:
            self.shape = tuple(shape)
            self._rows = RowStore(self.folder, self.row_bytes)

    def describe(self) -> None:
        """Write ``about.json``, which tells later runs the maps' shape, unless it is there.

        Raises:
            InputError: if it cannot be written.
        """
        path = self.folder / "about.json"
        if path.is_file():
            return
        about = {**self.about, "shape": list(self.shape or ()), "row_bytes": self.row_bytes, "teacher": self.teacher}
        try:
            atomic_write(path, json.dumps(about, indent=1, sort_keys=True) + "\n")
        except OSError as error:
            raise cannot_write(self.folder, error) from error

    def count(self, keys: Iterable[bytes]) -> int:
        """Return how many of ``keys`` have a map."""
        if not self._look() or self._rows is None:
            return 0
        self._rows.refresh()
        return sum(key in self._rows for key in keys)

    def find(self, key: bytes) -> tuple[int, int] | None:
        """Return row and image tag of a map, None if there is none."""
        return self._rows.find(key) if self._look() and self._rows is not None else None

    def put(self, key: bytes, tag: int, value: torch.Tensor) -> None:
        """Keep a map ``(C, *spatial)``.

        Raises:
            InputError: if it is not finite, too large for float16, or cannot be written.
        """
        self.set_shape(value.shape)
        self.describe()
        row = self._coding.encode(value) if self.is_logits else self._feature_row(value)
        if self._rows is not None:
            self._rows.append(key, tag, row)

    def _feature_row(self, value: torch.Tensor) -> NDArray[np.uint8]:
        kept = value.detach().to(getattr(torch, self.about["dtype"])).cpu()
        if not torch.isfinite(kept).all():
            raise InputError(
                f"features of the teacher's layer {self.about['layer']!r} are NaN, Inf or too large for "
                f"{self.about['dtype']}: set feature_dtype of the cache to float32, or look at the weights."
            )
        row = np.zeros(self.row_bytes, np.uint8)
        content = kept.contiguous().reshape(-1).view(torch.uint8).numpy()
        row[: len(content)] = content
        return row

    def read_rows(self, rows: Sequence[int]) -> NDArray[np.uint8]:
        """Return maps as they are stored, ``[n, row_bytes]``."""
        if self._rows is None:
            raise InputError(f"{str(self.folder)!r} holds no map.")
        return self._rows.read(rows)

    def get(self, rows: Sequence[int], *, labels_only: bool = False, device: Any = "cpu") -> torch.Tensor:
        """Return float32 maps ``[n, C, *spatial]``.

        Args:
            rows: as :meth:`find` gives them.
            labels_only: read the labels alone and return logits that decide like them.
            device: where to.
        """
        if self._rows is None or self.shape is None:
            raise InputError(f"{str(self.folder)!r} holds no map.")
        if not self.is_logits:
            stored = torch.from_numpy(self._rows.read(rows)).to(device).view(getattr(torch, self.about["dtype"]))
            return stored[:, : math.prod(self.shape)].reshape(len(rows), *self.shape).float()
        split = self._coding.value_bytes
        if labels_only:
            labels = self._coding.decode_labels(self._rows.read(rows, split))
            return self._coding.logits_of(labels.to(device))
        return self._coding.decode(torch.from_numpy(self._rows.read(rows, 0, split)).to(device))


def _hash(about: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]
