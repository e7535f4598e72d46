# SPDX-License-Identifier: Apache-2.0
"""How far an experiment is, and how long the rest takes."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from akd_monai.experiments._plan.cell import Cell

__all__ = ["Progress", "duration"]


class Progress:
    """Counts cells and estimates the time left from those that have ended.

    Args:
        cells: the cells to be run.
        places: how many run at the same time.
    """

    def __init__(self, cells: Sequence[Cell], places: int) -> None:
        self._left = Counter(cell.kind for cell in cells)
        self._seconds: dict[str, list[float]] = defaultdict(list)
        self._total = len(cells)
        self._places = places
        self._failed = 0

    def ended(self, cell: Cell, outcome: float | BaseException) -> str:
        """Take the end of a cell into account and return a line about it."""
        self._left[cell.kind] -= 1
        done = self._total - sum(self._left.values())
        if isinstance(outcome, BaseException):
            self._failed += 1
            return f"[{done}/{self._total}] {cell.name}: FAILED, {outcome}"
        self._seconds[cell.kind].append(outcome)
        left = self.seconds_left()
        rest = f", about {duration(left)} left" if left else ""
        return f"[{done}/{self._total}] {cell.name}: done in {duration(outcome)}{rest}"

    def seconds_left(self) -> float:
        """Return the estimate: the mean time of each kind of cell, that of all where a kind has none, over the places."""
        known = {kind: sum(values) / len(values) for kind, values in self._seconds.items()}
        if not known:
            return 0.0
        usual = sum(known.values()) / len(known)
        return sum(count * known.get(kind, usual) for kind, count in self._left.items()) / self._places


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
