# SPDX-License-Identifier: Apache-2.0
"""What losses over regions of the ground truth have in common."""

# No `from __future__ import annotations`: the reference page shows the choices instead of the name of their type.
from abc import abstractmethod
from typing import ClassVar, get_args

import torch
from torch import Tensor

from akd_monai.errors import check_choice
from akd_monai.losses._checks import check_pair, full_precision, wide
from akd_monai.losses._regions import region_masks
from akd_monai.losses.interface import Activation, DistillationLoss

__all__ = ["RegionLoss"]


class RegionLoss(DistillationLoss):
    """Average a distance over the partitions of the images: one of all softmax classes, or one a sigmoid channel."""

    needs_labels: ClassVar[bool] = True

    def __init__(self, activation: Activation = "softmax") -> None:
        super().__init__()
        check_choice("activation", activation, get_args(Activation))
        self.activation: Activation = activation

    def forward(self, student: Tensor, teacher: Tensor, labels: Tensor | None = None) -> Tensor:
        """Compare maps ``[B, C, *spatial]`` of the same images. No gradient reaches ``teacher``.

        Args:
            student: map of the student.
            teacher: map of the teacher, of the same spatial size.
            labels: ground truth of any spatial size: class indices ``[B, 1, *spatial]`` or one-hot channels; with
                ``"sigmoid"`` 0 and 1 for each channel. What has label 255 is in no region.

        Raises:
            InputError: if the shapes do not fit, or labels are missing or of the other kind.
        """
        check_pair(student, teacher, channels=False, spatial=True, remedy="")
        with full_precision(student):
            ours = wide(student)
            theirs = wide(teacher.detach()).to(ours.dtype).flatten(2)
            masks = region_masks(labels, self.activation, ours)
            return torch.stack([self._distance(ours.flatten(2), theirs, one) for one in masks]).mean()

    @abstractmethod
    def _distance(self, student: Tensor, teacher: Tensor, masks: Tensor) -> Tensor:
        """Return the loss of features ``[B, C, N]`` for regions ``[B, R, N]``."""
