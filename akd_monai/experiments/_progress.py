# SPDX-License-Identifier: Apache-2.0
"""How far an experiment is, and how long the rest takes."""

from __future__ import annotations

from collections.abc import Sequence

from akd_monai.experiments._estimate import Used
from akd_monai.experiments._plan.cell import Cell

__all__ = ["Progress", "duration", "size", "summary"]


class Progress:
    """Counts cells and estimates the time left from those that have ended.

    Args:
        cells: the cells to be run.
        places: how many run at the same time.
        before: cells of the experiment that are done.
    """

    def __init__(self, cells: Sequence[Cell], places: int, before: Sequence[Cell] = ()) -> None:
        self._left = {cell.name: cell for cell in cells}
        self._used = Used()
        self._used.learn(before)
        self._total = len(cells)
        self._places = places

    def ended(self, cell: Cell, outcome: float | BaseException) -> str:
        """Take the end of a cell into account and return a line about it."""
        del self._left[cell.name]
        done = self._total - len(self._left)
        if isinstance(outcome, BaseException):
            return f"[{done}/{self._total}] {cell.name}: FAILED, {outcome}"
        self._used.add(cell, {"seconds": outcome})
        left = self.seconds_left()
        rest = f", about {duration(left)} left" if left else ""
        return f"[{done}/{self._total}] {cell.name}: done in {duration(outcome)}{rest}"

    def seconds_left(self) -> float:
        """Return the estimate, 0 where nothing is known."""
        estimate = self._used.estimate(list(self._left.values()), self._places)
        return 0.0 if estimate is None else estimate.seconds


def summary(every: Sequence[Cell], cells: Sequence[Cell], left: Sequence[Cell], places: int) -> str:
    """Say how many cells are done, and what the others will take.

    Args:
        every: all cells of the experiment, from which the measure is taken.
        cells: those that are asked for.
        left: those of them that are not done.
        places: how many run at the same time.
    """
    count = len(cells) - len(left)
    done = f"{count} of {len(cells)} cells are done"
    if not left:
        return done
    used = Used()
    used.learn(every)
    estimate = used.estimate(left, places)
    if estimate is None:
        return f"{done}; there is no estimate of time, memory and disk before the first ones are"
    parts = [f"about {duration(estimate.seconds)} with {places} at a time"]
    if estimate.memory_bytes is not None:
        parts.append(f"up to {size(estimate.memory_bytes)} of memory at once")
    if estimate.disk_bytes is not None:
        parts.append(f"{size(estimate.disk_bytes)} of disk")
    return f"{done}; by their measure, the rest takes {', '.join(parts)}"


def duration(seconds: float) -> str:
    """Write a duration.

    Example:
        >>> duration(4.2), duration(130), duration(7260)
        ('4 s', '2 min', '2 h 1 min')
    """
    if seconds < 120:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def size(count: float) -> str:
    """Write a number of bytes.

    Example:
        >>> size(2_500_000), size(3_210_000_000)
        ('2.5 MB', '3.2 GB')
    """
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
