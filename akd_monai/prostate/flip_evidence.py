# SPDX-License-Identifier: Apache-2.0
"""How well a mask fits its image, compared with the same mask mirrored.

Two signs are weighed, as log-likelihood ratios (positive: the mask fits as it is, negative: it fits better mirrored; 4 is
strong):

* the outline of the right mask lies on edges of the image;
* the gland is wider towards the back, and its centre moves forwards on the way up. On the 50 expert masks of the
  NCI-ISBI 2013 training set the first holds in 94 %, the second in 88 %.

Mirroring front to back acts on all of these; mirroring foot to head reverses the lean and moves the outline. Left and right
are too alike to tell. The signs are weak for pieces of a few slices and for the slice axis, so the result is a reason to
check a case, never to change anything.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from akd_monai.data.geometry import Array, spacing_of, turned_to

__all__ = ["flip_evidence"]

# Mean and standard deviation over those 50 masks: how far the centre lies behind the middle (mm), and how far it moves
# back on the way up (mm a mm).
_BACK_OFFSET_MM = (0.71, 0.63)
_FORWARD_SLOPE = (-0.17, 0.175)
# Log ratio of edge strength, as it is to mirrored, over 15 pairs of image and mask from two sites.
_EDGES_BACK = (0.35, 0.25)
_EDGES_UP = (0.10, 0.12)
# No single sign decides alone.
_LIMIT = 4.0
_MIN_SLICES = 4


def flip_evidence(image: NDArray[Any], mask: NDArray[Any], affine: Array) -> dict[str, float]:
    """Compare a mask with its mirror images along the front-back (``"P"``) and the foot-head axis (``"S"``).

    Args:
        image: grey values ``[i, j, k]``.
        mask: gland where above 0, same shape.
        affine: the common grid, 4x4 in mm, RAS; both are turned to LPS by it.

    Returns:
        Log-likelihood ratios within -12 and 12 (front-back) or -8 and 8 (foot-head), 0 where nothing can be said (no
        gland, fewer than 4 slices of it).

    Example:
        >>> empty = np.zeros((8, 8, 6))
        >>> flip_evidence(empty, empty, np.diag([-0.5, -0.5, 3.0, 1.0]))
        {'P': 0.0, 'S': 0.0}
    """
    gland, grid, _ = turned_to(np.asarray(mask) > 0, affine, "LPS")
    grey, _, _ = turned_to(np.asarray(image, dtype=np.float32), affine, "LPS")
    slices = np.flatnonzero(gland.any(axis=(0, 1)))
    if len(slices) < _MIN_SLICES or gland.all():
        return {"P": 0.0, "S": 0.0}
    spacing = spacing_of(grid)
    edges = _edge_strength(grey, spacing[0])
    as_it_is = _on_outline(edges, gland)
    back, slope = _shape_signs(gland, spacing, slices)
    # Mirroring front to back reverses the lean as well.
    lean = _ratio(slope, _FORWARD_SLOPE)
    edges_back = _ratio(_log_ratio(as_it_is, _on_outline(edges, gland[:, ::-1])), _EDGES_BACK)
    edges_up = _ratio(_log_ratio(as_it_is, _on_outline(edges, gland[:, :, ::-1])), _EDGES_UP)
    return {"P": lean + _ratio(back, _BACK_OFFSET_MM) + edges_back, "S": lean + edges_up}


def _ratio(value: float, normal: tuple[float, float]) -> float:
    """Log ratio of N(mean, sd) to N(-mean, sd) at ``value``, bounded."""
    mean, sd = normal
    return float(np.clip(2 * mean * value / sd**2, -_LIMIT, _LIMIT))


def _log_ratio(as_it_is: float, mirrored: float) -> float:
    return float(np.log((as_it_is + 1e-6) / (mirrored + 1e-6)))


def _edge_strength(grey: NDArray[Any], spacing_mm: float) -> NDArray[Any]:
    """In-plane gradient vectors ``[2, i, j, k]`` at a scale of 1 mm, free of the brightest and darkest percent.

    They are relative to the grey level within about 8 mm, so that what an endorectal coil lights up does not decide.
    """
    from scipy import ndimage

    finite = grey[np.isfinite(grey)]
    low, high = np.percentile(finite, [1, 99]) if finite.size else (0.0, 0.0)
    sigma = 1.0 / max(spacing_mm, 1e-3)
    smooth = ndimage.gaussian_filter(np.clip(np.nan_to_num(grey), low, high), (sigma, sigma, 0))
    level = ndimage.gaussian_filter(smooth - low, (8 * sigma, 8 * sigma, 0))
    gradient = np.stack(np.gradient(smooth, axis=(0, 1)))
    return np.asarray(gradient / np.maximum(level + 0.1 * level.mean(), 1e-6))


def _on_outline(edges: NDArray[Any], gland: NDArray[np.bool_]) -> float:
    """Mean edge strength across the outline of ``gland``."""
    from scipy import ndimage

    smooth = ndimage.gaussian_filter(gland.astype(np.float32), (2, 2, 0))
    outward = np.stack(np.gradient(smooth, axis=(0, 1)))
    length = np.sqrt((outward**2).sum(axis=0))
    in_plane_cross = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], dtype=bool)[..., None]
    inner = ndimage.binary_erosion(gland, structure=in_plane_cross)
    outline = gland & ~inner & (length > 1e-6)
    if not outline.any():
        return 0.0
    across = np.abs((edges * outward).sum(axis=0))
    return float((across[outline] / length[outline]).mean())


def _shape_signs(
    gland: NDArray[np.bool_], spacing: tuple[float, float, float], slices: NDArray[np.intp]
) -> tuple[float, float]:
    """Return how far (mm) the centre lies behind the middle, and how far (mm a mm) it moves back on the way up."""
    centres = []
    offsets = []
    for index in slices:
        rows = np.nonzero(gland[:, :, index])[1] * spacing[1]
        centres.append(rows.mean())
        offsets.append(rows.mean() - (rows.min() + rows.max()) / 2)
    slope = np.polyfit(slices * spacing[2], centres, 1)[0]
    return float(np.mean(offsets)), float(slope)
