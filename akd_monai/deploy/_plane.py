# SPDX-License-Identifier: Apache-2.0
"""A network that sees slices was trained on those of one plane."""

from __future__ import annotations

from akd_monai.data.geometry import Array, orientation_of, spacing_of
from akd_monai.deploy._recipe import Recipe
from akd_monai.deploy._spatial import Orientation
from akd_monai.deploy._statistics import slice_axis
from akd_monai.deploy._windows import SliceInferer

__all__ = ["other_plane"]

_PLANES = {"L": "sagittal", "R": "sagittal", "P": "coronal", "A": "coronal", "I": "axial", "S": "axial"}
# voxels that are less long than this are about as fine in every plane
_THICK = 1.5


def other_plane(affine: Array, recipe: Recipe) -> str:
    """Say in words that a volume's slices lie in another plane than those that the network sees; else nothing.

    Slices are those of a volume whose voxels are longer along one axis than along the others, by half. What the network
    sees is known where it takes slices of a volume that was turned to stated axes.

    Args:
        affine: of the volume, in mm, RAS.
        recipe: of the network.
    """
    turned = [step.axcodes for step in recipe.preprocessing if isinstance(step, Orientation)]
    if not turned or not isinstance(recipe.inferer, SliceInferer):
        return ""
    seen = _PLANES[turned[-1][recipe.inferer.spatial_dim]]
    axis = slice_axis(affine)
    sizes = spacing_of(affine)
    own = _PLANES.get(orientation_of(affine)[axis], "")
    is_thick = sizes[axis] > _THICK * sorted(sizes)[1]
    return f"its slices are {own}, and the network sees {seen} ones" if is_thick and own != seen else ""
