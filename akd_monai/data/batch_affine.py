# SPDX-License-Identifier: Apache-2.0
"""Random rotations, zooms and shifts of a whole batch of slices at once, on its device."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import torch
from monai.networks.layers import AffineTransform
from monai.transforms.utils import create_rotate, create_scale, create_translate

from akd_monai.errors import InputError, check_mapping


@dataclass(frozen=True)
class BatchAffine:
    """Rotate, zoom and shift slices about their middle, as MONAI's ``RandAffined`` does with the same ranges.

    What lies outside a slice is filled with its border.

    Args:
        prob: share of the slices that are changed, 0 to 1.
        rotate_range: largest angle either way, radians.
        scale_range: largest change of the scale either way, as a share, below 1.
        translate_range: largest shift either way along each axis, pixels.

    Raises:
        InputError: for a number out of its range.

    Example:
        >>> shift = BatchAffine(prob=1.0, translate_range=1.0)
        >>> matrices = [torch.tensor([[1.0, 0, 0], [0, 1, 1], [0, 0, 1]]), None]  # one pixel along W
        >>> shift.apply(torch.arange(3.0).expand(2, 1, 2, 3), matrices, "bilinear")[:, 0, 0].tolist()
        [[1.0, 2.0, 2.0], [0.0, 1.0, 2.0]]
    """

    prob: float = 0.5
    rotate_range: float = 0.0
    scale_range: float = 0.0
    translate_range: float = 0.0

    def __post_init__(self) -> None:
        limits = {"prob": 1.0, "rotate_range": float("inf"), "scale_range": 0.999, "translate_range": float("inf")}
        for name, value in asdict(self).items():
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not number or not 0 <= value <= limits[name] or value == float("inf"):
                raise InputError(f"{name} of affine must be a number of 0 to {limits[name]:g}, got {value!r}.")

    @classmethod
    def read(cls, given: BatchAffine | Mapping[str, Any] | None) -> BatchAffine | None:
        """Return what a config gives as a mapping.

        Raises:
            UnknownNameError: for a name that is no field.
        """
        if given is None or isinstance(given, BatchAffine):
            return given
        return cls(**check_mapping("affine", given, [field.name for field in fields(cls)]))

    def draw(self, key: int) -> torch.Tensor | None:
        """Return the matrix ``[3, 3]`` that takes a place in the result to one in the slice, or ``None`` for no change.

        It works on pixels counted from the middle and is a function of ``key`` alone.
        """
        generator = random.Random(key)
        if generator.random() >= self.prob:
            return None
        angle = generator.uniform(-self.rotate_range, self.rotate_range)
        shift = [generator.uniform(-self.translate_range, self.translate_range) for _ in range(2)]
        scale = [1 + generator.uniform(-self.scale_range, self.scale_range) for _ in range(2)]
        matrix = np.asarray(create_rotate(2, angle)) @ create_translate(2, shift) @ create_scale(2, scale)
        return torch.from_numpy(matrix)

    def apply(self, maps: torch.Tensor, matrices: Sequence[torch.Tensor | None], mode: str) -> torch.Tensor:
        """Return ``[B, C, H, W]`` with each sample changed by its matrix; those without one keep every bit.

        Args:
            maps: float32.
            matrices: one for each sample, on the CPU.
            mode: ``"bilinear"`` or ``"nearest"``.
        """
        chosen = [number for number, matrix in enumerate(matrices) if matrix is not None]
        if not chosen:
            return maps
        # Zero-centred coordinates of AffineTransform stretch a shift by (N - 1) / N or so; pixels from the corner do not.
        middle = [(side - 1) / 2 for side in maps.shape[-2:]]
        there, back = (torch.as_tensor(np.asarray(create_translate(2, m))) for m in (middle, [-m for m in middle]))
        theta = torch.stack([there @ matrix.double() @ back for matrix in matrices if matrix is not None])
        warp = AffineTransform(mode=mode, padding_mode="border", align_corners=False, zero_centered=False)
        result = maps.clone()
        result[chosen] = warp(maps[chosen], theta.float().to(maps.device))
        return result
