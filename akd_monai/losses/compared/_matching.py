# SPDX-License-Identifier: Apache-2.0
"""What losses that compare one map of the student with one of the teacher have in common."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

from torch import Tensor

from akd_monai.losses._checks import check_pair, full_precision, wide
from akd_monai.losses.interface import DistillationLoss

__all__ = ["MatchingLoss"]


class MatchingLoss(DistillationLoss):
    """Check two maps, then compare them in float32 with autocast off and without a gradient for the teacher."""

    _same_channels: ClassVar[bool] = False
    _same_size: ClassVar[bool] = True
    _remedy: ClassVar[str] = 'set "adapter": "conv1x1" on the term'

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Compare maps ``[B, C, *spatial]`` of the same images. No gradient reaches ``teacher``.

        Args:
            student: map of the student, after its adapter.
            teacher: map of the teacher.

        Raises:
            InputError: if the shapes do not fit each other or the loss.
        """
        check_pair(student, teacher, channels=self._same_channels, spatial=self._same_size, remedy=self._remedy)
        with full_precision(student):
            ours = wide(student)
            return self._distance(ours, wide(teacher.detach()).to(ours.dtype))

    @abstractmethod
    def _distance(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Return the loss of maps of one type, which fit each other."""
