# SPDX-License-Identifier: Apache-2.0
"""An average of the student's own weights as its teacher."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from akd_monai.errors import InputError
from akd_monai.networks._wrappers import frozen, unwrap

__all__ = ["EmaTeacher"]

_DECAY = 0.99


class EmaTeacher(nn.Module):
    r"""The exponential moving average of a student's weights, a teacher that learns with it ("mean teacher").

    .. math:: \theta'_0 = \theta_0, \qquad \theta'_t = \alpha\, \theta'_{t-1} + (1 - \alpha)\, \theta_t

    after each step :math:`t` of the optimizer; buffers, such as the statistics of batch normalisation, are copied from
    the student. It is in ``eval`` mode, without dropout, and gets no gradients. What it teaches at first is the student
    itself, so that terms on logits start at zero.

    A distillation trainer takes it as its ``teacher``, follows its network and optimizer, and saves it with a run, so that
    a run that is killed resumes with it. A teacher cache is refused, because the outputs change with each step.

    Args:
        decay: :math:`\alpha`, at least 0 and below 1. About :math:`1 / (1 - \alpha)` steps are averaged.

    Raises:
        InputError: for another decay.

    Example:
        >>> import torch
        >>> student = nn.Linear(1, 1, bias=False)
        >>> _ = nn.init.constant_(student.weight, 1.0)
        >>> optimizer = torch.optim.SGD(student.parameters(), lr=1.0)
        >>> teacher = EmaTeacher(decay=0.75).follow(student, optimizer)
        >>> student(torch.ones(1, 1)).sum().backward()  # the gradient is 1
        >>> optimizer.step()
        >>> student.weight.item(), teacher.network.weight.item()
        (0.0, 0.75)

    Source: Tarvainen and Valpola, 2017, arXiv:1703.01780, section 2; the average is PyTorch's ``AveragedModel``.
    """

    def __init__(self, decay: float = _DECAY) -> None:
        super().__init__()
        if isinstance(decay, bool) or not isinstance(decay, (int, float)) or not 0 <= decay < 1:
            raise InputError(f"ema_decay must be a number of at least 0 and below 1, got {decay!r}.")
        self.decay = float(decay)
        self.average: AveragedModel | None = None

    @property
    def network(self) -> nn.Module:
        """The averaged network.

        Raises:
            InputError: before :meth:`follow`.
        """
        return self._followed().module

    def follow(self, student: nn.Module, optimizer: Optimizer | None = None) -> EmaTeacher:
        """Start from the student's weights and return this teacher.

        Args:
            student: the network that learns; wrappers such as ``DistributedDataParallel`` are removed.
            optimizer: after each of its steps the average is updated; without it, call :meth:`update` yourself.
        """
        plain = unwrap(student)
        self.average = AveragedModel(plain, multi_avg_fn=get_ema_multi_avg_fn(self.decay))
        frozen(self.average)
        self.restart(student)
        if optimizer is not None:
            optimizer.register_step_post_hook(lambda stepped, *_: self._step(stepped, plain))
        return self

    def restart(self, student: nn.Module) -> None:
        """Take over the student's weights as they are, unless steps have been averaged already."""
        average = self._followed()
        if average.n_averaged <= 1:
            average.n_averaged.zero_()
            # the first update copies
            average.update_parameters(unwrap(student))

    def update(self, student: nn.Module) -> None:
        """Average the weights that the student has after a step, and copy its buffers."""
        self._followed().update_parameters(unwrap(student))

    def forward(self, image: Tensor) -> Any:
        """Return what the averaged network returns."""
        return self.network(image)

    def _step(self, optimizer: Optimizer, student: nn.Module) -> None:
        # a fused optimizer is called after an overflow as well, and then skips the step
        if not bool(getattr(optimizer, "found_inf", False)):
            self.update(student)

    def _followed(self) -> AveragedModel:
        if self.average is None:
            raise InputError("an average of the student has no weights before it follows one: call follow(student).")
        return self.average
