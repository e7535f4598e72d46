# SPDX-License-Identifier: Apache-2.0
"""The values of one row, or the differences of two, as arrays of runs by cases for each site and fold."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from akd_monai.experiments._study.lines import Line, of_line

__all__ = ["Block", "blocks_of", "by_case", "differences"]

Block = npt.NDArray[np.float64]


def blocks_of(scores: pd.DataFrame, line: Line, target: str, metric: str) -> list[Block]:
    """Return the values of a row at one target, an array ``[seeds, cases]`` for each fold, seeds and cases sorted.

    Args:
        scores: of one class.
        line: the row.
        target: the target.
        metric: a column of ``scores``; one that was not written is undefined everywhere.
    """
    found = of_line(scores, line)
    found = found[found["target"] == target]
    if metric not in found:
        found = found.assign(**{metric: math.nan})
    blocks = []
    for _, part in found.groupby(found["fold"].fillna(-1), sort=True):
        values = part.pivot(index="seed", columns="case_id", values=metric).sort_index(axis=0).sort_index(axis=1)
        blocks.append(values.to_numpy(dtype=np.float64))
    return blocks


def differences(scores: pd.DataFrame, line: Line, other: Line, target: str, metric: str) -> list[Block]:
    """Return ``line`` minus ``other`` at one target, case by case within each seed and fold.

    :func:`~akd_monai.experiments._study.checks.check_records` has seen that both were tested on the same cases.
    """
    minuend = blocks_of(scores, line, target, metric)
    subtrahend = blocks_of(scores, other, target, metric)
    return [first - second for first, second in zip(minuend, subtrahend, strict=True)]


def by_case(sites: Mapping[str, Sequence[Block]]) -> dict[tuple[str, int, int], float]:
    """Return the mean over the defined values of the seeds of each case, by its site, fold and place.

    A case counts once, however many trainings were tested on it.

    Example:
        >>> by_case({"HK": [np.array([[0.1, 0.2], [0.3, math.nan]])]})
        {('HK', 0, 0): 0.2, ('HK', 0, 1): 0.2}
    """
    found: dict[tuple[str, int, int], float] = {}
    for site, folds in sites.items():
        for fold, values in enumerate(folds):
            for place, column in enumerate(values.T):
                known = column[~np.isnan(column)]
                found[site, fold, place] = float(known.mean()) if len(known) else math.nan
    return found
