# SPDX-License-Identifier: Apache-2.0
"""Regions of the ground truth at the size of a feature map."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from akd_monai.errors import InputError
from akd_monai.losses._checks import plain
from akd_monai.losses.interface import Activation

__all__ = ["region_masks", "region_means", "required_labels"]

_VOID = 255


def region_masks(labels: Tensor | None, activation: Activation, like: Tensor) -> Iterator[Tensor]:
    """Yield the regions of each partition of the images, masks ``[B, R, N]`` of 0 and 1 at the size of ``like``.

    Softmax classes are one partition. Sigmoid channels may overlap: each is a partition of its own, in absent and present.
    Labels are resized by nearest-exact; what has label 255 is in no region. A region may be empty in an image.

    Args:
        labels: ``[B, 1, *spatial]`` class indices or ``[B, K, *spatial]`` one-hot with ``"softmax"``, 0 and 1 for each
            channel with ``"sigmoid"``; of any spatial size.
        activation: ``"softmax"`` or ``"sigmoid"``.
        like: map ``[B, C, *spatial]``, on whose device and of whose type the masks are.

    Raises:
        InputError: if there are no labels, or they do not fit.
    """
    indices = _indices(_checked(required_labels(labels), like), activation, like.shape[2:])
    for partition in indices.to(like.device).flatten(2).unbind(1):
        classes = partition.unique()
        masks = partition[:, None] == classes[classes != _VOID][None, :, None]
        yield masks.to(like.dtype)


def region_means(features: Tensor, masks: Tensor) -> Tensor:
    """Return the mean vectors ``[B, R, C]`` of features ``[B, C, N]``; 0 for an empty region."""
    return masks @ features.transpose(1, 2) / masks.sum(2, keepdim=True).clamp(min=1)


def required_labels(labels: Tensor | None) -> Tensor:
    """Return the labels of a batch for a loss that needs them.

    Raises:
        InputError: if there are none.
    """
    if labels is None:
        raise InputError(
            "it compares regions of the ground truth, and this batch has no labels",
            remedy="leave the term out where images are unlabelled, or set its weight to 0",
        )
    return labels


def _checked(labels: object, like: Tensor) -> Tensor:
    """Return labels ``[B, K, *spatial]``."""
    if not isinstance(labels, Tensor):
        raise InputError(f"labels must be one tensor [B, K, *spatial], got {type(labels).__name__}.")
    labels = plain(labels)
    labels = labels[:, None] if labels.dim() == like.dim() - 1 else labels
    if labels.dim() != like.dim() or len(labels) != len(like) or labels.numel() == 0:
        raise InputError(
            f"labels must be [B, K, *spatial] of the same images, got {list(labels.shape)} for a map of "
            f"shape {list(like.shape)}."
        )
    return labels


def _indices(labels: Tensor, activation: Activation, size: Sequence[int]) -> Tensor:
    """Return the number of the region of each pixel, ``[B, M, *size]``, for each of M partitions."""
    exact = labels if labels.dtype == torch.float64 else labels.float()
    small = F.interpolate(exact, size=tuple(size), mode="nearest-exact")
    if activation == "sigmoid":
        if not _has_only(small, (0, 1, _VOID)):
            raise InputError(
                "labels of sigmoid channels must be 0 or 1, or 255 for void", remedy="set activation to 'softmax'"
            )
        return small.long()
    if small.shape[1] == 1:
        if bool(((small < 0) | (small != small.round())).any()):
            raise InputError("labels must be class indices, 0 or more, got negative numbers or fractions.")
        return small.long()
    if not _has_only(small, (0, 1)) or not _has_only(small.sum(1), (1,)):
        raise InputError(
            f"labels of {small.shape[1]} channels must be one-hot, and here channels overlap or leave pixels out",
            remedy="set activation to 'sigmoid'",
        )
    return small.argmax(1, keepdim=True)


def _has_only(values: Tensor, allowed: Sequence[int]) -> bool:
    return bool(torch.isin(values, values.new_tensor(allowed)).all())
