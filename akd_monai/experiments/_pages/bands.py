# SPDX-License-Identifier: Apache-2.0
"""Several trainings of one row as one curve with a band."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

__all__ = ["mean_history"]


def mean_history(histories: Sequence[Sequence[Mapping[str, float]]]) -> list[dict[str, float]]:
    """Return the mean of several histories by epoch, with the lowest and the highest value as a band.

    Args:
        histories: entries with ``epoch`` and any other figures, one list a training. A figure that is missing, None or
            not finite in a training does not count there; trainings may differ in length.

    Returns:
        One entry an epoch: each figure's mean, and its ends as ``low <name>`` and ``high <name>`` where several
        trainings have it.

    Example:
        >>> mean_history([[{"epoch": 1, "loss/total": 1.0}], [{"epoch": 1, "loss/total": 2.0}]])
        [{'epoch': 1, 'loss/total': 1.5, 'low loss/total': 1.0, 'high loss/total': 2.0}]
    """
    values: dict[int, dict[str, list[float]]] = {}
    for history in histories:
        for number, entry in enumerate(history, start=1):
            found = values.setdefault(int(entry.get("epoch", number)), {})
            for name, value in entry.items():
                if name != "epoch" and isinstance(value, (int, float)) and math.isfinite(value):
                    found.setdefault(name, []).append(float(value))
    return [_entry(epoch, values[epoch]) for epoch in sorted(values)]


def _entry(epoch: int, figures: Mapping[str, Sequence[float]]) -> dict[str, float]:
    entry: dict[str, float] = {"epoch": epoch}
    for name, values in figures.items():
        entry[name] = sum(values) / len(values)
        if len(values) > 1:
            entry[f"low {name}"] = min(values)
            entry[f"high {name}"] = max(values)
    return entry
