# SPDX-License-Identifier: Apache-2.0
"""Change the in-plane grid of a volume: a square field of view, fewer or more pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from akd_monai.data.geometry import Array, shifted, spacing_of

__all__ = ["resized", "squared"]


def squared(array: NDArray[Any], affine: Array, width_mm: float | None = None) -> tuple[NDArray[Any], Array]:
    """Crop or pad the first two axes about their centre to a square of ``width_mm``; padding takes the darkest value.

    :class:`monai.transforms.ResizeWithPadOrCrop` is not used: where an odd number of pixels becomes a smaller even one,
    it starts one pixel earlier, and folders that were prepared before would change.

    Args:
        array: ``[i, j, k]``.
        affine: its grid.
        width_mm: side of the square; ``None`` takes the longer side, so that nothing is cut off.

    Example:
        >>> squared(np.ones((4, 6, 1)), np.diag([2.0, 2.0, 3.0, 1.0]))[0].shape
        (6, 6, 1)
    """
    spacing = spacing_of(affine)[:2]
    width = width_mm or max(n * mm for n, mm in zip(array.shape[:2], spacing, strict=True))
    darkest = array.min()
    # The first pixel of the square, in pixels of the old grid; negative where padding is needed.
    start = [0, 0, 0]
    for axis in (0, 1):
        old = array.shape[axis]
        new = max(1, round(width / spacing[axis]))
        start[axis] = -((new - old) // 2)
        array = _cut_or_padded(array, axis, start[axis], new, darkest)
    return array, shifted(affine, start)


def _cut_or_padded(array: NDArray[Any], axis: int, start: int, size: int, outside: Any) -> NDArray[Any]:
    """Return ``size`` pixels along an axis from ``start`` on; those that do not exist take the value ``outside``."""
    end = start + size
    count = array.shape[axis]
    kept = np.take(array, range(max(0, start), min(count, end)), axis=axis)
    widths = [(0, 0)] * array.ndim
    widths[axis] = (max(0, -start), max(0, end - count))
    return np.pad(kept, widths, constant_values=outside)


def resized(array: NDArray[Any], affine: Array, size: int, *, is_label: bool = False) -> tuple[NDArray[Any], Array]:
    """Resample the first two axes to ``size`` pixels over the same physical extent: linear, or nearest for labels.

    Returns:
        The array in its old type (integers are rounded) and the new affine.

    Example:
        >>> values, grid = resized(np.ones((4, 4, 2), dtype=np.int16), np.diag([1.0, 1.0, 3.0, 1.0]), 8)
        >>> values.shape, spacing_of(grid)
        ((8, 8, 2), (0.5, 0.5, 3.0))
    """
    # Both take seconds to import, and most calls keep the acquired grid.
    import torch
    from monai.data import MetaTensor
    from monai.transforms import Resize

    smaller = size < max(array.shape[:2])
    resize = Resize(
        (size, size, array.shape[2]),
        mode="nearest-exact" if is_label else "trilinear",
        anti_aliasing=smaller and not is_label,
    )
    voxels = torch.from_numpy(array[None].astype(np.float32))
    result: Any = resize(MetaTensor(voxels, affine=torch.from_numpy(np.array(affine, dtype=float))))
    values = result.numpy()[0]
    if np.issubdtype(array.dtype, np.integer):
        values = np.rint(values)
    return values.astype(array.dtype), result.affine.numpy()
