# SPDX-License-Identifier: Apache-2.0
"""Kernel matrix module: the student keeps the similarities that the teacher's features show."""

# No `from __future__ import annotations`: the reference page shows the choices instead of the name of their type.
import logging
from typing import Literal

from torch import Tensor

from akd_monai.losses._checks import check_map
from akd_monai.losses.functional.gram import (
    GramMode,
    GramNormalize,
    GramReduction,
    _alone,
    _check_gram_options,
    _gram_distance,
    _is_alone,
    _mode_for,
)
from akd_monai.losses.interface import DistillationLoss

__all__ = ["GramKernelLoss"]

logger = logging.getLogger(__name__)

_Batches = Literal["none", "one", "several"]


class GramKernelLoss(DistillationLoss):
    r"""Bring the Gram matrix of the student's features to that of the teacher's.

    .. math:: \mathrm{mean}(D^2) + \lambda \, \mathrm{mean}(|D|), \qquad D = K_S - K_T

    Args:
        mode: vectors are samples (``"batch"``), channels (``"channel"``) or pixels (``"spatial"``); ``"auto"`` is
            ``"batch"`` for 2D maps and ``"channel"`` for 3D maps.
        normalize: ``"l2"``, ``"dim"`` or ``"none"``.
        reduction: ``"mean"`` or ``"paper"``.
        l1_weight: factor of the absolute differences, at least 0.

    A batch of one image has nothing to compare in mode ``"batch"`` with ``"l2"``: value and gradient are 0. The last batch
    of an epoch may be one image, which a warning says once (``drop_last`` of the loader leaves it out); a training in
    batches of one is refused at its second step.

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
        self._seen: _Batches = "none"
        self._has_warned = False

    def forward(self, student: Tensor, teacher: Tensor, adapter: Tensor | None = None) -> Tensor:
        """Compare features ``[B, C, *spatial]``. No gradient reaches ``teacher``.

        Args:
            student: features of the student.
            teacher: features of the teacher.
            adapter: weights ``[K, C]`` of a 1x1 convolution of the student's features, in mode ``"batch"``.

        Raises:
            InputError: if the shapes do not fit the mode, there is one vector only, or batches of one image are the rule.
        """
        # The attributes may have been changed since the module was built.
        _check_gram_options(self.mode, self.normalize, self.reduction, self.l1_weight)
        check_map("the student's map", student)
        if _is_alone(student, self.mode, self.normalize):
            self._allow_one(student)
        elif self._seen != "several":
            self._seen = "several"
        return _gram_distance(student, teacher, self.mode, self.normalize, self.reduction, self.l1_weight, adapter)

    def _allow_one(self, student: Tensor) -> None:
        """Let a batch of one image pass that may be the last one of an epoch, and say so once.

        A run may be resumed just before it, so that the first batch seen says nothing yet.

        Raises:
            InputError: if batches of one image are the rule, or the vectors are no samples.
        """
        if self._seen == "one" or _mode_for(self.mode, student) != "batch":
            raise _alone(student, self.mode)
        if self._seen == "none":
            self._seen = "one"
        if not self._has_warned:
            self._has_warned = True
            logger.warning(
                "a batch of one image adds 0 to the Gram loss, whose mode 'batch' compares images with each other; set "
                "drop_last of the loader, or mode to 'channel'."
            )

    def forward_with_adapter(self, student: Tensor, teacher: Tensor, weight: Tensor) -> Tensor | None:
        """Compare samples without the adapted map; ``None`` in the other modes, and where it has fewer channels.

        Args:
            student: features of the student before the adapter, ``[B, C, *spatial]``.
            teacher: features of the teacher.
            weight: the adapter's weights ``[K, C]``.
        """
        if _mode_for(self.mode, student) != "batch" or weight.shape[0] <= weight.shape[1]:
            return None
        return self.forward(student, teacher, weight)

    def extra_repr(self) -> str:
        """Show the options in ``print(module)``."""
        return f"mode={self.mode!r}, normalize={self.normalize!r}, reduction={self.reduction!r}"
