# SPDX-License-Identifier: Apache-2.0
"""The weight of a term over a training: start, ramp, end and decay."""

# No `from __future__ import annotations`: the reference page shows the choices instead of the name of their type.
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from akd_monai.errors import InputError, check_choice, check_mapping, check_number

__all__ = ["ScheduleShape", "ScheduleUnit", "TermSchedule"]

#: How a weight rises and falls, see :class:`TermSchedule`.
ScheduleShape = Literal["linear", "sigmoid"]
#: Whether a weight changes with each iteration, or is constant within an epoch.
ScheduleUnit = Literal["iteration", "epoch"]


@dataclass(frozen=True)
class TermSchedule:
    r"""Factor of a term's weight as a function of the epochs t that a training has completed.

    .. math:: f(t) = \begin{cases}
              0 & t < s \\
              g\big((t - s) / r\big) & s \le t < s + r \\
              1 & s + r \le t < e \\
              g\big(1 - (t - e) / d\big) & e \le t < e + d \\
              0 & e + d \le t \end{cases}, \qquad
              g(x) = x \;\text{or}\; \exp\big(-5 (1 - x)^2\big)

    with start s, ramp r, end e and decay d, in epochs; fractions are allowed. The defaults give 1 throughout. In a trainer
    of this package :math:`t = (i - 1) / n` at iteration i of n an epoch, counted from 1: a function of the iteration alone,
    so that a resumed run has the same factors. A term whose factor is 0 is not computed, and counts as 0.

    Args:
        start_epoch: s, at least 0; before it, while the student warms up, the term is off.
        ramp_epochs: r, at least 0; 0 starts with the full weight.
        end_epoch: e, after the ramp; by default the term does not end.
        decay_epochs: d, at least 0; 0 ends at once.
        shape: of ramp and decay, ``"linear"`` or ``"sigmoid"``, the g above; the second starts at exp(-5) = 0.007.
        by: ``"iteration"`` as above, or ``"epoch"``, with t rounded down, so that the factor is constant within an epoch.

    Raises:
        InputError: if a value is of the wrong kind or out of range, or the end lies within the ramp.

    Example:
        >>> ramp = TermSchedule(start_epoch=1, ramp_epochs=4)
        >>> [ramp.factor(t) for t in (0.5, 1, 2.5, 5, 100)]
        [0.0, 0.0, 0.375, 1.0, 1.0]
        >>> round(TermSchedule(ramp_epochs=2, shape="sigmoid").factor(1), 4)
        0.2865

    Source: the sigmoid ramp is that of Laine and Aila, 2017, arXiv:1610.02242.
    """

    start_epoch: float = 0.0
    ramp_epochs: float = 0.0
    end_epoch: float | None = None
    decay_epochs: float = 0.0
    shape: ScheduleShape = "linear"
    by: ScheduleUnit = "iteration"

    def __post_init__(self) -> None:
        for name in ("start_epoch", "ramp_epochs", "decay_epochs"):
            check_number(f"{name} of a schedule", getattr(self, name), at_least=0)
        check_choice("shape of a schedule", self.shape, get_args(ScheduleShape))
        check_choice("by of a schedule", self.by, get_args(ScheduleUnit))
        if self.end_epoch is None:
            if self.decay_epochs:
                raise InputError("decay_epochs of a schedule has no effect without an end_epoch", remedy="give both")
            return
        check_number("end_epoch of a schedule", self.end_epoch, at_least=0)
        full = self.start_epoch + self.ramp_epochs
        if self.end_epoch < full:
            raise InputError(
                f"end_epoch {self.end_epoch:g} of a schedule lies before {full:g}, where its ramp ends",
                remedy="end it later, or start it earlier",
            )

    @classmethod
    def read(cls, given: "TermSchedule | Mapping[str, Any] | None") -> "TermSchedule | None":
        """Return the schedule that a config gives as a mapping; None where it gives none.

        Raises:
            InputError: if it is no mapping, or a value is wrong.
            UnknownNameError: if an entry does not exist.
        """
        if given is None or isinstance(given, TermSchedule):
            return given
        return cls(**check_mapping("schedule", given, [field.name for field in fields(cls)]))

    def factor(self, epochs: float) -> float:
        """Return the factor of the weight after so many epochs, in [0, 1]."""
        time = math.floor(epochs) if self.by == "epoch" else epochs
        if time < self.start_epoch:
            return 0.0
        if self.end_epoch is not None and time >= self.end_epoch:
            return self._falling(time - self.end_epoch)
        since = time - self.start_epoch
        return self._shaped(since / self.ramp_epochs) if since < self.ramp_epochs else 1.0

    def _falling(self, since: float) -> float:
        return self._shaped(1 - since / self.decay_epochs) if since < self.decay_epochs else 0.0

    def _shaped(self, share: float) -> float:
        return share if self.shape == "linear" else math.exp(-5 * (1 - share) ** 2)
