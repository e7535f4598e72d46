# SPDX-License-Identifier: Apache-2.0
"""How much time, memory and disk the cells of an experiment take, from those that are done."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from akd_monai.experiments._plan.cell import Cell, is_done
from akd_monai.files import read_json

__all__ = ["Estimate", "Used"]

Quantity = Literal["seconds", "peak_memory_bytes", "disk_bytes"]
_QUANTITIES: tuple[Quantity, ...] = ("seconds", "peak_memory_bytes", "disk_bytes")


@dataclass(frozen=True)
class Estimate:
    """What the cells that are left take.

    Args:
        seconds: until the last of them ends.
        memory_bytes: at once, if the largest of them run at the same time; ``None`` where the system does not say.
        disk_bytes: that they write; likewise.
    """

    seconds: float
    memory_bytes: float | None
    disk_bytes: float | None


class Used:
    """What cells have used, by kind and network.

    A cell is expected to use the mean of the cells of its kind and network; where there are none, of its kind; where
    there are none either, the mean over the kinds that are known.
    """

    def __init__(self) -> None:
        self._values: dict[Quantity, dict[tuple[str, ...], list[float]]] = {
            quantity: defaultdict(list) for quantity in _QUANTITIES
        }

    def learn(self, cells: Iterable[Cell]) -> None:
        """Take into account what the results of those cells say that are done."""
        for cell in cells:
            if is_done(cell):
                self.add(cell, read_json(cell.result))

    def add(self, cell: Cell, result: Mapping[str, Any]) -> None:
        """Take the result of a cell into account."""
        for quantity in _QUANTITIES:
            value = result.get(quantity)
            # of a cell that was resumed, only the last part of its time is known
            if value is None or (quantity == "seconds" and result.get("starts", 1) > 1):
                continue
            for key in ((cell.kind,), (cell.kind, cell.row.network)):
                self._values[quantity][key].append(float(value))

    def of(self, cell: Cell, quantity: Quantity) -> float | None:
        """Return what a cell is expected to use; ``None`` if nothing is known."""
        known = self._values[quantity]
        for key in ((cell.kind, cell.row.network), (cell.kind,)):
            if key in known:
                return _mean(known[key])
        kinds = [_mean(values) for key, values in known.items() if len(key) == 1]
        return _mean(kinds) if kinds else None

    def estimate(self, left: Sequence[Cell], places: int) -> Estimate | None:
        """Return what the cells that are left take with so many at a time; ``None`` if nothing is known of their time.

        No cell ends before those that it needs: the time is that of the longest chain, if this is longer than the sum
        over the places.
        """
        seconds = {cell.name: self.of(cell, "seconds") for cell in left}
        known = {name: value for name, value in seconds.items() if value is not None}
        if not known:
            return None
        chains: dict[str, float] = {}
        for cell in left:
            before = max((chains.get(need, 0.0) for need in cell.needs), default=0.0)
            chains[cell.name] = before + known.get(cell.name, 0.0)
        return Estimate(
            seconds=max(sum(known.values()) / places, *chains.values()),
            memory_bytes=self._total(left, "peak_memory_bytes", lambda values: sorted(values)[-places:]),
            disk_bytes=self._total(left, "disk_bytes", lambda values: values),
        )

    def _total(
        self, cells: Sequence[Cell], quantity: Quantity, chosen: Callable[[list[float]], list[float]]
    ) -> float | None:
        values = [self.of(cell, quantity) for cell in cells]
        known = [value for value in values if value is not None]
        return sum(chosen(known)) if known else None


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
