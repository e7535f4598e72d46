# SPDX-License-Identifier: Apache-2.0
"""Similarity-preserving distillation: images that are alike to the teacher are alike to the student."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from akd_monai.losses._unit_vectors import unit_vectors
from akd_monai.losses.compared._lone_images import LoneImages
from akd_monai.losses.compared._matching import MatchingLoss

__all__ = ["SimilarityPreservingLoss"]


class SimilarityPreservingLoss(MatchingLoss):
    r"""Bring the rows of the matrix of inner products of the images of a batch to the teacher's.

    .. math:: \frac{1}{B^2} \| G_S - G_T \|_F^2, \qquad G_{[b,:]} = \frac{(Q Q^\top)_{[b,:]}}{\|(Q Q^\top)_{[b,:]}\|_2}

    with Q the features ``[B, C * N]``. A rotation or a factor of the features changes nothing. Channels and sizes may differ
    without adapter or resizing. Values lie in [0, 4 / B]; defined for 2D and 3D.

    Unlike :class:`~akd_monai.losses.GramKernelLoss`, rows of the matrix have length 1, rather than images. One image has
    nothing to be compared with: a batch of one adds 0, which a warning says, and batches of one are refused.

    Raises:
        InputError: in the call, if batches differ, or batches of one image are the rule.

    Example:
        >>> import torch
        >>> student = torch.ones(2, 1, 1, 2)
        >>> teacher = torch.eye(2).reshape(2, 1, 1, 2)
        >>> round(SimilarityPreservingLoss()(student, teacher).item(), 4)  # rows (1, 1) / sqrt(2), and (1, 0), (0, 1)
        0.2929

    Source: Tung and Mori, 2019, arXiv:1907.09682, as in public code (``Similarity`` of RepDistiller), whose
    script has weight 3000.
    """

    _same_size: ClassVar[bool] = False

    def __init__(self) -> None:
        super().__init__()
        self._lone_images = LoneImages("SimilarityPreservingLoss")

    def _distance(self, student: Tensor, teacher: Tensor) -> Tensor:
        self._lone_images.see(len(student))
        return (_rows(student) - _rows(teacher)).square().mean()


def _rows(features: Tensor) -> Tensor:
    """Return the inner products ``[B, B]`` of the images, each row of length 1."""
    # a common factor drops out, and the products of large maps would overflow
    samples = features.flatten(1)
    samples = samples / samples.detach().abs().amax().clamp(min=1e-30)
    return unit_vectors(samples @ samples.T, 1)
