# SPDX-License-Identifier: Apache-2.0
"""Kernel matrix module: the student keeps the similarities that the teacher's features show."""

from __future__ import annotations

from torch import Tensor, nn

from akd_monai.errors import check_choice, check_number
from akd_monai.losses.functional import GRAM_MODES, GRAM_NORMALIZE, GRAM_REDUCTIONS, gram_loss


class GramKernelLoss(nn.Module):
    r"""Bring the Gram matrix of the student's features to that of the teacher's.

    .. math:: \mathrm{mean}(D^2) + \lambda \, \mathrm{mean}(|D|), \qquad D = K_S - K_T

    Args:
        mode: vectors are whole samples (``"batch"``), channels (``"channel"``) or pixels (``"spatial"``).
        normalize: ``"l2"``, ``"dim"`` or ``"none"``.
        reduction: ``"mean"`` or ``"paper"``.
        l1_weight: factor of the absolute differences, at least 0.

    Raises:
        InputError: if an argument is unknown or out of range.

    Example:
        >>> import torch
        >>> features = torch.arange(24.0).reshape(2, 3, 2, 2)
        >>> GramKernelLoss()(5 * features, features).item() < 1e-6  # "l2" does not see the scale
        True

    Source: arXiv:2404.02738, section 2 (kernel matrix module), equations 5 and 6. All arguments are explained in
    :func:`~akd_monai.losses.functional.gram_loss`.
    """

    def __init__(
        self, mode: str = "batch", normalize: str = "l2", reduction: str = "mean", l1_weight: float = 1.0
    ) -> None:
        super().__init__()
        check_choice("mode", mode, GRAM_MODES)
        check_choice("normalize", normalize, GRAM_NORMALIZE)
        check_choice("reduction", reduction, GRAM_REDUCTIONS)
        check_number("l1_weight", l1_weight, at_least=0)
        self.mode, self.normalize, self.reduction, self.l1_weight = mode, normalize, reduction, l1_weight

    def forward(self, student: Tensor, teacher: Tensor, adapter: Tensor | None = None) -> Tensor:
        """Compare features ``[B, C, *spatial]``. No gradient reaches ``teacher``.

        Args:
            student: features of the student.
            teacher: features of the teacher.
            adapter: weights ``[K, C]`` of a 1x1 convolution of the student's features, in mode ``"batch"``.

        Raises:
            InputError: if the shapes do not fit the mode.
        """
        return gram_loss(
            student,
            teacher,
            mode=self.mode,
            normalize=self.normalize,
            reduction=self.reduction,
            l1_weight=self.l1_weight,
            adapter=adapter,
        )

    def extra_repr(self) -> str:
        """Show the options in ``print(module)``."""
        return f"mode={self.mode!r}, normalize={self.normalize!r}, reduction={self.reduction!r}"
