# SPDX-License-Identifier: Apache-2.0
"""The stored outputs of one layer of a teacher."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from akd_monai.errors import InputError
from akd_monai.files import read_json, write_json
from akd_monai.teachers._coding import CacheDtype, FeatureCoding, LogitsCoding
from akd_monai.teachers._rows import RowStore, not_writable

__all__ = ["ABOUT", "LOGITS", "OutputStore", "coding_for", "described_shape", "write_description"]

logger = logging.getLogger(__name__)
LOGITS = ""
ABOUT = "about.json"


def coding_for(layer: str, shape: Sequence[int], dtype: CacheDtype) -> LogitsCoding | FeatureCoding:
    """Return how outputs ``(C, *spatial)`` of a layer, :data:`LOGITS` for the network's, are kept."""
    if layer == LOGITS:
        return LogitsCoding(tuple(shape), dtype)
    return FeatureCoding(tuple(shape), dtype, layer)


class OutputStore:
    """Outputs of one layer for images of one shape.

    Args:
        folder: made when the first output is stored.
        coding: of the outputs.

    Attributes:
        shape: ``(C, *spatial)`` of one output.
    """

    def __init__(self, folder: Path, coding: LogitsCoding | FeatureCoding) -> None:
        self.shape = coding.shape
        self._coding = coding
        self._rows = RowStore(folder, coding.row_bytes)

    @property
    def row_bytes(self) -> int:
        """Bytes of one stored output."""
        return self._coding.row_bytes

    def count(self, keys: Iterable[bytes]) -> int:
        """Return how many of ``keys`` have an output."""
        return self._rows.count(keys)

    def find(self, key: bytes) -> int | None:
        """Return the tag of the image that an output was computed from, None if there is no output."""
        return self._rows.find(key)

    def append(self, key: bytes, tag: int, output: torch.Tensor) -> None:
        """Store an output ``(C, *spatial)``, unless there is one.

        Raises:
            InputError: if it has another shape, is not finite, too large for float16, or cannot be written.
        """
        if output.shape != self.shape:
            raise _other_shape(self.shape, output.shape)
        self._rows.append(key, tag, self._coding.encode(output))

    def read(self, keys: Sequence[bytes], device: torch.device | str = "cpu") -> torch.Tensor:
        """Return float32 outputs ``[n, C, *spatial]`` on ``device``."""
        values = self._rows.read(keys, 0, self._coding.value_bytes)
        return self._coding.decode(torch.from_numpy(values).to(device))

    def read_decisions(self, keys: Sequence[bytes], device: torch.device | str = "cpu") -> torch.Tensor:
        """Return logits ``[n, K, *spatial]`` that have the arg-max of the stored ones and mean nothing else.

        Only labels are read, a small part of each row. For logits alone.
        """
        if not isinstance(self._coding, LogitsCoding):
            raise TypeError("features have no decisions")
        labels = self._coding.decode_labels(self._rows.read(keys, self._coding.value_bytes))
        return self._coding.logits_of(labels.to(device))


def described_shape(folder: Path) -> tuple[int, ...] | None:
    """Return the shape that a store's description tells; None if there is none, or a damaged one, which is deleted."""
    path = folder / ABOUT
    if not path.is_file():
        return None
    try:
        return tuple(int(size) for size in read_json(path)["shape"])
    except (ValueError, KeyError, TypeError):
        logger.warning("%s is damaged and will be written again.", path)
        path.unlink(missing_ok=True)
        return None


def write_description(folder: Path, about: Mapping[str, Any], shape: Sequence[int]) -> None:
    """Describe a store, unless that has been done.

    Raises:
        InputError: if the folder cannot be written to, or the store is described with another shape.
    """
    known = described_shape(folder)
    if known is not None:
        if known != tuple(shape):
            raise _other_shape(known, shape)
        return
    try:
        write_json(folder / ABOUT, {**about, "shape": list(shape)}, sort_keys=True)
    except OSError as error:
        raise not_writable(folder, error) from error


def _other_shape(known: Sequence[int], got: Sequence[int]) -> InputError:
    return InputError(f"the teacher gave outputs {list(known)} and {list(got)} for inputs of one shape.")
