# SPDX-License-Identifier: Apache-2.0
"""Kernel matrix module: the student keeps the similarities that the teacher's features show."""

# No `from __future__ import annotations`: the reference page shows the choices instead of the name of their type.
from torch import Tensor

from akd_monai.losses.functional.gram import GramMode, GramNormalize, GramReduction, _check_gram_options, gram_loss
from akd_monai.losses.interface import DistillationLoss

__all__ = ["GramKernelLoss"]


class GramKernelLoss(DistillationLoss):
    r"""Bring the Gram matrix of the student's features to that of the teacher's.

    .. math:: \mathrm{mean}(D^2) + \lambda \, \mathrm{mean}(|D|), \qquad D = K_S - K_T

    Args:
        mode: vectors are samples (``"batch"``), channels (``"channel"``) or pixels (``"spatial"``).
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
        self,
        mode: GramMode = "batch",
        normalize: GramNormalize = "l2",
        reduction: GramReduction = "mean",
        l1_weight: float = 1.0,
    ) -> None:
        super().__init__()
        _check_gram_options(mode, normalize, reduction, l1_weight)
        self.mode: GramMode = mode
        self.normalize: GramNormalize = normalize
        self.reduction: GramReduction = reduction
        self.l1_weight = l1_weight

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

    def forward_with_adapter(self, student: Tensor, teacher: Tensor, weight: Tensor) -> Tensor | None:
        """Compare samples without the adapted map; ``None`` in the other modes, and where it has fewer channels.

        Args:
            student: features of the student before the adapter, ``[B, C, *spatial]``.
            teacher: features of the teacher.
            weight: the adapter's weights ``[K, C]``.
        """
        if self.mode != "batch" or weight.shape[0] <= weight.shape[1]:
            return None
        return self.forward(student, teacher, weight)

    def extra_repr(self) -> str:
        """Show the options in ``print(module)``."""
        return f"mode={self.mode!r}, normalize={self.normalize!r}, reduction={self.reduction!r}"
