# SPDX-License-Identifier: Apache-2.0
"""Pictures of the best, the median and the worst case of an evaluation."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from ignite.engine import Engine
from monai.transforms import Compose, SaveImaged

from akd_monai.data import MaskLayout
from akd_monai.files import atomic_write
from akd_monai.handlers._events import attached_handlers
from akd_monai.handlers._facts import postprocessing_of
from akd_monai.handlers._record_facts import cases_of
from akd_monai.names import case_name

__all__ = ["chosen_cases", "write_pictures"]

_LABEL = "prediction"
_RANKS = ("worst", "median", "best")


def write_pictures(evaluator: Engine, table: pd.DataFrame, folder: Path) -> list[Path]:
    """Draw three cases with reference and saved mask, and return the files; none where masks were not saved as files.

    Args:
        evaluator: after its run.
        table: a row for each case and class.
        folder: of the pictures.
    """
    layout = _mask_layout(evaluator)
    if layout is None:
        return []
    for rank in _RANKS:
        # that of an earlier evaluation, which may have had more cases
        (folder / f"{rank}.png").unlink(missing_ok=True)
    known = {case_name(case): case for case in cases_of(getattr(evaluator, "data_loader", None))}
    written = []
    for rank, (name, dice) in chosen_cases(table).items():
        png = _picture(name, dice, known.get(name, {}), layout)
        if png is not None:
            written.append(atomic_write(folder / f"{rank}.png", png))
    return written


def chosen_cases(table: pd.DataFrame) -> dict[str, tuple[str, float]]:
    """Return the worst, the median and the best case by the mean Dice of their classes; an undefined one ranks first.

    Example:
        >>> chosen_cases(pd.DataFrame({"case_id": list("abcd"), "dice": [0.9, 0.1, 0.5, 0.7]}))
        {'worst': ('b', 0.1), 'median': ('c', 0.5), 'best': ('a', 0.9)}
    """
    means = table.assign(dice=table["dice"].astype(float)).groupby("case_id")["dice"].mean()
    ranked = means.sort_values(kind="stable", na_position="first")
    if not len(ranked):
        return {}
    places = (0, (len(ranked) - 1) // 2, len(ranked) - 1)
    chosen: dict[str, tuple[str, float]] = {}
    for rank, place in zip(_RANKS, places, strict=True):
        name = str(ranked.index[place])
        if name not in [known for known, _ in chosen.values()]:
            chosen[rank] = (name, float(ranked.iloc[place]))
    return chosen


def _picture(name: str, dice: float, case: Mapping[str, Any], layout: MaskLayout) -> bytes | None:
    # loads matplotlib, for which only those wait who track a run
    from akd_monai.data._case_pictures import contour_figure
    from akd_monai.data._case_slices import contour_row

    files = [case.get("image"), case.get("label")]
    if not all(isinstance(file, (str, os.PathLike)) for file in files):
        return None
    image, label = (Path(str(file)) for file in files)
    # whoever reads the image says in a warning what cannot be read
    row = contour_row(name, image, label, {_LABEL: layout.path(image)}, {_LABEL: dice}, skipped=[])
    return None if row is None else contour_figure([row])


def _mask_layout(evaluator: Engine) -> MaskLayout | None:
    for transform in postprocessing_of(attached_handlers(evaluator)):
        for step in transform.flatten().transforms if isinstance(transform, Compose) else [transform]:
            layout = getattr(getattr(step, "saver", None), "folder_layout", None)
            if isinstance(step, SaveImaged) and isinstance(layout, MaskLayout):
                return layout
    return None
