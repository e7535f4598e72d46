# SPDX-License-Identifier: Apache-2.0
"""The eight views of a square slice, flips and quarter turns, for a whole batch at once on any device."""

from __future__ import annotations

from collections.abc import Sequence

import torch

VIEWS = 8


def apply_view(values: torch.Tensor, view: int) -> torch.Tensor:
    """Return view 0 to 7 of ``[..., H, W]``: flipped along H if ``view >= 4``, then turned by ``view % 4`` quarters.

    Equal to ``torch.rot90(values.flip(-2) if view >= 4 else values, view % 4, (-2, -1))``, in one pass. View 0 is the
    map as it is; the result may share its memory.

    Example:
        >>> slice_ = torch.tensor([[1, 2], [3, 4]])
        >>> apply_view(slice_, 1).tolist(), apply_view(slice_, 4).tolist()
        ([[2, 4], [1, 3]], [[3, 4], [1, 2]])
    """
    turns = view % 4
    # A turn by k is one flip of each axis at most, then for odd k a transposition.
    axes = {axis for axis, odd in ((-2, (view >= 4) != (turns in (2, 3))), (-1, turns in (1, 2))) if odd}
    turned = values.flip(sorted(axes)) if axes else values
    return turned.transpose(-2, -1) if turns % 2 else turned


def apply_views(batch: torch.Tensor, views: torch.Tensor | Sequence[int], dtype: torch.dtype) -> torch.Tensor:
    """Return ``[B, C, H, W]`` as ``dtype`` with each sample in its own view, as new memory on the same device.

    Args:
        batch: square maps of any type.
        views: ``[B]``, 0 to 7; on the CPU, so that no device has to be waited for.
        dtype: of the result.
    """
    result = torch.empty_like(batch, dtype=dtype, memory_format=torch.contiguous_format)
    for sample, view, target in zip(batch, [int(view) for view in views], result, strict=True):
        target.copy_(apply_view(sample, view))
    return result
