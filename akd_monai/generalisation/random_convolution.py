# SPDX-License-Identifier: Apache-2.0
"""RandConv: an image convolved with a filter of random size and weights, which changes its texture and keeps its shapes."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import get_track_meta
from monai.transforms import MapTransform, RandomizableTransform
from monai.utils import convert_to_dst_type, convert_to_tensor
from torch.nn import functional

from akd_monai.errors import InputError
from akd_monai.generalisation._probability import checked_probability

__all__ = ["RandConv", "RandConvd"]

_CONVOLUTIONS = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}


class RandConv(RandomizableTransform):
    r"""Convolve an image with one random filter, and mix the result with the image.

    .. math:: \alpha x + (1 - \alpha) \, x * w, \quad w \sim \mathcal N(0, 1 / (C k^d)), \quad \alpha \sim U(0, 1)

    The filter's size :math:`k` is drawn from ``kernel_sizes``, its weights independently for each pair of the :math:`C`
    channels; the size and number of channels of the image are kept, outside of it is 0. A filter of size 1 scales the
    image, one of size 7 also blurs and sharpens it, and its sign is random, so that bright and dark may be exchanged.

    Args:
        kernel_sizes: odd sizes in pixels, of which each is as likely as another.
        mix: whether to mix the image with its convolution; without, :math:`\alpha` is 0.
        prob: probability that an image is changed.

    Raises:
        InputError: for sizes that are no odd positive integers.

    Example:
        >>> convolve = RandConv(prob=1.0).set_random_state(seed=0)
        >>> convolve(torch.rand(1, 8, 8)).shape
        torch.Size([1, 8, 8])
        >>> RandConv(kernel_sizes=[2])
        Traceback (most recent call last):
        ...
        akd_monai.errors.InputError: kernel_sizes must be odd positive integers, got [2].

    Source: Xu et al., Robust and generalizable visual representation learning via random convolutions, ICLR 2021,
    arXiv:2007.13003, sections 3.1 and 3.2 (filters of several sizes, mixing); here each image has a filter of its own,
    not each batch, and the optional consistency loss is left out. The variance is the paper's; the authors' public code
    draws with twice as much, the default of PyTorch's ``kaiming_normal_``.
    """

    def __init__(self, kernel_sizes: Sequence[int] = (1, 3, 5, 7), mix: bool = True, prob: float = 0.5) -> None:
        super().__init__(checked_probability(prob))
        sizes = list(kernel_sizes)
        if not sizes or not all(_is_odd(size) for size in sizes):
            raise InputError(f"kernel_sizes must be odd positive integers, got {sizes}.")
        self.kernel_sizes = sizes
        self.mix = mix
        self._weights: np.ndarray | None = None
        self._share = 0.0

    def randomize(self, data: Any) -> None:
        """Draw whether the image ``data``, ``[C, *spatial]``, is changed, then size, weights and share."""
        super().randomize(None)
        if not self._do_transform:
            return
        size = self.kernel_sizes[self.R.randint(len(self.kernel_sizes))]
        channels = data.shape[0]
        window = (size,) * (data.ndim - 1)
        spread = 1 / math.sqrt(channels * math.prod(window))
        self._weights = self.R.normal(0.0, spread, (channels, channels, *window))
        self._share = self.R.uniform() if self.mix else 0.0

    def __call__(self, img: torch.Tensor, randomize: bool = True) -> torch.Tensor:
        """Return the image ``[C, *spatial]`` with one to three spatial axes, changed or not."""
        image: torch.Tensor = convert_to_tensor(img, track_meta=get_track_meta())
        if randomize:
            self.randomize(image)
        if not self._do_transform or self._weights is None:
            return image
        weights = torch.as_tensor(self._weights, dtype=torch.float32, device=image.device)
        if len(weights) != len(image) or weights.ndim != image.ndim + 1:
            raise InputError(f"RandConv: the images of one item differ in shape, one is {list(image.shape)}.")
        values = convert_to_tensor(image, dtype=torch.float32, track_meta=False)
        convolved = _CONVOLUTIONS[image.ndim - 1](values[None], weights, padding=weights.shape[-1] // 2)[0]
        mixed = self._share * values + (1 - self._share) * convolved
        result: torch.Tensor = convert_to_dst_type(mixed, dst=image, dtype=torch.float32)[0]
        return result


class RandConvd(RandomizableTransform, MapTransform):
    """Dictionary form of :class:`RandConv`: one filter for all keys of an item.

    Args:
        keys: entries to change, of one shape: images, never labels.
        kernel_sizes: as in :class:`RandConv`.
        mix: as in :class:`RandConv`.
        prob: as in :class:`RandConv`.
        allow_missing_keys: whether an entry may be missing.

    Example:
        >>> convolve = RandConvd("image", prob=1.0).set_random_state(seed=0)
        >>> item = {"image": torch.rand(1, 8, 8), "label": torch.ones(1, 8, 8)}
        >>> {name: torch.equal(value, item[name]) for name, value in convolve(item).items()}
        {'image': False, 'label': True}
    """

    def __init__(
        self,
        keys: KeysCollection,
        kernel_sizes: Sequence[int] = (1, 3, 5, 7),
        mix: bool = True,
        prob: float = 0.5,
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        RandomizableTransform.__init__(self, checked_probability(prob))
        # whether an item is changed is drawn here
        self.rand_conv = RandConv(kernel_sizes, mix, prob=1.0)

    def set_random_state(self, seed: int | None = None, state: np.random.RandomState | None = None) -> RandConvd:
        """Set the states of this transform and of the one inside it."""
        super().set_random_state(seed, state)
        self.rand_conv.set_random_state(seed, state)
        return self

    def __call__(self, data: Mapping[Hashable, torch.Tensor]) -> dict[Hashable, torch.Tensor]:
        """Return the item, its keys changed or not."""
        item = dict(data)
        self.randomize(None)
        if self._do_transform and self.first_key(item) != ():
            self.rand_conv.randomize(item[self.first_key(item)])
            for key in self.key_iterator(item):
                item[key] = self.rand_conv(item[key], randomize=False)
        return item


def _is_odd(size: Any) -> bool:
    return isinstance(size, int) and not isinstance(size, bool) and size > 0 and size % 2 == 1
