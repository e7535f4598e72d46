# SPDX-License-Identifier: Apache-2.0
"""Learning-rate schedules by iteration, by name."""

from __future__ import annotations

import math
from typing import Literal, get_args

from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, CyclicLR, LambdaLR, LRScheduler

from akd_monai.errors import InputError, unknown_name

__all__ = ["ScheduleName", "lr_schedule"]

ScheduleName = Literal["cyclic_peak_first", "cyclic", "cosine"]


def lr_schedule(
    optimizer: Optimizer,
    name: ScheduleName = "cyclic_peak_first",
    *,
    total_iterations: int,
    floor: float = 1e-6,
    step_size: int = 2000,
) -> LRScheduler:
    r"""Return a schedule to be stepped once an iteration, whose peak is the optimizer's own learning rate.

    ``cyclic_peak_first``: with :math:`s = \min(\mathrm{step\_size}, \mathrm{total\_iterations})`,

    .. math:: \eta(t) = \eta_0 + (\eta_1 - \eta_0) \, |1 - (t \bmod 2 s) / s|

    the peak :math:`\eta_1` at t = 0 and the floor :math:`\eta_0` at t = s, so that a short run ends at the floor.
    ``cyclic``: PyTorch's ``CyclicLR`` as it is, which starts at the floor and rises for ``step_size`` iterations.
    ``cosine``: from the peak to the floor over the complete run.

    Args:
        optimizer: its learning rate is the peak.
        name: one of the three.
        total_iterations: epochs times iterations an epoch, at least 1.
        floor: lowest learning rate, above 0 and below the peak.
        step_size: iterations from the peak to the floor, at least 1.

    Raises:
        UnknownNameError: for another name.
        InputError: when a number is out of its range.

    Example:
        >>> import torch
        >>> sgd = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.01)
        >>> schedule = lr_schedule(sgd, total_iterations=100)
        >>> schedule.get_last_lr()
        [0.01]

    Source: arXiv 2404.02738, section 3, which states both "initialized with 0.01 ... gradually decreasing" and CyclicLR;
    the first is the default because the second never decreases within a short run.
    """
    if name not in get_args(ScheduleName):
        raise unknown_name("schedule", name, get_args(ScheduleName))
    peak = float(optimizer.param_groups[0]["lr"])
    _check_numbers(total_iterations, step_size, floor, peak)
    if name == "cyclic":
        # cycle_momentum would silently cycle Adam's first beta as well
        return CyclicLR(optimizer, base_lr=floor, max_lr=peak, step_size_up=step_size, cycle_momentum=False)
    if name == "cosine":
        return CosineAnnealingLR(optimizer, T_max=math.ceil(total_iterations), eta_min=floor)
    length = min(step_size, total_iterations)
    return LambdaLR(optimizer, lambda t: (floor + (peak - floor) * abs(1 - (t % (2 * length)) / length)) / peak)


def _check_numbers(total_iterations: int, step_size: int, floor: float, peak: float) -> None:
    if total_iterations < 1:
        raise InputError(
            f"there is nothing to train: total_iterations must be at least 1, got {total_iterations}",
            remedy="give at least one epoch, and a batch_size of at most the number of samples, as a smaller last batch is "
            "dropped",
        )
    if step_size < 1:
        raise InputError(f"step_size must be at least 1, got {step_size}.")
    if not 0 < floor < peak:
        raise InputError(f"floor must lie above 0 and below the optimizer's learning rate {peak:g}, got {floor:g}.")
