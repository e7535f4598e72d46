# SPDX-License-Identifier: Apache-2.0
"""Check image and label of a case as they were loaded, before anything is turned or resampled."""

from __future__ import annotations

import logging
from collections.abc import Collection, Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from numpy.typing import NDArray

from akd_monai.data._streams import FileError
from akd_monai.data.gate import (
    check_classes,
    check_grids,
    check_share,
    class_counts,
    image_warnings,
    rounded,
)
from akd_monai.errors import InputError
from akd_monai.names import case_name

__all__ = ["CheckVolumesd"]

logger = logging.getLogger(__name__)


class CheckVolumesd(MapTransform):
    """Refuse a case whose image or label cannot be trusted; for ``Compose``, right after ``EnsureChannelFirstd``.

    Each entry is a ``MetaTensor`` ``[C, X, Y, Z]``, a label with one channel. An image must be finite and below 1e30; a
    channel that is constant, or nearly, or has two values only is a warning. A label must hold allowed classes only, and
    mark at most 90 % of the voxels; one that marks nothing is a warning. Its values may be off an integer by 0.001, and
    are rounded. All entries must lie on one grid to 0.1 mm, by the affines of their files. Nothing else is changed. Files
    are checked by :class:`~akd_monai.data.CheckedReader`.

    Args:
        keys: the entries, the image first.
        label_key: the one that is a label.
        label_values: the classes that it may hold.
        channels: channels of an image.
        allow_missing_keys: whether a case may lack an entry.

    Raises:
        InputError: when called, naming the case, the file, the fault and the remedy.

    Example:
        >>> case = {"case_id": "HK/Case13", "image": MetaTensor(torch.rand(1, 4, 4, 2))}
        >>> case["label"] = MetaTensor(torch.zeros(1, 4, 4, 2) + 0.5)
        >>> CheckVolumesd(["image", "label"], label_key="label")(case)
        Traceback (most recent call last):
        ...
        akd_monai.errors.InputError: case HK/Case13, 'label': holds fractions (1 values: 0.5 ...); resample the mask with
        nearest neighbour instead of interpolation.
    """

    def __init__(
        self,
        keys: KeysCollection,
        *,
        label_key: str | None = None,
        label_values: Collection[int] = (0, 1),
        channels: int = 1,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.label_key = label_key
        self.label_values = tuple(label_values)
        self.channels = channels

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Check one case and return it."""
        result = dict(data)
        first = None
        for key in self.key_iterator(result):
            try:
                is_label = key == self.label_key
                values = _voxels(result[key], 1 if is_label else self.channels)
                if is_label:
                    result[key] = self._checked_label(values, result[key], _place(data, key))
                else:
                    _check_image(values, _place(data, key))
                grid = (values.shape[1:], _affine_of(result[key]))
                first = first or grid
                check_grids(first, grid)
            except FileError as error:
                raise InputError(error.what, where=_place(data, key), remedy=error.remedy, code=error.code) from None
        return result

    def _checked_label(self, values: NDArray[Any], label: Any, place: str) -> Any:
        counts = class_counts(values)
        check_classes(counts, self.label_values)
        check_share(counts)
        if set(counts) == {0}:
            logger.warning("%s marks no voxel.", place)
        integers = rounded(values)
        if not np.array_equal(integers, values):
            label = label.clone()
            label[:] = torch.as_tensor(integers)
        return label


def _check_image(values: NDArray[Any], place: str) -> None:
    for warning in image_warnings(values):
        logger.warning("%s %s", place, warning if warning.endswith("?") else f"{warning}.")


def _voxels(volume: Any, channels: int) -> NDArray[Any]:
    """Return the voxels ``[C, X, Y, Z]``."""
    shape = list(getattr(volume, "shape", ()))
    if len(shape) != 4 or shape[0] != channels or 0 in shape:
        counted = "one channel" if channels == 1 else f"{channels} channels"
        what = f"has shape {shape}, expected {counted} and three axes, none of them empty"
        raise FileError(
            what, remedy="load one volume of one number a voxel, then EnsureChannelFirstd", code="dimensions"
        )
    plain = volume.as_tensor() if isinstance(volume, MetaTensor) else torch.as_tensor(volume)
    return np.asarray(plain.detach().cpu().numpy())


def _affine_of(volume: Any) -> NDArray[np.float64]:
    affine = volume.affine if isinstance(volume, MetaTensor) else torch.eye(4)
    return np.asarray(affine.cpu().numpy(), dtype=float)


def _place(data: Mapping[Hashable, Any], key: Hashable) -> str:
    """Return what messages call an entry: its case, and its file if it has one."""
    file = getattr(data[key], "meta", {}).get("filename_or_obj")
    words = repr(str(file)) if file else repr(key)
    return f"case {case_name({str(name): value for name, value in data.items()})}, {words}"
