# SPDX-License-Identifier: Apache-2.0
"""Read the files of a record into rows of outlines: which cases, which slice, in which orientation."""

from __future__ import annotations

import math
import os
from pathlib import Path

from akd_monai.data._case_pictures import ContourRow
from akd_monai.data._case_slices import contour_row
from akd_monai.experiments._comparison import case_values, class_names
from akd_monai.experiments.results import Results

__all__ = ["MAX_CASES", "chosen_cases", "contour_rows"]

MAX_CASES = 6


def chosen_cases(results: Results, limit: int = MAX_CASES) -> list[str]:
    """Return the cases to picture, from the worst to the best: evenly spread over the ranks of the last system's Dice.

    The rule leaves no choice to whoever makes the report, and always shows the worst case. An undefined Dice ranks
    first.

    Example:
        >>> rows = [{"case_id": c, "dice": d} for c, d in zip("abcde", (0.5, 0.9, 0.1, 0.7, 0.8))]
        >>> files = {c: {"image": "", "label": ""} for c in "abcde"}
        >>> chosen_cases({"systems": [{"per_case": rows}], "images": files}, limit=3)
        ['c', 'd', 'b']
    """
    dice = case_values(results["systems"][-1], "dice", class_names(results)[0])
    pictured = [case for case in dice if case in results.get("images", {})]
    ranked = sorted(pictured, key=lambda case: (-1.0 if math.isnan(dice[case]) else dice[case], case))
    if len(ranked) <= limit:
        return ranked
    return [ranked[round(i * (len(ranked) - 1) / (limit - 1))] for i in range(limit)]


def contour_rows(
    results: Results, folder: str | os.PathLike[str], limit: int = MAX_CASES
) -> tuple[list[ContourRow], list[str]]:
    """Read the files of the chosen cases.

    Args:
        results: the record.
        folder: what relative paths in it are relative to.
        limit: how many cases at most.

    Returns:
        A row for each case whose image and label could be read, and a sentence for each file skipped. The outline is
        that of everything that is not background.
    """
    rows: list[ContourRow] = []
    skipped: list[str] = []
    for case in chosen_cases(results, limit):
        files = results["images"][case]
        masks = {}
        for system in results["systems"]:
            file = system.get("predictions", {}).get(case)
            if file:
                masks[system["label"]] = Path(folder, file)
        image = Path(folder, files["image"])
        row = contour_row(case, image, Path(folder, files["label"]), masks, _dice(results, case), skipped)
        if row is not None:
            rows.append(row)
    return rows, skipped


def _dice(results: Results, case: str) -> dict[str, float]:
    """Return the Dice of each system; with several classes no single one belongs to the outline."""
    names = class_names(results)
    if len(names) != 1:
        return {}
    scores = {system["label"]: case_values(system, "dice", names[0]) for system in results["systems"]}
    return {label: values[case] for label, values in scores.items() if case in values}
