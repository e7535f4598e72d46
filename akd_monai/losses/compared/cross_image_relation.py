# SPDX-License-Identifier: Apache-2.0
"""Cross-image relational distillation, its part within a mini-batch."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional as F

from akd_monai.errors import InputError, check_number
from akd_monai.losses._checks import check_integer
from akd_monai.losses._unit_vectors import unit_vectors
from akd_monai.losses.compared._matching import MatchingLoss

__all__ = ["CrossImageRelationLoss"]

# a matrix of this order takes 1 GiB
_MOST_PIXELS = 16384


class CrossImageRelationLoss(MatchingLoss):
    r"""Bring the similarities of each pixel to the pixels of every image of the batch to the teacher's.

    .. math:: \frac{1}{B^2 A} \sum_{b,d} \sum_{i} \mathrm{KL}\big(p^T_{bid} \,\|\, p^S_{bid}\big), \qquad
              p_{bid} = \mathrm{softmax}_j \big(\langle f_{bi}, f_{dj} \rangle / \tau\big), \quad \|f\| = 1

    with A pixels an image after averaging windows of ``pooling``. Channels may differ without an adapter. At least 0;
    defined for 2D and 3D, and for a batch of one image, whose pixels are compared with each other.

    This is the mini-batch pixel-to-pixel part of CIRKD alone: its memory bank, with the pixel-to-pixel and
    pixel-to-region parts that need it, is left out, so that it must not be called CIRKD without saying so.

    Args:
        temperature: of the similarities, above 0.
        pooling: side of the windows in pixels, at least 1.

    Raises:
        InputError: if an argument is out of range; in the call, if the maps differ in batch or spatial size, or the batch
            has more than 16384 pixels after pooling, whose similarities would not fit into memory.

    Example:
        >>> import torch
        >>> student = torch.ones(1, 2, 1, 2)
        >>> teacher = torch.eye(2).reshape(1, 2, 1, 2)
        >>> round(CrossImageRelationLoss()(student, teacher).item(), 4)  # softmax of (1, 0) and of (1, 1)
        0.1109

    Source: Yang et al., 2022, arXiv:2204.06986, mini-batch-based pixel-to-pixel distillation; temperature 1 and weight 1
    in the public code, which averages windows of 4 for maps of 256 x 256 and more.
    """

    def __init__(self, temperature: float = 1.0, pooling: int = 1) -> None:
        super().__init__()
        check_number("temperature", temperature, above=0)
        check_integer("pooling", pooling, at_least=1)
        self.temperature = temperature
        self.pooling = pooling

    def _distance(self, student: Tensor, teacher: Tensor) -> Tensor:
        ours = self._log_similarities(student)
        total = F.kl_div(ours, self._log_similarities(teacher), reduction="sum", log_target=True)
        # one distribution for each pixel of the batch and each image
        return total / (ours.shape[0] * ours.shape[1])

    def _log_similarities(self, features: Tensor) -> Tensor:
        """Return the logarithms of the similarities of each pixel to those of each image, ``[B * A, B, A]``."""
        pool: Callable[..., Tensor] = F.avg_pool2d if features.dim() == 4 else F.avg_pool3d
        pooled = unit_vectors(pool(features, self.pooling, ceil_mode=True).flatten(2), 1)
        pixels = pooled.transpose(1, 2).flatten(0, 1)
        if len(pixels) > _MOST_PIXELS:
            raise InputError(
                f"the similarities of {len(pixels)} pixels of a batch need too much memory, wanted {_MOST_PIXELS} or fewer",
                remedy="choose a layer of lower resolution, a larger pooling, or smaller batches",
            )
        similarities = pixels @ pixels.T / self.temperature
        return similarities.reshape(len(pixels), len(features), -1).log_softmax(2)
