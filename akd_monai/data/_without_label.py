# SPDX-License-Identifier: Apache-2.0
"""Transforms of images and labels, for images that have no label."""

from __future__ import annotations

import copy
import logging
from typing import Any

from monai.transforms import (
    Compose,
    MapTransform,
    RandCropByLabelClassesd,
    RandCropByPosNegLabeld,
    RandSpatialCropSamplesd,
)

__all__ = ["without_labels"]

logger = logging.getLogger(__name__)

# their centres are drawn by the label
_GUIDED = (RandCropByPosNegLabeld, RandCropByLabelClassesd)


def without_labels(transform: Any) -> Any:
    """Return a copy of dictionary transforms that passes over entries which a case does not have.

    It is otherwise the same, random parameters included. MONAI's crops whose centre is drawn by the label are drawn
    anywhere instead, as many and of the same size, and a line says so.

    Args:
        transform: a transform, a ``Compose``, or a list of transforms.
    """
    return _changed(copy.deepcopy(transform))


def _changed(transform: Any) -> Any:
    if isinstance(transform, (list, tuple)):
        return [_changed(part) for part in transform]
    if isinstance(transform, Compose):
        transform.transforms = _changed(transform.transforms)
    elif type(transform) in _GUIDED:
        return _crop_anywhere(transform)
    elif isinstance(transform, MapTransform):
        transform.allow_missing_keys = True
    return transform


def _crop_anywhere(guided: Any) -> MapTransform:
    logger.info("images without labels: %s crops anywhere, not by the label.", type(guided).__name__)
    return RandSpatialCropSamplesd(
        keys=guided.keys,
        roi_size=guided.cropper.spatial_size,
        num_samples=guided.cropper.num_samples,
        random_size=False,
        allow_missing_keys=True,
        lazy=guided.lazy,
    )
