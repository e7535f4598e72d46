# SPDX-License-Identifier: Apache-2.0
"""How a teacher's outputs become rows of bytes, and how they are read back."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from akd_monai.errors import InputError

__all__ = ["CACHE_DTYPES", "CacheDtype", "FeatureCoding", "LogitsCoding"]

CacheDtype = Literal["float32", "float16"]
CACHE_DTYPES: tuple[CacheDtype, ...] = get_args(CacheDtype)
# below the largest half, so that there is always a next one
_LARGEST = 60000.0
_ALIGNMENT = 8


@dataclass(frozen=True)
class FeatureCoding:
    """Features ``[C, *spatial]`` as a row of numbers.

    Args:
        shape: ``(C, *spatial)``.
        dtype: ``"float32"`` or ``"float16"``.
        layer: module path, for messages.

    Example:
        >>> coding = FeatureCoding((1, 1, 3), "float16", "body")
        >>> row = coding.encode(torch.tensor([[[0.5, 2.0, -1.0]]]))
        >>> row.nbytes, coding.decode(torch.from_numpy(row)[None]).tolist()
        (8, [[[[0.5, 2.0, -1.0]]]])
    """

    shape: tuple[int, ...]
    dtype: CacheDtype = "float32"
    layer: str = ""

    @property
    def value_bytes(self) -> int:
        """Bytes of the values, a multiple of 8."""
        return _aligned(math.prod(self.shape) * np.dtype(self.dtype).itemsize)

    @property
    def row_bytes(self) -> int:
        """Bytes of a row, which holds nothing but values."""
        return self.value_bytes

    def encode(self, output: torch.Tensor) -> NDArray[np.uint8]:
        """Return the row of features ``[C, *spatial]``.

        Raises:
            InputError: if they are not finite, or too large for float16.
        """
        kept = output.detach().to(getattr(torch, self.dtype)).cpu()
        if not torch.isfinite(kept).all():
            raise InputError(
                f"features of the teacher's layer {self.layer!r} are NaN, Inf or too large for {self.dtype}: set "
                "cache_dtype to float32, or check the teacher's weights."
            )
        row = np.zeros(self.row_bytes, np.uint8)
        _put(row, 0, kept.numpy())
        return row

    def decode(self, values: torch.Tensor) -> torch.Tensor:
        """Return float32 features ``[n, C, *spatial]`` for ``[n, value_bytes]``, on the device where these are."""
        numbers = values.view(getattr(torch, self.dtype))[:, : math.prod(self.shape)]
        return numbers.reshape(len(values), *self.shape).float()


@dataclass(frozen=True)
class LogitsCoding:
    """Logits ``[K, *spatial]`` as a row: values first, labels after them.

    ``"float32"`` keeps every logit as it is. ``"float16"`` keeps K - 1 differences to the first logit, which softmax,
    divergence and arg-max cannot tell from the logits themselves; one class keeps its logit. Differences are rounded so
    that the arg-max stays what it was, and clipped to +-60000. Labels (arg-max; with one class, logit above
    0) take one bit with up to two classes, one byte with up to 256, else two.

    Args:
        shape: ``(K, *spatial)``.
        dtype: ``"float32"`` or ``"float16"``.

    Example:
        >>> coding = LogitsCoding((2, 1, 3), "float16")
        >>> row = torch.from_numpy(coding.encode(torch.tensor([[[0.0, 2.0, 1.0]], [[3.0, 1.0, 1.0]]])))
        >>> coding.decode(row[None, : coding.value_bytes]).tolist()  # the first logit becomes 0
        [[[[0.0, 0.0, 0.0]], [[3.0, -1.0, 0.0]]]]
        >>> coding.decode_labels(row[None, coding.value_bytes :].numpy()).tolist()
        [[[1, 0, 0]]]
    """

    shape: tuple[int, ...]
    dtype: CacheDtype = "float32"

    @property
    def value_bytes(self) -> int:
        """Bytes of the values, a multiple of 8."""
        return _aligned(self._channels * self._pixels * np.dtype(self.dtype).itemsize)

    @property
    def row_bytes(self) -> int:
        """Bytes of a row."""
        return self.value_bytes + _aligned(math.ceil(self._pixels * self._label_bits / 8))

    @property
    def _pixels(self) -> int:
        return math.prod(self.shape[1:])

    @property
    def _channels(self) -> int:
        """Number of values kept for a pixel."""
        return self.shape[0] if self.dtype == "float32" else max(1, self.shape[0] - 1)

    @property
    def _label_bits(self) -> int:
        if self.shape[0] <= 2:
            return 1
        return 8 if self.shape[0] <= 256 else 16

    def encode(self, output: torch.Tensor) -> NDArray[np.uint8]:
        """Return the row of logits ``[K, *spatial]``.

        Raises:
            InputError: if they are not finite.
        """
        if not torch.isfinite(output).all():
            raise InputError("the teacher's logits hold NaN or Inf and cannot be cached: check its weights.")
        exact = output.detach().float().cpu().numpy().reshape(self.shape[0], -1)
        labels = exact[0] > 0 if len(exact) == 1 else exact.argmax(0)
        row = np.zeros(self.row_bytes, np.uint8)
        _put(row, 0, exact if self.dtype == "float32" else _differences(exact, labels))
        _put(row, self.value_bytes, self._packed(labels))
        return row

    def _packed(self, labels: NDArray[Any]) -> NDArray[Any]:
        if self._label_bits == 1:
            return np.packbits(labels.astype(bool))
        return labels.astype(np.uint8 if self._label_bits == 8 else np.uint16)

    def decode(self, values: torch.Tensor) -> torch.Tensor:
        """Return float32 logits ``[n, K, *spatial]`` for ``[n, value_bytes]``, on the device where these are."""
        numbers = values.view(getattr(torch, self.dtype))[:, : self._channels * self._pixels]
        kept = numbers.reshape(len(values), self._channels, *self.shape[1:])
        if self._channels == self.shape[0]:
            return kept.float()
        logits = torch.zeros((len(kept), *self.shape), device=kept.device)
        logits[:, 1:] = kept
        return logits

    def decode_labels(self, stored: NDArray[np.uint8]) -> torch.Tensor:
        """Return labels ``[n, *spatial]`` for the bytes of the labels ``[n, row_bytes - value_bytes]``."""
        flat: NDArray[Any]
        if self._label_bits == 1:
            flat = np.unpackbits(stored, axis=1, count=self._pixels)
        else:
            flat = stored.view(np.uint8 if self._label_bits == 8 else np.uint16)[:, : self._pixels]
        kind = np.uint8 if self._label_bits <= 8 else np.int32
        return torch.from_numpy(flat.astype(kind)).reshape(len(stored), *self.shape[1:])

    def logits_of(self, labels: torch.Tensor) -> torch.Tensor:
        """Return logits ``[n, K, *spatial]`` whose decision is ``labels``, and which mean nothing else."""
        if self.shape[0] == 1:
            return labels.float()[:, None]
        logits = torch.zeros((len(labels), *self.shape), device=labels.device)
        if self.shape[0] == 2:
            # many times faster than scattering, and the usual case
            torch.sub(labels, 0.5, out=logits[:, 1])
        else:
            logits.scatter_(1, labels[:, None].long(), 1.0)
        return logits


def _differences(exact: NDArray[np.float32], labels: NDArray[np.integer]) -> NDArray[np.float16]:
    values = exact if len(exact) == 1 else exact[1:] - exact[:1]
    half = np.clip(values, -_LARGEST, _LARGEST).astype(np.float16)
    if len(exact) == 1:
        half[(values > 0) & (half <= 0)] = np.finfo(np.float16).smallest_subnormal
        return half
    # rounding may make the largest equal to another class, never smaller; it is raised by one step then
    decided = np.concatenate([np.zeros((1, half.shape[1]), np.float16), half]).argmax(0)
    wrong = np.flatnonzero(decided != labels)
    highest = np.maximum(half[:, wrong].max(0), np.float16(0))
    half[labels[wrong] - 1, wrong] = np.nextafter(highest, np.float16(np.inf))
    return half


def _aligned(count: int) -> int:
    return -(-count // _ALIGNMENT) * _ALIGNMENT


def _put(row: NDArray[np.uint8], start: int, values: NDArray[Any]) -> None:
    content = np.ascontiguousarray(values).reshape(-1).view(np.uint8)
    row[start : start + len(content)] = content
