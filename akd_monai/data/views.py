# SPDX-License-Identifier: Apache-2.0
"""The eight views of a slice: flips and quarter turns, numbered 0 to 7."""

from __future__ import annotations

import numpy as np
import torch

__all__ = ["VIEWS", "apply_view", "find_view"]

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
    flipped, transposed = _moves(view)
    moved = values.flip(flipped) if flipped else values
    return moved.transpose(-2, -1) if transposed else moved


def find_view(before: torch.Tensor, after: torch.Tensor) -> int:
    """Return the first view of ``before`` that equals ``after`` in every value, -1 if none does.

    Where several agree, the image is symmetric, and so is the result of a network for it.

    Args:
        before: ``[..., H, W]`` on the CPU.
        after: likewise, ``[..., H, W]`` or ``[..., W, H]``.

    Example:
        >>> image = torch.arange(6.0).reshape(1, 2, 3)
        >>> find_view(image, apply_view(image, 7)), find_view(image, image + 1)
        (7, -1)
    """
    old = before.numpy()
    new = after.numpy()
    for view in range(VIEWS):
        # NumPy flips without a copy, so that only a candidate whose first line agrees costs more than that line
        flipped, transposed = _moves(view)
        candidate = np.flip(old, flipped)
        if transposed:
            candidate = candidate.swapaxes(-2, -1)
        first_line_agrees = np.array_equal(candidate[..., :1, :], new[..., :1, :])
        if first_line_agrees and np.array_equal(candidate, new):
            return view
    return -1


def _moves(view: int) -> tuple[tuple[int, ...], bool]:
    """Return the axes to flip for a view, and whether the last two axes are exchanged afterwards."""
    # A turn by k is at most one flip of each axis, then for odd k a transposition.
    turns = view % 4
    flip_rows = (view >= 4) != (turns in (2, 3))
    flip_columns = turns in (1, 2)
    axes = [axis for axis, flip in ((-2, flip_rows), (-1, flip_columns)) if flip]
    return tuple(axes), turns % 2 == 1
