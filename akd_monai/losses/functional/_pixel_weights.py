# SPDX-License-Identifier: Apache-2.0
"""Which pixels of a divergence count, and how much those of each class do."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from akd_monai.errors import InputError, check_mapping, check_number
from akd_monai.losses._checks import check_integer
from akd_monai.losses.interface import Activation

__all__ = ["ClassWeights", "Mask", "check_weighting", "weighted_mean"]

#: Weight of each class, or ``"balanced"`` for the same total weight of each.
ClassWeights = Literal["balanced"] | Sequence[float]
#: ``confidence`` and ``distance`` of the pixels that count.
Mask = Mapping[str, Any]

_BALANCED = "balanced"


def check_weighting(class_weights: Any, mask: Any) -> None:
    """Raise ``InputError`` unless both options are of their kind and in their range."""
    if class_weights is not None and class_weights != _BALANCED:
        _check_list(class_weights)
    if mask is None:
        return
    given = check_mapping("mask", mask, ("confidence", "distance"))
    confidence = given.get("confidence")
    if confidence is not None:
        check_number("confidence of mask", confidence, above=0)
        if confidence > 1:
            raise InputError(f"confidence of mask is a probability and must be at most 1, got {confidence!r}.")
    if given.get("distance") is not None:
        check_integer("distance of mask", given["distance"], at_least=0)


def weighted_mean(
    divergence: Tensor, teacher: Tensor, activation: Activation, class_weights: ClassWeights | None, mask: Mask | None
) -> Tensor:
    """Return the mean of a divergence over the pixels that count, with the weight of the teacher's class at each.

    Args:
        divergence: one value a pixel ``[B, 1, *spatial]`` with softmax, or one a channel ``[B, C, *spatial]`` with sigmoid.
        teacher: the teacher's logits ``[B, C, *spatial]``, in the type of the divergence.
        activation: ``"softmax"`` or ``"sigmoid"``.
        class_weights: as in :func:`~akd_monai.losses.logits_kl`.
        mask: as there.

    Raises:
        InputError: if there are not as many weights as classes.
    """
    with torch.no_grad():
        labels = teacher.argmax(1, keepdim=True) if activation == "softmax" else (teacher > 0).long()
        classes = teacher.shape[1] if activation == "softmax" else 2
        counted = _counted(teacher, labels, activation, mask).to(divergence.dtype)
        weights = counted * _weights_of(labels, counted, classes, class_weights)
    axes = [0, *range(2, divergence.dim())]
    total = weights.sum(axes)
    # nothing of a channel counts, or nothing at all
    is_there = total > 0
    means = (weights * divergence).sum(axes) / torch.where(is_there, total, torch.ones_like(total))
    return means.sum() / is_there.sum().clamp(min=1)


def _check_list(weights: Any) -> None:
    if isinstance(weights, str) or not isinstance(weights, Sequence) or not weights:
        raise InputError(f"class_weights must be 'balanced' or a list of a number for each class, got {weights!r}.")
    for weight in weights:
        check_number("each of class_weights", weight, at_least=0)
    if not any(weights):
        raise InputError("class_weights are all 0: nothing would count", remedy="give the term weight 0 instead")


def _counted(teacher: Tensor, labels: Tensor, activation: Activation, mask: Mask | None) -> Tensor:
    """Return where pixels count, of the shape of ``labels``."""
    counted = torch.ones_like(labels, dtype=torch.bool)
    options = mask or {}
    confidence = options.get("confidence")
    distance = options.get("distance")
    if confidence is not None:
        is_softmax = activation == "softmax"
        sureness = teacher.softmax(1).amax(1, keepdim=True) if is_softmax else teacher.abs().sigmoid()
        counted &= sureness >= confidence
    if distance is not None:
        counted &= _grown(labels > 0, distance)
    return counted


def _grown(region: Tensor, distance: int) -> Tensor:
    """Return what is within ``distance`` pixels of a region along every axis."""
    pool: Callable[..., Tensor] = F.max_pool2d if region.dim() == 4 else F.max_pool3d
    grown = region.float()
    axes = region.dim() - 2
    for axis in range(axes):
        # a box is grown along one axis after the other
        kernel = [1] * axes
        padding = [0] * axes
        kernel[axis] = 2 * distance + 1
        padding[axis] = distance
        grown = pool(grown, kernel, stride=1, padding=padding)
    return grown > 0


def _weights_of(labels: Tensor, counted: Tensor, classes: int, given: ClassWeights | None) -> Tensor:
    """Return the weight of the class of each pixel, of the shape of ``labels``."""
    if given is None:
        return torch.ones_like(counted)
    if given == _BALANCED:
        return _balanced(labels, counted, classes)
    if len(given) != classes:
        raise InputError(
            f"there are {len(given)} class_weights for {classes} classes",
            remedy="give one for each, in their order; with sigmoid two, of absence and of presence",
        )
    return counted.new_tensor([float(weight) for weight in given])[labels]


def _balanced(labels: Tensor, counted: Tensor, classes: int) -> Tensor:
    """Return one over the number of counted pixels of the same class, for each channel of ``labels``."""
    weights = torch.zeros_like(counted)
    axes = [0, *range(2, labels.dim())]
    for label in range(classes):
        members = counted * (labels == label)
        number = members.sum(axes, keepdim=True)
        weights = weights + members / number.clamp(min=1)
    return weights
