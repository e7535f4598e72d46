# SPDX-License-Identifier: Apache-2.0
"""MONAI's sliding windows over a volume, slice by slice for a 2D network."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from akd_monai.deploy._steps import ANYTHING, Step

__all__ = ["INFERERS", "SliceInferer", "SlidingWindowInferer"]

_Values = NDArray[np.float32]
_Network = Callable[[_Values], _Values]
_Slices = tuple[slice, ...]
# of MONAI's inferers, without effect on values
_SILENT = ("sw_device", "device", "progress", "cache_roi_weight_map", "cpu_thresh", "buffer_steps", "buffer_dim")


@dataclass(frozen=True)
class SlidingWindowInferer(Step):
    """Run a 3D network on overlapping windows and average what they return, evenly or by a Gaussian weight."""

    roi_size: tuple[int, ...]
    sw_batch_size: int = 1
    overlap: float | tuple[float, ...] = 0.25
    mode: str = "constant"
    sigma_scale: float | tuple[float, ...] = 0.125
    cval: float = 0.0
    accepted: ClassVar = {"padding_mode": ("constant",), "with_coord": (False,), **dict.fromkeys(_SILENT, ANYTHING)}

    def __post_init__(self) -> None:
        self._check(3)

    def _check(self, sides: int) -> None:
        if not isinstance(self.roi_size, tuple) or len(self.roi_size) != sides or min(self.roi_size) < 1:
            raise ValueError(f"roi_size must have {sides} entries above 0, got {self.roi_size!r}")
        if str(self.mode) not in ("constant", "gaussian"):
            raise ValueError(f"mode must be constant or gaussian, got {self.mode!r}")
        if not all(0 <= share < 1 for share in _three(self.overlap)):
            raise ValueError(f"overlap must be at least 0 and below 1, got {self.overlap!r}")

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Return the spatial sizes of what the network is given."""
        return self.roi_size

    @property
    def window(self) -> tuple[int, int, int]:
        """Return the voxels of a window along three axes."""
        i, j, k = self.roi_size
        return i, j, k

    def as_input(self, batch: _Values) -> _Values:
        """Return windows ``[B, C, X, Y, Z]`` as the network wants them."""
        return batch

    def as_output(self, batch: _Values) -> _Values:
        """Return what the network returned as ``[B, K, X, Y, Z]``."""
        return batch

    def empty(self, shape: Sequence[int]) -> _Values:
        """Return zeros of a shape ``[K, X, Y, Z]``, in an order in memory that suits the windows."""
        return np.zeros(shape, np.float32)

    def run(self, array: _Values, network: _Network) -> _Values:
        """Return the network's output ``[K, X, Y, Z]`` for a volume ``[C, X, Y, Z]``."""
        padded, inner = _padded(array, self.window, self.cval)
        shape = padded.shape[1:]
        places = list(_windows(shape, self.window, _three(self.overlap)))
        result = self._sum(padded, places, network)
        if not _are_disjoint(places, self.window, shape):
            result /= self._sum_of_weights(shape, places)
        return result[(slice(None), *inner)]

    def inputs(self, array: _Values) -> Iterator[_Values]:
        """Yield what the network is given for a volume ``[C, X, Y, Z]``, in batches of one."""
        padded, _ = _padded(array, self.window, self.cval)
        for place in _windows(padded.shape[1:], self.window, _three(self.overlap)):
            yield self._input(padded, place)

    def _input(self, padded: _Values, place: _Slices) -> _Values:
        # one at a time: on a CPU that is as fast as a batch of them, and takes less memory
        window = padded[(slice(None), *place)][None]
        return np.ascontiguousarray(self.as_input(window))

    def _sum(self, padded: _Values, places: Sequence[_Slices], network: _Network) -> _Values:
        """Return the sum of what the network returned, weighted, over the windows."""
        weight = _weight(self.window, self.mode, _three(self.sigma_scale))
        is_plain = _are_disjoint(places, self.window, padded.shape[1:])
        result: _Values | None = None
        for place in places:
            output = self.as_output(network(self._input(padded, place)))[0]
            if result is None:
                result = self.empty((len(output), *padded.shape[1:]))
            if is_plain:
                result[(slice(None), *place)] = output
            else:
                result[(slice(None), *place)] += output * weight
        assert result is not None
        return result

    def _sum_of_weights(self, shape: Sequence[int], places: Sequence[_Slices]) -> _Values:
        weight = _weight(self.window, self.mode, _three(self.sigma_scale))
        total = np.zeros(shape, np.float32)
        for place in places:
            total[place] += weight
        return total


@dataclass(frozen=True)
class SliceInferer(SlidingWindowInferer):
    """Run a 2D network on the slices along one axis."""

    spatial_dim: int = 0

    def __post_init__(self) -> None:
        self._check(2)
        if self.spatial_dim not in (0, 1, 2):
            raise ValueError(f"spatial_dim must be 0, 1 or 2, got {self.spatial_dim!r}")

    @property
    def window(self) -> tuple[int, int, int]:
        """Return the voxels of a window: one slice thick."""
        sides = list(self.roi_size)
        sides.insert(self.spatial_dim, 1)
        i, j, k = sides
        return i, j, k

    def as_input(self, batch: _Values) -> _Values:
        """Drop the axis of the slice."""
        return batch.squeeze(self.spatial_dim + 2)

    def as_output(self, batch: _Values) -> _Values:
        """Put the axis of the slice back."""
        return np.expand_dims(batch, self.spatial_dim + 2)

    def empty(self, shape: Sequence[int]) -> _Values:
        """Return zeros of a shape ``[K, X, Y, Z]`` in which the values of a slice lie side by side."""
        axis = self.spatial_dim + 1
        sides = list(shape)
        count = sides.pop(axis)
        return np.moveaxis(np.zeros((count, *sides), np.float32), 0, axis)


def _three(value: float | Sequence[float]) -> tuple[float, ...]:
    return tuple(value) if isinstance(value, (tuple, list)) else (float(value),) * 3  # type: ignore[arg-type]


def _padded(array: _Values, window: Sequence[int], value: float) -> tuple[_Values, _Slices]:
    """Return a volume that is nowhere smaller than a window, and where the given one lies in it."""
    missing = [max(side - n, 0) for side, n in zip(window, array.shape[1:], strict=True)]
    inner = tuple(slice(gap // 2, gap // 2 + n) for gap, n in zip(missing, array.shape[1:], strict=True))
    if not any(missing):
        return array, inner
    widths = [(0, 0), *((gap // 2, gap - gap // 2) for gap in missing)]
    return np.pad(array, widths, constant_values=value), inner


def _windows(shape: Sequence[int], window: Sequence[int], overlap: Sequence[float]) -> Iterator[_Slices]:
    """Yield the windows in MONAI's order: evenly from 0 on, the last one moved back to the edge."""
    starts = []
    for n, side, share in zip(shape, window, overlap, strict=True):
        step = side if side == n else max(int(side * (1 - share)), 1)
        count = math.ceil((n - side) / step) + 1
        starts.append([min(number * step, n - side) for number in range(count)])
    for corner in itertools.product(*starts):
        yield tuple(slice(start, start + side) for start, side in zip(corner, window, strict=True))


def _are_disjoint(places: Sequence[_Slices], window: Sequence[int], shape: Sequence[int]) -> bool:
    return len(places) * math.prod(window) == math.prod(shape)


def _weight(window: Sequence[int], mode: str, scales: Sequence[float]) -> _Values:
    """Return the weight of each voxel of a window."""
    weight = np.ones(window, np.float32)
    if mode == "constant":
        return weight
    for axis, (side, scale) in enumerate(zip(window, scales, strict=True)):
        places = np.arange(side, dtype=np.float32) - np.float32((side - 1) / 2)
        curve = np.exp(places**2 / np.float32(-2 * (side * scale) ** 2))
        weight = weight * np.expand_dims(curve, [other for other in range(3) if other != axis])
    return np.maximum(weight, max(float(weight.min()), 1e-3)).astype(np.float32)


INFERERS: dict[str, type[SlidingWindowInferer]] = {kind.__name__: kind for kind in (SlidingWindowInferer, SliceInferer)}
