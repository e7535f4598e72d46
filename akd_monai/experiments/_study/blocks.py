# SPDX-License-Identifier: Apache-2.0
"""The values of one row, or the differences of two, as an array of seeds by cases for each target."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from akd_monai.experiments._study.lines import Line, of_line

__all__ = ["block_of", "difference_of", "mean_by_case"]


def block_of(scores: pd.DataFrame, line: Line, target: str, metric: str) -> pd.DataFrame:
    """Return the values of a row at one target, a row for each seed and a column for each case of all folds, sorted.

    Args:
        scores: of one class.
        line: the row.
        target: the target.
        metric: a column of ``scores``; one that was not written is undefined everywhere.

    Raises:
        ValueError: if a case is there twice for one seed.
    """
    found = of_line(scores, line)
    found = found[found["target"] == target]
    if metric not in found:
        found = found.assign(**{metric: math.nan})
    # a pivot sorts both
    return found.pivot(index="seed", columns="case_id", values=metric).astype(np.float64)


def difference_of(scores: pd.DataFrame, line: Line, other: Line, target: str, metric: str) -> pd.DataFrame:
    """Return ``line`` minus ``other`` at one target, case by case within each seed.

    Raises:
        ValueError: if the two have not the same seeds and cases, which
            :func:`~akd_monai.experiments._study.checks.check_records` refuses before.
    """
    minuend = block_of(scores, line, target, metric)
    subtrahend = block_of(scores, other, target, metric)
    if not (minuend.index.equals(subtrahend.index) and minuend.columns.equals(subtrahend.columns)):
        raise ValueError(f"{line.label} and {other.label} have other seeds or cases at {target}.")
    return minuend - subtrahend


def mean_by_case(block: pd.DataFrame) -> dict[str, float]:
    """Return the mean over the defined values of the seeds of each case; a case counts once, not once a seed.

    Example:
        >>> mean_by_case(pd.DataFrame({"HK/Case00": [0.1, 0.3], "HK/Case01": [0.2, math.nan]}, index=[0, 1]))
        {'HK/Case00': 0.2, 'HK/Case01': 0.2}
    """
    return {str(case): float(value) for case, value in block.mean(axis=0).items()}
