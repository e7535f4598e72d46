# SPDX-License-Identifier: Apache-2.0
"""Scales that make the weight of a term its share of the task loss."""

# No `from __future__ import annotations`: the reference page shows the choices instead of the name of their type.
from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from akd_monai.errors import InputError, check_choice
from akd_monai.losses._checks import plain

__all__ = ["BalanceBy", "TermBalance"]

#: What is compared of a term and of the task loss, see :class:`TermBalance`.
BalanceBy = Literal["value", "gradient"]

_MOMENTUM = 0.9
# gradients of a loss that is averaged over pixels are too small for half precision
_HALF_FACTOR = 1024.0


class TermBalance(nn.Module):
    r"""Scale each term so that its weight is its share of the task loss, at the first step and later at most.

    With the size :math:`a_k` of the task loss and :math:`b_k` of a term, before its weight, at the k-th step that computes
    the term, it is multiplied by

    .. math:: s_k = \min\Big(s_1, \frac{A_k}{B_k}\Big), \qquad A_1 = a_1, \quad A_k = 0.9 \, A_{k-1} + 0.1 \, a_k,
              \qquad B \text{ alike}

    so that a term of weight w starts at w times the task loss, follows it downwards, and is never multiplied by more than at
    its start, however small it has become.

    Sizes by ``"value"`` are absolute values. By ``"gradient"`` they are the 2-norms of the gradients with respect to the
    student's map that the term compares, its logits or features before an adapter, which takes one more backward pass from
    the task loss to that map a step.

    A step in which a size is not finite, or that of the term is 0, changes no mean. Sizes are averaged over the processes of
    a distributed training. The means are buffers: they are saved with the criterion, and a resumed run continues with them.

    Args:
        names: of the terms.
        by: what the sizes are.

    Raises:
        InputError: if ``by`` is unknown; in the call, if a size by gradient does not exist.

    Example:
        >>> balance = TermBalance(["borders"], "value")
        >>> task, term = torch.tensor(0.5), torch.tensor(4.0)
        >>> balance("borders", term, task, term).item()
        0.125
    """

    steps: Tensor
    task_mean: Tensor
    term_mean: Tensor
    first_scale: Tensor

    def __init__(self, names: Sequence[str], by: BalanceBy) -> None:
        super().__init__()
        check_choice("balance", by, get_args(BalanceBy))
        self.by: BalanceBy = by
        self._places = {name: place for place, name in enumerate(names)}
        self.register_buffer("steps", torch.zeros(len(names), dtype=torch.int64))
        for name in ("task_mean", "term_mean", "first_scale"):
            self.register_buffer(name, torch.ones(len(names)))

    def forward(self, name: str, value: Tensor, task: Tensor, student: Tensor) -> Tensor:
        """Return the scale of a term at this step, without a gradient.

        In ``eval`` mode, or without gradients, the scale is that of the step before.

        Args:
            name: of the term.
            value: the term, a scalar, not weighted.
            task: the task loss, a scalar.
            student: the student's map that the term compares, as the network has returned it.
        """
        place = self._places[name]
        if self.training and torch.is_grad_enabled():
            sizes = torch.stack([self._size(task, student, "task loss"), self._size(value, student, f"term {name!r}")])
            self._see(place, *_mean_of_processes(sizes))
        ratio = self.task_mean[place] / self.term_mean[place]
        return torch.minimum(ratio, self.first_scale[place])

    def _size(self, loss: Tensor, student: Tensor, what: str) -> Tensor:
        if self.by == "value":
            return plain(loss).detach().float().abs().reshape(())
        return _gradient_norm(loss, student, what)

    @torch.no_grad()
    def _see(self, place: int, task: Tensor, term: Tensor) -> None:
        is_valid = torch.isfinite(task) & torch.isfinite(term) & (term > 0)
        is_first = self.steps[place] == 0
        for mean, size in ((self.task_mean, task), (self.term_mean, term)):
            later = _MOMENTUM * mean[place] + (1 - _MOMENTUM) * size
            new = torch.where(is_first, size, later)
            mean[place] = torch.where(is_valid, new, mean[place])
        ratio = self.task_mean[place] / self.term_mean[place]
        self.first_scale[place] = torch.where(is_first & is_valid, ratio, self.first_scale[place])
        self.steps[place] += is_valid


def _gradient_norm(loss: Tensor, student: Tensor, what: str) -> Tensor:
    """Return the 2-norm of the gradient of a loss with respect to a map."""
    factor = _HALF_FACTOR if student.dtype == torch.float16 else 1.0
    found = None
    if loss.requires_grad and student.requires_grad:
        # a backward pass belongs outside of autocast
        with torch.autocast(student.device.type, enabled=False):
            scaled = plain(loss).reshape(()) * factor
            (found,) = torch.autograd.grad(scaled, student, retain_graph=True, allow_unused=True)
    if found is None:
        raise InputError(
            f"balance by gradient: the {what} has no gradient with respect to the student's map that the term compares",
            remedy="balance by value, or choose a layer through which the task loss is trained",
        )
    norm: Tensor = plain(found).detach().float().norm()
    return norm / factor


def _mean_of_processes(sizes: Tensor) -> Tensor:
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return sizes
    torch.distributed.all_reduce(sizes)
    processes: int = torch.distributed.get_world_size()
    return sizes / processes
