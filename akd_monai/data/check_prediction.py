# SPDX-License-Identifier: Apache-2.0
"""Refuse what a network returned before it becomes a mask."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.transforms import MapTransform

from akd_monai.errors import NonFiniteError
from akd_monai.names import case_name

__all__ = ["CheckPredictiond"]


class CheckPredictiond(MapTransform):
    """Refuse logits that hold NaN or infinite values; for postprocessing, before ``Activationsd``.

    The arg-max of NaN is a class number like any other, so a mask would tell nothing of it. Nothing is changed.

    Args:
        keys: entries of the network's outputs, tensors of any shape.
        allow_missing_keys: whether an entry may be missing.

    Raises:
        NonFiniteError: when called, naming the volume, and how many values are not finite.

    Example:
        >>> item = {"case_id": "HK/Case13", "pred": torch.tensor([[0.5, float("nan")]])}
        >>> CheckPredictiond("pred")(item)
        Traceback (most recent call last):
        ...
        akd_monai.errors.NonFiniteError: HK/Case13: 1 of 2 values that the network returned are NaN or infinite, so no mask
        is made of them; check the weights, or switch mixed precision off.
    """

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Check one item and return it."""
        for key in self.key_iterator(dict(data)):
            finite = torch.isfinite(torch.as_tensor(data[key]))
            if not finite.all():
                bad = int(finite.numel() - finite.sum())
                raise NonFiniteError(
                    f"{_place(data, key)}: {bad} of {finite.numel()} values that the network returned are NaN or "
                    "infinite, so no mask is made of them; check the weights, or switch mixed precision off."
                )
        return dict(data)


def _place(data: Mapping[Hashable, Any], key: Hashable) -> str:
    for volume in (data[key], data.get("image")):
        file = getattr(volume, "meta", {}).get("filename_or_obj")
        if file:
            return str(file)
    return case_name({str(name): value for name, value in data.items()}, "a volume")
