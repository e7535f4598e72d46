# SPDX-License-Identifier: Apache-2.0
"""How logits of channels that may overlap become rows of bytes, and how they are read back."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from akd_monai.errors import InputError
from akd_monai.teachers._coding import CacheDtype, _aligned, _put

__all__ = ["SigmoidCoding"]

# The largest half: a sigmoid is 0 or 1 long before.
_LARGEST = 65504.0


@dataclass(frozen=True)
class SigmoidCoding:
    """Logits ``[K, *spatial]`` of sigmoid channels as a row: values first, decisions after them.

    Every channel is kept, unlike those of a softmax, of which one follows from the others. ``"float16"`` rounds a logit
    to half precision, clipped to +-65504, by less than 1 part in 2048 (and by less than 6.0e-8 below 6.1e-5), so that a
    probability changes by less than 1.1e-4; what is above 0 stays above 0. Decisions, logit above 0, take one bit a
    channel.

    Args:
        shape: ``(K, *spatial)``.
        dtype: ``"float32"`` or ``"float16"``.

    Example:
        >>> coding = SigmoidCoding((2, 1, 3), "float16")
        >>> row = torch.from_numpy(coding.encode(torch.tensor([[[0.0, 2.0, 1.0]], [[3.0, -1.0, 1.0]]])))
        >>> coding.decode(row[None, : coding.value_bytes]).tolist()
        [[[[0.0, 2.0, 1.0]], [[3.0, -1.0, 1.0]]]]
        >>> coding.decode_labels(row[None, coding.value_bytes :].numpy()).tolist()
        [[[[0, 1, 1]], [[1, 0, 1]]]]
    """

    shape: tuple[int, ...]
    dtype: CacheDtype = "float32"

    @property
    def value_bytes(self) -> int:
        """Bytes of the values, a multiple of 8."""
        return _aligned(math.prod(self.shape) * np.dtype(self.dtype).itemsize)

    @property
    def row_bytes(self) -> int:
        """Bytes of a row."""
        return self.value_bytes + _aligned(math.ceil(math.prod(self.shape) / 8))

    def encode(self, output: torch.Tensor) -> NDArray[np.uint8]:
        """Return the row of logits ``[K, *spatial]``.

        Raises:
            InputError: if they are not finite.
        """
        if not torch.isfinite(output).all():
            raise InputError("the teacher's logits hold NaN or Inf and cannot be cached: check its weights.")
        exact = output.detach().float().cpu().numpy()
        row = np.zeros(self.row_bytes, np.uint8)
        _put(row, 0, exact if self.dtype == "float32" else _halves(exact))
        _put(row, self.value_bytes, np.packbits(exact.reshape(-1) > 0))
        return row

    def decode(self, values: torch.Tensor) -> torch.Tensor:
        """Return float32 logits ``[n, K, *spatial]`` for ``[n, value_bytes]``, on the device where these are."""
        numbers = values.view(getattr(torch, self.dtype))[:, : math.prod(self.shape)]
        return numbers.reshape(len(values), *self.shape).float()

    def decode_labels(self, stored: NDArray[np.uint8]) -> torch.Tensor:
        """Return decisions ``[n, K, *spatial]`` for their bytes ``[n, row_bytes - value_bytes]``."""
        flat = np.unpackbits(stored, axis=1, count=math.prod(self.shape))
        return torch.from_numpy(flat).reshape(len(stored), *self.shape)

    def logits_of(self, labels: torch.Tensor) -> torch.Tensor:
        """Return logits ``[n, K, *spatial]`` whose signs are ``labels``, and which mean nothing else."""
        return labels.float() - 0.5


def _halves(exact: NDArray[np.float32]) -> NDArray[np.float16]:
    half = np.clip(exact, -_LARGEST, _LARGEST).astype(np.float16)
    half[(exact > 0) & (half <= 0)] = np.finfo(np.float16).smallest_subnormal
    return half
