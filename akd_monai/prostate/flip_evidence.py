# SPDX-License-Identifier: Apache-2.0
"""How well a mask fits its image as it is, compared with the same mask turned over.

Two signs are weighed, as log-likelihood ratios (positive: as it is, negative: turned over; 4 is strong):

* the outline of the right mask lies on edges of the image;
* the gland is wider towards the back, and its centre moves forwards on the way up. On the 50 expert masks of the
  NCI-ISBI 2013 training set the first holds in 94 %, the second in 88 %.

Turning front to back acts on all of these; turning foot to head reverses the lean and moves the outline. Left and right
are too alike to tell. The signs are weak for pieces of a few slices and for the slice axis, so the result is a reason to
look, never to change anything.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from akd_monai.data.geometry import Array, spacing_of, turned_to

# Mean and standard deviation over those 50 masks.
_BACK_OFFSET_MM = (0.71, 0.63)
_FORWARD_SLOPE = (-0.17, 0.175)
# Log ratio of edge strength, as it is to turned over, over 15 pairs of image and mask from two sites.
_EDGE_AP = (0.35, 0.25)
_EDGE_IS = (0.10, 0.12)
_LIMIT = 4.0
_MIN_SLICES = 4


def flip_evidence(image: NDArray, mask: NDArray, affine: Array) -> dict[str, float]:
    """Weigh a mask against its mirror images along the front-back (``"P"``) and the foot-head axis (``"S"``).

    Args:
        image: grey values ``[i, j, k]``.
        mask: gland where above 0, same shape.
        affine: the common grid; both are turned to LPS by it.

    Returns:
        Log-likelihood ratios within -12 and 12 (front-back) or -8 and 8 (foot-head), 0 where nothing can be said (no
        gland, fewer than 4 slices of it).
    """
    gland, grid, _ = turned_to(np.asarray(mask) > 0, affine, "LPS")
    grey, _, _ = turned_to(np.asarray(image, dtype=np.float32), affine, "LPS")
    slices = np.flatnonzero(gland.any(axis=(0, 1)))
    if len(slices) < _MIN_SLICES or gland.all():
        return {"P": 0.0, "S": 0.0}
    edges = _edge_strength(grey, spacing_of(grid)[0])
    upright = _on_outline(edges, gland)
    back, slope = _shape_signs(gland, spacing_of(grid), slices)
    # Turning front to back reverses the lean as well.
    lean = _ratio(slope, _FORWARD_SLOPE)
    return {
        "P": lean + _ratio(back, _BACK_OFFSET_MM) + _ratio(_log(upright, _on_outline(edges, gland[:, ::-1])), _EDGE_AP),
        "S": lean + _ratio(_log(upright, _on_outline(edges, gland[:, :, ::-1])), _EDGE_IS),
    }


def _ratio(value: float, normal: tuple[float, float]) -> float:
    """Log ratio of N(mean, sd) to N(-mean, sd) at ``value``, bounded so that no single sign decides alone."""
    mean, sd = normal
    return float(np.clip(2 * mean * value / sd**2, -_LIMIT, _LIMIT))


def _log(upright: float, turned: float) -> float:
    return float(np.log((upright + 1e-6) / (turned + 1e-6)))


def _edge_strength(grey: NDArray, spacing_mm: float) -> NDArray:
    """In-plane gradient vectors ``[2, i, j, k]`` at a scale of 1 mm, free of the brightest and darkest percent.

    They are relative to the grey level within about 8 mm, so that what an endorectal coil lights up does not decide.
    """
    from scipy import ndimage

    low, high = np.percentile(grey[np.isfinite(grey)], [1, 99]) if np.isfinite(grey).any() else (0.0, 0.0)
    sigma = 1.0 / max(spacing_mm, 1e-3)
    smooth = ndimage.gaussian_filter(np.clip(np.nan_to_num(grey), low, high), (sigma, sigma, 0))
    level = ndimage.gaussian_filter(smooth - low, (8 * sigma, 8 * sigma, 0))
    return np.stack(np.gradient(smooth, axis=(0, 1))) / np.maximum(level + 0.1 * level.mean(), 1e-6)


def _on_outline(edges: NDArray, gland: NDArray) -> float:
    """Mean edge strength across the outline of ``gland``."""
    from scipy import ndimage

    outward = np.stack(np.gradient(ndimage.gaussian_filter(gland.astype(np.float32), (2, 2, 0)), axis=(0, 1)))
    length = np.sqrt((outward**2).sum(axis=0))
    inner = ndimage.binary_erosion(gland, structure=np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], dtype=bool)[..., None])
    outline = gland & ~inner & (length > 1e-6)
    if not outline.any():
        return 0.0
    return float((np.abs((edges * outward).sum(axis=0))[outline] / length[outline]).mean())


def _shape_signs(gland: NDArray, spacing: tuple[float, float, float], slices: NDArray) -> tuple[float, float]:
    """Return how far (mm) the centre lies behind the middle, and how far (mm a mm) it moves back on the way up."""
    centres, offsets = [], []
    for index in slices:
        rows = np.nonzero(gland[:, :, index])[1] * spacing[1]
        centres.append(rows.mean())
        offsets.append(rows.mean() - (rows.min() + rows.max()) / 2)
    slope = np.polyfit(slices * spacing[2], centres, 1)[0]
    return float(np.mean(offsets)), float(slope)
