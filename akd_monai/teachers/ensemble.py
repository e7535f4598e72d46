# SPDX-License-Identifier: Apache-2.0
"""Several networks as one teacher."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from akd_monai.errors import InputError
from akd_monai.losses.interface import Activation
from akd_monai.networks._wrappers import frozen
from akd_monai.networks.heads import select_head
from akd_monai.teachers.average import EmaTeacher
from akd_monai.teachers.votes import TeacherVote, check_vote, combine_logits

__all__ = ["TeacherEnsemble"]


class TeacherEnsemble(nn.Module):
    """Several trained networks, of several sites or folds, whose probabilities are combined into one teacher's.

    A distillation trainer takes it as its ``teacher``: each network is then run, or read from the cache, by itself, with
    its own head and classes, and the logits are combined by :func:`combine_logits` afterwards. In a loop of one's own it is
    called on images. A term on a teacher's layer is averaged over the teachers: the loss is computed against the features
    of each, which need not mean the same in two networks, so that their mean would mean nothing; each teacher must have
    the layer, with equally many channels.

    Args:
        networks: the teachers, at least two; they are put into ``eval`` mode and get no gradients.
        vote: ``"mean"`` or ``"agreement"``, which needs three.
        activation: what turns their logits into probabilities where it is called on images; a trainer uses that of its
            ``teacher_output``.

    Attributes:
        networks: the teachers.
        vote: as given.

    Raises:
        InputError: for fewer than two networks, one network twice, another vote, or an :class:`EmaTeacher` among them.

    Example:
        >>> teachers = TeacherEnsemble([nn.Conv2d(1, 2, 1), nn.Conv2d(1, 2, 1)])
        >>> logits = teachers(torch.ones(1, 1, 4, 4))
        >>> logits.shape, bool(torch.allclose(logits.exp().sum(1), torch.ones(1, 4, 4)))
        (torch.Size([1, 2, 4, 4]), True)
    """

    def __init__(
        self, networks: Sequence[nn.Module], vote: TeacherVote = "mean", activation: Activation = "softmax"
    ) -> None:
        super().__init__()
        _check(networks)
        check_vote(vote, len(networks))
        self.networks = nn.ModuleList([frozen(network) for network in networks])
        self.vote: TeacherVote = vote
        self.activation: Activation = activation

    def __len__(self) -> int:
        return len(self.networks)

    def __iter__(self) -> Iterator[nn.Module]:
        return iter(self.networks)

    def forward(self, image: Tensor) -> Tensor:
        """Return the combined logits ``[B, K, *spatial]`` for images, without a graph."""
        with torch.no_grad():
            outputs = [_logits(network, image) for network in self.networks]
        return combine_logits(outputs, self.vote, self.activation)


def _logits(network: nn.Module, image: Tensor) -> Tensor:
    output: Any = network(image)
    return select_head(output, None, where="teacher", network=network, image_size=image.shape[2:])


def _check(networks: Sequence[nn.Module]) -> None:
    if len(networks) < 2:
        raise InputError(f"several teachers are at least 2 networks, got {len(networks)}.")
    if len({id(network) for network in networks}) < len(networks):
        raise InputError("one network is given twice among the teachers; give each once.")
    if any(isinstance(network, EmaTeacher) for network in networks):
        raise InputError("an average of the student cannot be one of several teachers: give it alone.")
