# SPDX-License-Identifier: Apache-2.0
"""The stored outputs of one layer of a teacher."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import torch

from akd_monai.errors import InputError
from akd_monai.losses.interface import Activation
from akd_monai.teachers._coding import CacheDtype, FeatureCoding, LogitsCoding
from akd_monai.teachers._rows import RowStore
from akd_monai.teachers._sigmoid_coding import SigmoidCoding

__all__ = ["LOGITS", "Coding", "OutputStore", "coding_for", "other_shape"]

LOGITS = ""


Coding = LogitsCoding | SigmoidCoding | FeatureCoding


def coding_for(layer: str, shape: Sequence[int], dtype: CacheDtype, activation: Activation = "softmax") -> Coding:
    """Return how outputs ``(C, *spatial)`` of a layer, ``""`` for the logits, are stored."""
    if layer != LOGITS:
        return FeatureCoding(tuple(shape), dtype, layer)
    coding = LogitsCoding if activation == "softmax" else SigmoidCoding
    return coding(tuple(shape), dtype)


class OutputStore:
    """Outputs of one layer for images of one shape.

    Args:
        folder: made when the first output is stored.
        coding: of the outputs.

    Attributes:
        shape: ``(C, *spatial)`` of one output.
    """

    def __init__(self, folder: Path, coding: Coding) -> None:
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
            raise other_shape(self.shape, output.shape)
        self._rows.append(key, tag, self._coding.encode(output))

    def read(self, keys: Sequence[bytes], device: torch.device | str = "cpu") -> torch.Tensor:
        """Return float32 outputs ``[n, C, *spatial]`` on ``device``."""
        values = self._rows.read(keys, 0, self._coding.value_bytes)
        return self._coding.decode(torch.from_numpy(values).to(device))

    def read_decisions(self, keys: Sequence[bytes], device: torch.device | str = "cpu") -> torch.Tensor:
        """Return logits ``[n, K, *spatial]`` that decide as the stored ones do and mean nothing else.

        Only labels are read, a small part of each row. For logits alone.
        """
        if isinstance(self._coding, FeatureCoding):
            raise TypeError("features have no decisions")
        labels = self._coding.decode_labels(self._rows.read(keys, self._coding.value_bytes))
        return self._coding.logits_of(labels.to(device))


def other_shape(known: Sequence[int], got: Sequence[int]) -> InputError:
    """Return the error for outputs of two shapes for images of one shape."""
    return InputError(f"the teacher gave outputs {list(known)} and {list(got)} for inputs of one shape.")
