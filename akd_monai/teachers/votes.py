# SPDX-License-Identifier: Apache-2.0
"""One prediction from those of several teachers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from akd_monai.errors import InputError, check_choice
from akd_monai.losses.interface import Activation

__all__ = ["TeacherVote", "check_vote", "combine_logits"]

#: How several teachers become one, by the mean of their probabilities, or by a mean in which those count more that agree
#: with the others.
TeacherVote = Literal["mean", "agreement"]

# where no two teachers agree at all, they count alike
_LEAST = 1e-6
# with two, each agrees with the other as much as the other with it
_FEWEST = 3


def check_vote(vote: object, teachers: int) -> None:
    """Refuse a vote that does not exist, or that a number of teachers cannot hold.

    Raises:
        InputError: for another vote, or ``"agreement"`` of fewer than three.

    Example:
        >>> check_vote("agreement", 2)
        Traceback (most recent call last):
        ...
        akd_monai.errors.InputError: teacher_vote 'agreement' needs at least 3 teachers, got 2: ...
    """
    check_choice("teacher_vote", vote, get_args(TeacherVote))
    if vote == "agreement" and teachers < _FEWEST:
        raise InputError(
            f"teacher_vote 'agreement' needs at least {_FEWEST} teachers, got {teachers}: two always agree with one "
            "another alike, and one has no other",
            remedy="set teacher_vote to mean",
        )


def combine_logits(logits: Sequence[Tensor], vote: TeacherVote = "mean", activation: Activation = "softmax") -> Tensor:
    r"""Return logits of the probabilities that several teachers give together.

    With the probabilities :math:`p_m` of :math:`M` teachers at a pixel, those that are returned are

    .. math:: \bar p_c = \sum_m w_m\, p_{m,c}

    ``"mean"``: :math:`w_m = 1 / M`. ``"agreement"``: the weight of a teacher at a pixel is the probability that it and
    another one, each drawing a class by its own probabilities, draw the same one,

    .. math:: w_m \propto \varepsilon + \frac{1}{M - 1} \sum_{j \ne m} \sum_c p_{m,c}\, p_{j,c},
        \qquad \sum_m w_m = 1, \quad \varepsilon = 10^{-6}

    so that a teacher that contradicts the others, or is not certain, counts less there. Under softmax the result is
    :math:`\log \bar p`, whose exponentials sum to 1; under sigmoid each channel is a pixel of its own with two classes,
    and the result is :math:`\log \bar p - \log (1 - \bar p)`. Sums are taken of logarithms, so that nothing underflows.
    A temperature of a loss acts on the combined logits.

    Args:
        logits: those of each teacher, ``[B, K, *spatial]``, of one shape.
        vote: ``"mean"`` or ``"agreement"``.
        activation: what turns logits into probabilities.

    Returns:
        Logits ``[B, K, *spatial]``, float32, or float64 where they were given so.

    Raises:
        InputError: for another vote, too few teachers for it, or logits of different shapes.

    Example:
        >>> sure, unsure = torch.tensor([0.9, 0.1]).log(), torch.tensor([0.5, 0.5]).log()
        >>> [round(p, 4) for p in combine_logits([sure[None], unsure[None]]).exp().flatten().tolist()]
        [0.7, 0.3]

    Source: mean of probabilities, for instance You et al., Learning from Multiple Teacher Networks, KDD 2017, section 3.1.
    The weights are our own: a soft, pixel-wise form of the agreement whose complement is the disagreement measure of
    Kuncheva and Whitaker, Machine Learning 51, 2003.
    """
    check_vote(vote, len(logits))
    _check_shapes(logits, activation)
    values = torch.stack([_precise(one) for one in logits])
    if activation == "softmax":
        logs = values.log_softmax(2)
        return (logs + _log_weights(logs.exp(), vote, dim=2)).logsumexp(0)
    yes = F.logsigmoid(values)
    no = F.logsigmoid(-values)
    weights = _log_weights(torch.stack([yes, no], -1).exp(), vote, dim=-1).squeeze(-1)
    return (yes + weights).logsumexp(0) - (no + weights).logsumexp(0)


def _log_weights(probabilities: Tensor, vote: TeacherVote, dim: int) -> Tensor:
    """Return logarithms of the weights of ``[M, ...]`` probabilities, whose classes lie along ``dim``, which becomes 1."""
    teachers = len(probabilities)
    if vote == "mean":
        return probabilities.new_full((1,) * probabilities.dim(), -math.log(teachers))
    others = probabilities.sum(0, keepdim=True) - probabilities
    agreement = (probabilities * others).sum(dim, keepdim=True) / (teachers - 1)
    # a difference of sums may round to below zero
    raw = agreement.clamp(min=0) + _LEAST
    return (raw / raw.sum(0, keepdim=True)).log()


def _precise(logits: Tensor) -> Tensor:
    return logits if logits.dtype == torch.float64 else logits.float()


def _check_shapes(logits: Sequence[Tensor], activation: Activation) -> None:
    shapes = [list(one.shape) for one in logits]
    if not shapes:
        raise InputError("there are no logits to combine: give those of at least one teacher.")
    if activation == "softmax" and shapes[0][1] == 1:
        raise InputError(
            "the softmax of one channel is always 1", remedy="set activation to sigmoid for teachers of one channel"
        )
    for number, shape in enumerate(shapes):
        if shape != shapes[0]:
            raise InputError(
                f"teachers 1 and {number + 1} give logits {shapes[0]} and {shape}, wanted one shape",
                remedy="choose teachers whose outputs have one size, and say by classes what makes up the student's",
            )
