# SPDX-License-Identifier: Apache-2.0
"""What a distillation loss says about itself, so that it may be computed from stored maps and without an adapted map."""

from __future__ import annotations

from typing import ClassVar, Literal

from torch import Tensor, nn

__all__ = ["Activation", "DistillationLoss", "TeacherNeeds"]

#: How logits become probabilities, by softmax over the channels, or by a sigmoid for each of them, which may overlap. A
#: network of one channel is of the second kind.
Activation = Literal["softmax", "sigmoid"]

#: What a loss reads of the teacher's logits, see :attr:`akd_monai.losses.DistillationLoss.teacher_needs`.
TeacherNeeds = Literal["logits", "differences", "labels"]


class DistillationLoss(nn.Module):
    """Base class for a loss called as ``loss(student, teacher)``, with optional statements about it.

    Any module with such a ``forward`` that returns a scalar can be used in a term. One that makes a statement, by
    deriving from this class or by merely having an attribute or method of that name, is computed faster or is given more:

    * :attr:`teacher_needs` lets a teacher cache store and read less than the complete logits;
    * :meth:`forward_with_adapter` computes the loss without the adapted student map;
    * :attr:`needs_labels` has the loss called as ``loss(student, teacher, labels)``.

    The first two describe what ``forward`` computes. They therefore hold for the class that makes them, and for subclasses
    that define no method except ``__init__`` and ``extra_repr``. A subclass that defines another one, such as
    ``forward``, must repeat them; until then it is given the complete logits and an adapted map.

    Attributes:
        teacher_needs: what the loss reads of the teacher's logits ``[B, K, *spatial]``. ``"logits"``: every number, the
            default of a module that says nothing. ``"differences"``: the differences of the channels of a pixel, as a
            softmax does; they may have been stored in half precision. ``"labels"``: the channel of the largest logit
            alone or, of one channel, whether it is above 0. A class attribute or a property. Feature maps are always
            given as they are. Of sigmoid channels the last two mean each logit, perhaps in half precision, and its sign;
            they hold for a loss whose attribute ``activation`` is ``"sigmoid"``, any other is given every number.
        needs_labels: whether ``forward`` takes the ground truth of the task as a third argument, as the task's own loss is
            given it, of the image's size. Unlike the others, subclasses inherit it. Training without labels is then refused.

    Example:
        >>> import torch
        >>> class Disagreement(DistillationLoss):
        ...     teacher_needs = "labels"
        ...
        ...     def forward(self, student, teacher):
        ...         return torch.nn.functional.cross_entropy(student, teacher.argmax(1))
        >>> student, teacher = torch.zeros(1, 2, 3, 3), torch.randn(1, 2, 3, 3)
        >>> round(Disagreement()(student, teacher).item(), 4)  # log 2
        0.6931
    """

    teacher_needs: ClassVar[TeacherNeeds] = "logits"
    needs_labels: ClassVar[bool] = False

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Return the loss, a scalar.

        Args:
            student: map of the student ``[B, C, *spatial]``, after its adapter.
            teacher: map of the teacher ``[B, K, *spatial]``. No gradient reaches it.
        """
        raise NotImplementedError(f"{type(self).__name__} must define forward(student, teacher).")

    def forward_with_adapter(self, student: Tensor, teacher: Tensor, weight: Tensor) -> Tensor | None:
        """Return ``forward(adapter(student), teacher)`` without the adapted map, or ``None`` if that is not faster.

        Called in place of ``forward`` where the term's adapter is a plain 1x1 convolution without bias.

        Args:
            student: map of the student ``[B, C, *spatial]``, before the adapter.
            teacher: map of the teacher ``[B, K, *spatial]``.
            weight: the adapter's weights ``[K, C]``, which receive a gradient.
        """
        return None
