# SPDX-License-Identifier: Apache-2.0
"""How far an experiment's probabilities are from frequencies, by row and site."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from akd_monai.experiments._plan.cell import Cell
from akd_monai.experiments._study.lines import Line

__all__ = ["reliability_panels"]

_FILE = "calibration.csv"


def reliability_panels(
    cells: Sequence[Cell], lines: Sequence[Line]
) -> dict[str, dict[str, list[tuple[float, float, float]]]]:
    """Return the bins of each row over all its cases, by network: mean probability, fraction, number of voxels."""
    panels: dict[str, dict[str, list[tuple[float, float, float]]]] = {}
    for line in lines:
        files = [Path(c.folder) / "eval" / _FILE for c in cells if c.kind == "test" and line.has(c.row)]
        frames = [pd.read_csv(file) for file in files if file.is_file()]
        if frames:
            panels.setdefault(line.network, {})[line.how] = _pooled(pd.concat(frames, ignore_index=True))
    return panels


def _pooled(bins: pd.DataFrame) -> list[tuple[float, float, float]]:
    sums = pd.DataFrame({"bin": bins["bin"], "voxels": bins["voxels"]})
    for name in ("probability", "fraction"):
        sums[name] = bins[name] * bins["voxels"]
    total = sums.groupby("bin", sort=True).sum()
    means = total[["probability", "fraction"]].div(total["voxels"], axis=0)
    pooled = zip(means["probability"], means["fraction"], total["voxels"], strict=True)
    return [(float(p), float(f), float(n)) for p, f, n in pooled]
