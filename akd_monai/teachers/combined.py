# SPDX-License-Identifier: Apache-2.0
"""The outputs of several teachers, each from its network or its cache, as those of one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from monai.engines import SupervisedTrainer
from torch import Tensor

from akd_monai.errors import InputError
from akd_monai.losses.interface import Activation
from akd_monai.teachers.cached import CachedTeacher
from akd_monai.teachers.online import OnlineTeacher
from akd_monai.teachers.votes import TeacherVote, check_vote, combine_logits

__all__ = ["CombinedTeacher"]


class CombinedTeacher:
    """Combine the logits of several teachers, and give the features of each.

    Each teacher keeps a cache of its own, which other runs share whatever their other teachers are: what is combined is
    what was stored.

    Args:
        members: where the outputs of each teacher come from; none of them reads labels alone from its cache.
        vote: how their logits are combined, see :func:`combine_logits`.
        activation: what turns them into probabilities.

    Attributes:
        members: as given.
        served: number of images for which outputs were returned.

    Raises:
        InputError: for another vote, or too few teachers for it.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from akd_monai.teachers import TeacherOptions
        >>> device, options = torch.device("cpu"), TeacherOptions()
        >>> networks = [nn.Sequential(nn.Conv2d(1, 4, 1), nn.Conv2d(4, 2, 1)).eval() for _ in range(3)]
        >>> teacher = CombinedTeacher([OnlineTeacher(network, ["0"], options, device) for network in networks])
        >>> logits, features = teacher(torch.ones(5, 1, 8, 8), None)
        >>> logits.shape, len(features["0"]), teacher.computed, teacher.served
        (torch.Size([5, 2, 8, 8]), 3, 15, 5)
    """

    def __init__(
        self,
        members: Sequence[OnlineTeacher | CachedTeacher],
        vote: TeacherVote = "mean",
        activation: Activation = "softmax",
    ) -> None:
        check_vote(vote, len(members))
        self.members = list(members)
        self.vote: TeacherVote = vote
        self.activation: Activation = activation
        self.served = 0

    @property
    def computed(self) -> int:
        """Number of images that went through a network, counted for each teacher."""
        return sum(member.computed for member in self.members)

    def start(self, trainer: SupervisedTrainer) -> None:
        """Prepare for a run."""
        for member in self.members:
            member.start(trainer)

    def __call__(self, image: Tensor, batch: Any) -> tuple[Tensor, dict[str, tuple[Tensor, ...]]]:
        """Return the combined logits ``[B, K, *spatial]``, and for each layer the features of every teacher.

        Args:
            image: ``[B, C, *spatial]``.
            batch: what the loader gave, for a cache.

        Raises:
            InputError: as for each teacher, or if their logits or features do not fit each other.
        """
        outputs = [member(image, batch) for member in self.members]
        self.served += len(image)
        logits = combine_logits([logits for logits, _ in outputs], self.vote, self.activation)
        features = {}
        for layer in outputs[0][1]:
            features[layer] = tuple(found[layer] for _, found in outputs)
            _check_channels(layer, [one.shape[1] for one in features[layer]])
        return logits, features

    def shapes(self, input_shape: Sequence[int]) -> dict[str, tuple[int, ...]]:
        """Return ``(C, *spatial)`` of each layer, and of the logits under ``""``, for an input ``(C, *spatial)``.

        Raises:
            InputError: if the teachers differ in the channels of a layer.
        """
        found = [member.shapes(input_shape) for member in self.members]
        for layer in found[0]:
            _check_channels(layer, [shapes[layer][0] for shapes in found])
        return found[0]


def _check_channels(layer: str, channels: Sequence[int]) -> None:
    if len(set(channels)) == 1:
        return
    listed = ", ".join(map(str, channels))
    if not layer:
        raise InputError(
            f"the teachers give {listed} classes, wanted equally many",
            remedy="say by classes what makes up the student's, or choose teachers for one task",
        )
    raise InputError(
        f"layer {layer!r} has {listed} channels in the teachers, wanted equally many, since one adapter of the student "
        "serves all",
        remedy="choose teachers of one architecture, or leave out the terms that compare features (terms=logits)",
    )
