# SPDX-License-Identifier: Apache-2.0
"""Transforms that change values, as MONAI computes them on float32 tensors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from akd_monai.deploy._steps import Step

__all__ = [
    "INTENSITY",
    "IntensityStep",
    "NormalizeIntensity",
    "ScaleIntensity",
    "ScaleIntensityRange",
    "ScaleIntensityRangePercentiles",
]

_Values = NDArray[np.float32]
_FLOAT = (None, "float32")
# above this many voxels MONAI leaves torch.quantile for np.percentile
_MOST_BY_QUANTILE = 1_000_000


class IntensityStep(Step):
    """A step that changes the values of ``[C, X, Y, Z]``."""

    def apply(self, array: _Values) -> _Values:
        """Return the changed values."""
        raise NotImplementedError


@dataclass(frozen=True)
class ScaleIntensityRange(IntensityStep):
    """Map ``[a_min, a_max]`` to ``[b_min, b_max]`` linearly, and cut off what lies outside with ``clip``."""

    a_min: float
    a_max: float
    b_min: float | None = None
    b_max: float | None = None
    clip: bool = False
    accepted: ClassVar = {"dtype": _FLOAT}

    def apply(self, array: _Values) -> _Values:
        """Return the mapped values."""
        # the difference in double precision, as MONAI has it
        span = np.float32(self.a_max - self.a_min)
        return _mapped(array, np.float32(self.a_min), span, self.b_min, self.b_max, self.clip)


@dataclass(frozen=True)
class ScaleIntensityRangePercentiles(IntensityStep):
    """Map two percentiles of the values to ``[b_min, b_max]`` linearly."""

    lower: float
    upper: float
    b_min: float | None
    b_max: float | None
    clip: bool = False
    channel_wise: bool = False
    accepted: ClassVar = {"relative": (False,), "dtype": _FLOAT}

    def apply(self, array: _Values) -> _Values:
        """Return the mapped values."""
        if self.channel_wise:
            return np.stack([self._mapped(channel) for channel in array])
        return self._mapped(array)

    def _mapped(self, array: _Values) -> _Values:
        low, high = _percentiles(array, self.lower, self.upper)
        return _mapped(array, low, high - low, self.b_min, self.b_max, self.clip)


@dataclass(frozen=True)
class ScaleIntensity(IntensityStep):
    """Map the least and the largest value to ``[minv, maxv]`` linearly."""

    minv: float = 0.0
    maxv: float = 1.0
    channel_wise: bool = False
    accepted: ClassVar = {"factor": (None,), "dtype": _FLOAT}

    def apply(self, array: _Values) -> _Values:
        """Return the mapped values."""
        if self.channel_wise:
            return np.stack([self._mapped(channel) for channel in array])
        return self._mapped(array)

    def _mapped(self, array: _Values) -> _Values:
        low = array.min()
        high = array.max()
        if low == high:
            return _plain(array * np.float32(self.minv))
        norm = (array - low) / (high - low)
        return _plain(norm * np.float32(self.maxv - self.minv) + np.float32(self.minv))


@dataclass(frozen=True)
class NormalizeIntensity(IntensityStep):
    """Subtract the mean and divide by the standard deviation, of the voxels above or below 0 alone with ``nonzero``."""

    subtrahend: float | tuple[float, ...] | None = None
    divisor: float | tuple[float, ...] | None = None
    nonzero: bool = False
    channel_wise: bool = False
    accepted: ClassVar = {"dtype": _FLOAT}

    def __post_init__(self) -> None:
        for value in (self.subtrahend, self.divisor):
            if isinstance(value, tuple) and not self.channel_wise:
                raise ValueError("a number for each channel needs channel_wise")
            if isinstance(value, (int, float)) and self.channel_wise:
                raise ValueError("channel_wise needs a number for each channel")

    def apply(self, array: _Values) -> _Values:
        """Return the normalised values."""
        if not self.channel_wise:
            return _normalised(array, self.subtrahend, self.divisor, self.nonzero)
        channels = []
        for number, channel in enumerate(array):
            sub = self.subtrahend[number] if isinstance(self.subtrahend, tuple) else None
            div = self.divisor[number] if isinstance(self.divisor, tuple) else None
            channels.append(_normalised(channel, sub, div, self.nonzero))
        return np.stack(channels)


def _plain(values: Any) -> _Values:
    return np.asarray(values, np.float32)


def _mapped(array: _Values, low: Any, span: Any, b_min: float | None, b_max: float | None, clip: bool) -> _Values:
    result: _Values = array - low
    if span == 0:
        return result if b_min is None else result + np.float32(b_min)
    result /= span
    if b_min is not None and b_max is not None:
        result *= np.float32(b_max - b_min)
        result += np.float32(b_min)
    if clip:
        np.clip(result, b_min, b_max, out=result)
    return result


def _percentiles(array: _Values, lower: float, upper: float) -> tuple[np.float32, np.float32]:
    if array.size > _MOST_BY_QUANTILE:
        low, high = np.percentile(array, np.array([lower, upper]))
        return np.float32(low), np.float32(high)
    # as torch.quantile: ranks in single precision
    last = np.float32(array.size - 1)
    ranks = [np.float32(q / 100) * last for q in (lower, upper)]
    below = [int(rank) for rank in ranks]
    above = [min(k + 1, array.size - 1) for k in below]
    ordered = np.partition(array.ravel(order="K"), sorted({*below, *above}))
    found = []
    for rank, k, next_k in zip(ranks, below, above, strict=True):
        found.append(_between(ordered[k], ordered[next_k], rank - np.float32(k)))
    return found[0], found[1]


def _between(low: np.float32, high: np.float32, weight: np.float32) -> np.float32:
    # as torch.lerp
    if weight < 0.5:
        return np.float32(low + weight * (high - low))
    return np.float32(high - (high - low) * (1 - weight))


def _normalised(array: _Values, sub: Any, div: Any, nonzero: bool) -> _Values:
    chosen = array != 0 if nonzero else None
    if chosen is not None and not chosen.any():
        return array
    values = array if chosen is None else array[chosen]
    # in double precision: single sums depend on the order
    mean = np.float32(values.mean(dtype=np.float64) if sub is None else sub)
    spread = np.float32(values.std(dtype=np.float64) if div is None else div)
    if spread == 0:
        spread = np.float32(1)
    result: _Values = array - mean if chosen is None else array.copy()
    if chosen is None:
        result /= spread
        return result
    result[chosen] = (values - mean) / spread
    return result


INTENSITY: dict[str, type[IntensityStep]] = {
    kind.__name__: kind
    for kind in (ScaleIntensityRange, ScaleIntensityRangePercentiles, ScaleIntensity, NormalizeIntensity)
}
