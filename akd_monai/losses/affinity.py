# SPDX-License-Identifier: Apache-2.0
"""Adaptive affinity module: the student's map follows the borders that the teacher sees."""

# No `from __future__ import annotations`: the reference page shows the choices instead of the name of their type.
from typing import ClassVar, get_args

from torch import Tensor

from akd_monai.errors import InputError, check_choice
from akd_monai.losses._checks import check_map, plain
from akd_monai.losses.functional.affinity import (
    AffinityAlgorithm,
    StudentMap,
    _affinity_of_channels,
    _affinity_of_logits,
    _affinity_options,
)
from akd_monai.losses.interface import Activation, DistillationLoss, TeacherNeeds

__all__ = ["AdaptiveAffinityLoss"]

_VOID_LABEL = 255


class AdaptiveAffinityLoss(DistillationLoss):
    r"""Pull neighbouring pixels of one teacher label together, push those of different label apart.

    .. math:: \frac{1}{|P^+|} \sum_{P^+} W_{ij} + \frac{1}{|P^-|} \sum_{P^-} \max(0, m - W_{ij}), \qquad
              W_{ij} = \sum_c p_i^c (\log p_i^c - \log p_j^c)

    The labels are the teacher's own decision, the arg-max over its channels, and :math:`p` is the softmax over the
    channels of the student's map. It is not a matching loss: it is not 0 where student and teacher agree. For the two
    terms apart, and for labels from elsewhere, use :func:`~akd_monai.losses.functional.affinity_terms`, which also
    explains ``P+`` and ``P-``.

    With ``activation="sigmoid"`` the teacher's channels may overlap, and each is a decision of its own: present where
    its logit is above 0. The loss is then the mean over the teacher's channels of the loss under the two labels of that
    channel, ``P+`` and ``P-`` included. A feature map of the student is compared under each of them as it is; of the
    student's logits each channel is compared under the labels of the same channel of the teacher, as a distribution
    :math:`(1 - \sigma(z), \sigma(z))`. One sigmoid channel z thus gives the value of two softmax channels (0, z).

    Args:
        kernel: side of the window in pixels, odd, at least 3.
        dilation: distance of neighbouring pixels of the window, at least 1.
        margin: divergence in nats that pairs of different label should reach, above 0.
        ignore_index: label left out of every pair; ``None`` for none.
        class_balanced: average the attraction over classes instead of over pairs.
        algorithm: one of ``"auto"``, ``"reference"``, ``"box"``, ``"dense"``, ``"triton"``.
        activation: what turns the teacher's logits into probabilities, ``"softmax"`` or ``"sigmoid"``.
        student_map: with ``"sigmoid"``, whether the student's map holds ``"features"`` or its ``"logits"``; ``None``:
            logits where it has as many channels as the teacher's logits, else features.

    Raises:
        InputError: if an argument is unknown or out of its range.

    Example:
        >>> import torch
        >>> teacher = torch.tensor([[[[3.0, 3.0, -3.0, -3.0]], [[0.0, 0.0, 0.0, 0.0]]]])  # labels 0 0 1 1
        >>> flat = torch.zeros(1, 2, 1, 4)
        >>> AdaptiveAffinityLoss()(flat, teacher).item()  # nothing to pull together, everything to push apart
        3.0

    Source: arXiv:2404.02738, section 2 (adaptive affinity module), equations 1 to 4; margin after Ke et al., 2018,
    arXiv:1803.10335.
    """

    teacher_needs: ClassVar[TeacherNeeds] = "labels"
    activation: Activation = "softmax"
    student_map: StudentMap | None = None

    def __init__(
        self,
        kernel: int = 3,
        dilation: int = 1,
        margin: float = 3.0,
        ignore_index: int | None = 255,
        class_balanced: bool = False,
        algorithm: AffinityAlgorithm = "auto",
        activation: Activation = "softmax",
        student_map: StudentMap | None = None,
    ) -> None:
        super().__init__()
        _affinity_options(kernel, dilation, margin, ignore_index, class_balanced, algorithm)
        check_choice("activation", activation, get_args(Activation))
        check_choice("student_map", student_map, (None, *get_args(StudentMap)))
        self.kernel = kernel
        self.dilation = dilation
        self.margin = margin
        self.ignore_index = ignore_index
        self.class_balanced = class_balanced
        self.algorithm: AffinityAlgorithm = algorithm
        # What is not the default alone is a setting, so that a run which an earlier version started is the same run.
        if activation != "softmax":
            self.activation = activation
        if student_map is not None:
            self.student_map = student_map

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Return the loss of the student's scores ``[B, C, *spatial]`` under labels from the teacher's logits.

        Args:
            student: feature map or logits before the activation; at least two channels, unless they are logits of sigmoid
                channels.
            teacher: logits ``[B, K, *spatial]`` on the same images, of any spatial size. No gradient reaches them.

        Raises:
            InputError: if the shapes do not fit, the void label 255 is one of the teacher's classes, or the teacher has
                one channel with ``"softmax"``.
        """
        # The attributes may have been changed since the module was built.
        options = _affinity_options(
            self.kernel, self.dilation, self.margin, self.ignore_index, self.class_balanced, self.algorithm
        )
        if self.activation == "sigmoid":
            return _affinity_of_channels(student, teacher, options, self.algorithm, self.student_map)
        return _affinity_of_logits(student, teacher, self.labels, options, self.algorithm)

    def labels(self, teacher: Tensor) -> Tensor:
        """Return the labels that the teacher's logits ``[B, K, *spatial]`` decide.

        ``[B, *spatial]`` with ``"softmax"``; with ``"sigmoid"`` ``[B, K, *spatial]``, 1 where a channel is present.

        Raises:
            InputError: if they are no map, the void label 255 is one of the teacher's classes, or there is one channel with
                ``"softmax"``.
        """
        check_map("the teacher's logits", teacher)
        if self.activation == "sigmoid":
            return (plain(teacher.detach()) > 0).byte()
        classes = teacher.shape[1]
        if classes == 1:
            raise InputError(
                f"a softmax over one channel decides nothing (the teacher's logits are {list(teacher.shape)}): set "
                "activation to 'sigmoid'."
            )
        if self.ignore_index == _VOID_LABEL and classes > _VOID_LABEL:
            raise InputError(
                f"the teacher has {classes} classes, so that ignore_index {_VOID_LABEL} is one of them: set ignore_index "
                "to None."
            )
        logits = plain(teacher.detach())
        if classes == 2:
            # A tenth of the time of arg-max on a CPU, and the same: of equal ones the first wins.
            return (logits[:, 1] > logits[:, 0]).byte()
        labels = logits.argmax(dim=1)
        return labels.byte() if classes <= _VOID_LABEL else labels

    def extra_repr(self) -> str:
        """Show the options in ``print(module)``."""
        shown = f"kernel={self.kernel}, dilation={self.dilation}, margin={self.margin}, algorithm={self.algorithm!r}"
        return shown if self.activation == "softmax" else f"{shown}, activation={self.activation!r}"
