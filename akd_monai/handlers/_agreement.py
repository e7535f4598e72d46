# SPDX-License-Identifier: Apache-2.0
"""How far a teacher and the labels of a batch agree, with the classes as they are and in the best other order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

__all__ = ["Agreement", "measure_agreement"]

# each pair of channels that may overlap is counted by itself
_MOST_CHANNELS = 32

_Counts = tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Agreement:
    """Dice of a teacher's classes with labels.

    Args:
        dice: mean over the classes that the labels show, without the background of softmax classes; ``None`` if they show
            none.
        all_classes: the same with the background.
        best: ``all_classes`` with the teacher's channels in the best order; ``None`` if it is the given one.
        order: that order: for each class of the labels the channel of the teacher.
    """

    dice: float | None
    all_classes: float
    best: float | None
    order: tuple[int, ...]


def measure_agreement(logits: Tensor, label: Tensor, *, is_sigmoid: bool) -> Agreement | None:
    """Return how far logits and labels agree, or ``None`` if the labels are not of a form that is known here.

    Args:
        logits: ``[B, K, *spatial]`` of the teacher, in the student's classes.
        label: class indices ``[B, 1, *spatial]``, or ``[B, K, *spatial]`` with one mask for each class.
        is_sigmoid: whether channels may overlap: a channel is set where its logit is above 0.

    Example:
        >>> logits = torch.tensor([[4.0, 0, 0, 0], [0, 4.0, 4.0, 4.0]]).reshape(1, 2, 1, 4)
        >>> found = measure_agreement(logits, torch.tensor([1, 0, 0, 0]).reshape(1, 1, 1, 4), is_sigmoid=False)
        >>> found.dice, found.best, found.order
        (0.0, 1.0, (1, 0))
    """
    classes = logits.shape[1]
    if label.shape[0] != logits.shape[0] or label.shape[2:] != logits.shape[2:] or label.shape[1] not in (1, classes):
        return None
    if is_sigmoid and classes > _MOST_CHANNELS:
        return None
    shared, sizes, sizes_of_label = _overlapping(logits, label) if is_sigmoid else _exclusive(logits, label)
    table = 2 * shared / np.maximum(sizes[:, None] + sizes_of_label[None, :], 1)
    present = np.flatnonzero(sizes_of_label)
    own = np.diag(table)
    foreground = present if is_sigmoid else present[present > 0]
    if foreground.size == 0:
        return Agreement(None, float(own[present].mean()) if present.size else 0.0, None, ())
    channels, places = linear_sum_assignment(-table[:, present])
    order = _complete(channels, present[places], classes)
    best = float(table[channels, present[places]].mean())
    return Agreement(
        dice=float(own[foreground].mean()),
        all_classes=float(own[present].mean()),
        best=None if order == tuple(range(classes)) else best,
        order=order,
    )


def _exclusive(logits: Tensor, label: Tensor) -> _Counts:
    """Return the pixels shared by each channel and each class, and the sizes of both; other labels count for neither."""
    classes = logits.shape[1]
    wanted = label.argmax(1).flatten() if label.shape[1] > 1 else label.flatten().long()
    inside = (wanted >= 0) & (wanted < classes)
    pairs = logits.argmax(1).flatten()[inside] * classes + wanted[inside]
    table = torch.bincount(pairs, minlength=classes**2).reshape(classes, classes).double().cpu().numpy()
    return table, table.sum(1), table.sum(0)


def _overlapping(logits: Tensor, label: Tensor) -> _Counts:
    """Return the same for channels that may overlap; a label of class indices has one mask for each."""
    classes = logits.shape[1]
    masks = label > 0.5 if label.shape[1] == classes else torch.cat([label.long() == k for k in range(classes)], 1)
    predicted = _flat(logits > 0)
    masks = _flat(masks)
    rows = []
    for one in predicted:
        rows.append((one & masks).sum(1))
    return _array(torch.stack(rows)), _array(predicted.sum(1)), _array(masks.sum(1))


def _flat(masks: Tensor) -> Tensor:
    return masks.transpose(0, 1).flatten(1)


def _array(counts: Tensor) -> np.ndarray:
    return counts.double().cpu().numpy()


def _complete(channels: np.ndarray, places: np.ndarray, classes: int) -> tuple[int, ...]:
    """Return a channel for each class; classes that the labels do not show keep theirs where it is free."""
    order = dict(zip(places.tolist(), channels.tolist(), strict=True))
    free = [channel for channel in range(classes) if channel not in order.values()]
    for place in range(classes):
        if place not in order:
            order[place] = place if place in free else free[0]
            free.remove(order[place])
    return tuple(order[place] for place in range(classes))
