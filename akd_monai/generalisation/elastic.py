# SPDX-License-Identifier: Apache-2.0
"""Smooth random deformations whose size in pixels is known, for slices and for volumes."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, RandomizableTransform, Resample
from monai.transforms.utils import create_grid
from monai.utils import ensure_tuple_rep
from scipy import ndimage

from akd_monai.errors import InputError
from akd_monai.generalisation._probability import checked_probability

__all__ = ["RandElasticd"]


class RandElasticd(RandomizableTransform, MapTransform):
    r"""Deform image and label by noise that a Gaussian has smoothed.

    The displacement along each axis is stationary noise with the standard deviation :math:`s \sim U` of ``spread_range``,
    in pixels, smoothed by a Gaussian of :math:`\sigma \sim U` of ``sigma_range``, in pixels. It is periodic, so that it
    is as large at the border as in the middle, and a spread of 0 changes nothing; MONAI's ``Rand2DElasticd`` deforms
    also with a magnitude of 0, since it interpolates the coordinates themselves.

    Args:
        keys: entries ``[C, *spatial]`` of one size, with two or three spatial axes; all are deformed alike.
        sigma_range: of the Gaussian, above 0.
        spread_range: of the standard deviation of the displacement, at least 0.
        prob: probability that an item is deformed.
        mode: interpolation, for all keys or one for each: ``"bilinear"`` or ``"nearest"``.
        padding_mode: values from outside, for all keys or one for each: ``"border"``, ``"zeros"`` or ``"reflection"``.
        allow_missing_keys: whether an entry may be missing.

    Raises:
        InputError: for ranges that are no pairs in increasing order, or reach below what they may.

    Example:
        >>> item = {"image": torch.rand(1, 32, 32), "label": torch.ones(1, 32, 32)}
        >>> deform = RandElasticd(["image", "label"], prob=1.0, mode=["bilinear", "nearest"]).set_random_state(seed=0)
        >>> {name: tuple(value.shape) for name, value in deform(item).items()}
        {'image': (1, 32, 32), 'label': (1, 32, 32)}

    Source: Simard, Steinkraus and Platt, Best practices for convolutional neural networks applied to visual document
    analysis, ICDAR 2003, section 2, with a known spread.
    """

    def __init__(
        self,
        keys: KeysCollection,
        sigma_range: Sequence[float] = (10.0, 13.0),
        spread_range: Sequence[float] = (0.0, 2.2),
        prob: float = 0.5,
        mode: Sequence[str] | str = "bilinear",
        padding_mode: Sequence[str] | str = "border",
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        RandomizableTransform.__init__(self, checked_probability(prob))
        self.sigma_range = _pair("sigma_range", sigma_range, 1e-6)
        self.spread_range = _pair("spread_range", spread_range, 0.0)
        self.mode = ensure_tuple_rep(mode, len(self.keys))
        self.padding_mode = ensure_tuple_rep(padding_mode, len(self.keys))
        self._resample = Resample()
        self._displacement: np.ndarray | None = None

    def randomize(self, data: Any) -> None:
        """Draw whether items of the spatial size ``data`` are deformed, and by what."""
        super().randomize(None)
        if not self._do_transform:
            return
        sigma = self.R.uniform(*self.sigma_range)
        spread = self.R.uniform(*self.spread_range)
        noise = self.R.normal(size=(len(data), *data))
        # the Gaussian as a function of frequency; by Parseval, its mean square is the variance that it leaves of noise
        transfer = ndimage.fourier_gaussian(np.ones(data), sigma)
        axes = tuple(range(1, noise.ndim))
        smooth = np.fft.ifftn(np.fft.fftn(noise, axes=axes) * transfer, axes=axes).real
        self._displacement = spread / np.sqrt((transfer**2).mean()) * smooth

    def __call__(self, data: Mapping[Hashable, torch.Tensor]) -> dict[Hashable, torch.Tensor]:
        """Return the item, its keys deformed or not."""
        item = dict(data)
        first = self.first_key(item)
        if first == ():
            return item
        size = tuple(item[first].shape[1:])
        self.randomize(size)
        if not self._do_transform or self._displacement is None:
            return item
        grid = torch.as_tensor(create_grid(size, backend="torch", dtype=torch.float32))
        grid[: len(size)] += torch.from_numpy(self._displacement).to(grid)
        for key, mode, padding_mode in self.key_iterator(item, self.mode, self.padding_mode):
            item[key] = self._resample(item[key], grid, mode=mode, padding_mode=padding_mode)
        return item


def _pair(name: str, given: Sequence[float], least: float) -> tuple[float, float]:
    values = tuple(given)
    if len(values) != 2 or not least <= values[0] <= values[1] < float("inf"):
        bound = "above 0" if least else "of at least 0"
        raise InputError(f"{name} must be two numbers {bound}, the smaller first, got {list(values)}.")
    return float(values[0]), float(values[1])
