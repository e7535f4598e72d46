# SPDX-License-Identifier: Apache-2.0
"""From what a teacher's network returns to logits of the student's classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from numbers import Integral
from typing import Any, get_args

import torch
from torch import Tensor, nn

from akd_monai.errors import InputError, check_choice, check_mapping
from akd_monai.losses.interface import Activation
from akd_monai.networks.heads import Head, select_head

__all__ = ["TeacherOutput"]

_WHERE = "teacher"


@dataclass(frozen=True)
class TeacherOutput:
    r"""What is taken from a teacher's output: one head, and of its channels the classes of the student.

    Classes are merged exactly: under softmax the logit of a merged class is

    .. math:: z_k = \log \sum_{c \in C_k} \exp z_c, \qquad \text{so that} \quad p_k = \sum_{c \in C_k} p_c

    which needs every channel of the teacher in exactly one class: what the student does not know belongs to its
    background. Under sigmoid a class is one channel; channels in no class are left out. The probability of a union of
    channels that overlap does not follow from theirs, so that several are refused.

    A config gives it as one mapping, ``teacher_output`` of the trainer; what it leaves out has its default.

    Args:
        head: which output of the network, see :func:`~akd_monai.networks.select_head`.
        classes: for each class of the student the teacher's channels that make it up; ``None`` if both have the same
            classes in one order.
        activation: what turns the logits into probabilities, ``"softmax"`` or ``"sigmoid"``.

    Raises:
        InputError: if a value is of the wrong kind, a channel is in two classes, or several are merged under sigmoid.

    Example:
        >>> merged = TeacherOutput(classes=[[0, 3], [1, 2]])  # zones 1 and 2 are one gland, 3 is background
        >>> logits = torch.log(torch.tensor([0.1, 0.2, 0.3, 0.4])).reshape(1, 4, 1, 1)
        >>> [round(p, 4) for p in merged(logits).softmax(1).flatten().tolist()]
        [0.5, 0.5]

    Source: the log-sum-exp of logits is the logit of a sum of softmax probabilities, by definition of softmax.
    """

    head: Head = None
    classes: Sequence[Sequence[int]] | None = None
    activation: Activation = "softmax"

    def __post_init__(self) -> None:
        check_choice("activation of the teacher's output", self.activation, get_args(Activation))
        if isinstance(self.head, bool) or not isinstance(self.head, (int, str, type(None))):
            raise InputError(f"head of the teacher's output must be an index, a key or null, got {self.head!r}.")
        if self.classes is not None:
            _check_classes(self.classes, self.activation)

    @classmethod
    def read(cls, given: TeacherOutput | Mapping[str, Any] | None) -> TeacherOutput:
        """Return what a config gives as a mapping.

        Raises:
            InputError: if it is no mapping, or a value is wrong.
            UnknownNameError: if an entry does not exist.

        Example:
            >>> TeacherOutput.read({"activation": "sigmoid"}).activation
            'sigmoid'
        """
        if isinstance(given, TeacherOutput):
            return given
        known = [field.name for field in fields(cls)]
        return cls(**check_mapping("teacher_output", {} if given is None else given, known))

    def __call__(
        self, output: Any, *, network: nn.Module | None = None, image_size: Sequence[int] | None = None
    ) -> Tensor:
        """Return logits ``[B, K, *spatial]``, one channel for each class of the student.

        Args:
            output: what the teacher's network returned.
            network: the network, see :func:`~akd_monai.networks.select_head`.
            image_size: spatial size of the images.

        Raises:
            InputError: if there is no such head, or the classes do not fit the teacher's channels.
        """
        logits = select_head(output, self.head, where=_WHERE, network=network, image_size=image_size)
        self.channels(logits.shape[1])
        return logits if self.classes is None else _merged(logits, self.classes)

    def channels(self, of_teacher: int) -> int:
        """Return the number of channels after the classes were merged, for a teacher of so many channels.

        Raises:
            InputError: if the classes do not fit them.

        Example:
            >>> TeacherOutput().channels(4), TeacherOutput(classes=[[0, 3], [1, 2]]).channels(4)
            (4, 2)
        """
        if self.classes is None:
            return of_teacher
        _check_channels(self.classes, of_teacher, self.activation)
        return len(self.classes)

    def facts(self) -> dict[str, Any]:
        """Return what differs from the defaults, as JSON values: a part of what decides a stored output.

        Example:
            >>> TeacherOutput().facts(), TeacherOutput("mask", [[1], [0]], "sigmoid").facts()
            ({}, {'head': 'mask', 'classes': [[1], [0]], 'activation': 'sigmoid'})
        """
        facts: dict[str, Any] = {}
        if self.head is not None:
            facts["head"] = self.head
        if self.classes is not None:
            facts["classes"] = [[int(channel) for channel in members] for members in self.classes]
        if self.activation != "softmax":
            facts["activation"] = self.activation
        return facts


def _check_classes(classes: object, activation: Activation) -> None:
    """Raise ``InputError`` unless classes are lists of channels, each channel once, and may be merged."""
    if not _is_list(classes) or not classes:
        raise InputError(f"classes of the teacher's output must be a list of lists of channels, got {classes!r}.")
    seen: set[int] = set()
    for k, members in enumerate(classes):  # type: ignore[arg-type, var-annotated]
        if not _is_list(members) or not members or not all(_is_channel(member) for member in members):
            raise InputError(f"class {k} of the teacher's output must list channels, such as [0, 2], got {members!r}.")
        if activation == "sigmoid" and len(members) > 1:
            raise InputError(
                f"class {k} merges the teacher's channels {list(members)}, but the probability of a union of sigmoid "
                "channels, which may overlap, does not follow from theirs",
                remedy="give each class one channel, or leave the class out of the student",
            )
        for member in members:
            if int(member) in seen:
                raise InputError(f"channel {member} of the teacher is listed twice in the classes {classes!r}.")
            seen.add(int(member))


def _is_list(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))


def _is_channel(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= 0


def _check_channels(classes: Sequence[Sequence[int]], channels: int, activation: Activation) -> None:
    """Raise ``InputError`` unless a teacher of so many channels has these classes."""
    listed = [channel for members in classes for channel in members]
    if max(listed) >= channels:
        raise InputError(f"the classes name channel {max(listed)} of the teacher, which has {channels}, from 0 on.")
    missing = sorted(set(range(channels)) - set(listed))
    if missing and activation == "softmax":
        raise InputError(
            f"the classes leave out channels {missing} of the teacher, whose probability would belong to no class",
            remedy="add them to the class they are part of for the student, as a rule class 0, the background",
        )


def _merged(logits: Tensor, classes: Sequence[Sequence[int]]) -> Tensor:
    if all(len(members) == 1 for members in classes):
        order = [int(channel) for (channel,) in classes]
        return logits if order == list(range(logits.shape[1])) else logits[:, order]
    # Half precision would round the sum.
    values = logits if logits.dtype == torch.float64 else logits.float()
    columns = []
    for members in classes:
        channels = values[:, list(members)]
        columns.append(channels if len(members) == 1 else channels.logsumexp(1, keepdim=True))
    return torch.cat(columns, 1)
