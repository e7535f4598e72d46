# SPDX-License-Identifier: Apache-2.0
"""Importance maps of EMKD: attention transfer with a fourth power."""

from __future__ import annotations

from akd_monai.losses.compared.attention_transfer import AttentionTransferLoss

__all__ = ["ImportanceMapLoss"]


class ImportanceMapLoss(AttentionTransferLoss):
    r"""Bring the student's importance map to the teacher's: attention transfer with ``power=4`` and ``reduction="sum"``.

    .. math:: \mathrm{mean}_b \sum_i (q^S_{bi} - q^T_{bi})^2, \qquad q_b = \frac{a_b}{\|a_b\|_2}, \qquad
              a_{bi} = \sum_c F_{bci}^4

    One of the three terms of EMKD, with weight 0.9 at a map of stride 2 and at one of stride 8. The others are
    :class:`RegionAffinityLoss` at the same maps, weight 0.9, and
    :class:`~akd_monai.losses.LogitsKLLoss` with ``direction="teacher_student"`` and ``temperature=4``, weight 0.1. Where
    sizes differ, the public code enlarges the student's map; ``"resize"`` of a term pools the larger one.

    Raises:
        InputError: in the call, if the maps differ in batch or spatial size.

    Example:
        >>> import torch
        >>> ImportanceMapLoss()(torch.eye(2).reshape(2, 1, 1, 2), torch.eye(2).flip(0).reshape(2, 1, 1, 2)).item()
        2.0

    Source: Qin et al., 2021, arXiv:2108.09987, "importance maps distillation", as in the authors' public code.
    """

    def __init__(self) -> None:
        super().__init__(power=4.0, reduction="sum")
