# SPDX-License-Identifier: Apache-2.0
"""Which of the eight views of a slice an image is."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from akd_monai.data.views import VIEWS


def find_view(before: torch.Tensor, after: torch.Tensor) -> int:
    """Return the first view of ``before`` that equals ``after`` in every value, -1 if none does.

    Views are those of :func:`~akd_monai.data.views.apply_view`. Where several agree, the image is symmetric, and what a
    network makes of it is the same in all of them.

    Example:
        >>> from akd_monai.data.views import apply_view
        >>> image = torch.arange(6.0).reshape(1, 2, 3)
        >>> find_view(image, apply_view(image, 7)), find_view(image, image + 1)
        (7, -1)
    """
    old, new = before.numpy(), after.numpy()
    for view in range(VIEWS):
        candidate = _view(old, view)
        if candidate.shape == new.shape and np.array_equal(candidate[..., :1, :], new[..., :1, :]):  # noqa: SIM102
            if np.array_equal(candidate, new):
                return view
    return -1


def _view(image: NDArray, view: int) -> NDArray:
    # nothing is copied, so that only a candidate whose first line agrees costs more than that line
    return np.rot90(np.flip(image, -2) if view >= 4 else image, view % 4, (-2, -1))
