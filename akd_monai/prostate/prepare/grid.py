# SPDX-License-Identifier: Apache-2.0
"""Change the in-plane grid of image and label together: square view, fewer or more pixels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from akd_monai.data.geometry import Array, shifted, spacing_of


def square_view(array: NDArray, affine: Array, width_mm: float | None = None) -> tuple[NDArray, Array]:
    """Crop or pad the first two axes about their centre to a square of ``width_mm``; padding takes the darkest value.

    Args:
        array: ``[i, j, k]``.
        affine: its grid.
        width_mm: side of the square; ``None`` takes the longer side, so that nothing is cut off.

    Example:
        >>> square_view(np.ones((4, 6, 1)), np.diag([2.0, 2.0, 3.0, 1.0]))[0].shape
        (6, 6, 1)
    """
    spacing = spacing_of(affine)[:2]
    width = width_mm or max(n * mm for n, mm in zip(array.shape[:2], spacing, strict=True))
    target = [max(1, round(width / mm)) for mm in spacing]
    # Negative: voxels cut off before the first kept one; positive: voxels added before it.
    before = [int(np.floor((t - n) / 2)) for t, n in zip(target, array.shape[:2], strict=True)]
    after = [t - n - b for t, n, b in zip(target, array.shape[:2], before, strict=True)]
    kept = array[
        tuple(slice(max(0, -b), n - max(0, -a)) for b, a, n in zip(before, after, array.shape[:2], strict=True))
    ]
    widths = [(max(0, b), max(0, a)) for b, a in zip(before, after, strict=True)]
    padded = np.pad(kept, [*widths, (0, 0)], constant_values=array.min())
    return padded, shifted(affine, [-before[0], -before[1], 0])


def resized(array: NDArray, affine: Array, size: int, *, is_label: bool = False) -> tuple[NDArray, Array]:
    """Resample the first two axes to ``size`` pixels over the same physical extent: linear, or nearest for labels.

    Returns:
        The array in its old type (whole numbers are rounded) and the new affine.

    Example:
        >>> values, grid = resized(np.ones((4, 4, 2), dtype=np.int16), np.diag([1.0, 1.0, 3.0, 1.0]), 8)
        >>> values.shape, spacing_of(grid)
        ((8, 8, 2), (0.5, 0.5, 3.0))
    """
    import torch
    from monai.data import MetaTensor
    from monai.transforms import Resize

    smaller = size < max(array.shape[:2])
    resize = Resize(
        (size, size, array.shape[2]),
        mode="nearest-exact" if is_label else "trilinear",
        anti_aliasing=smaller and not is_label,
    )
    tensor = MetaTensor(torch.from_numpy(array[None].astype(np.float32)), affine=torch.from_numpy(np.array(affine)))
    values = resize(tensor).numpy()[0]
    if np.issubdtype(array.dtype, np.integer):
        values = np.rint(values)
    # Voxel centres: the outer edges of both grids coincide.
    ratio = np.array([*(n / size for n in array.shape[:2]), 1.0])
    grid = shifted(affine, (ratio - 1) / 2) @ np.diag([*ratio, 1.0])
    return values.astype(array.dtype), grid
