# SPDX-License-Identifier: Apache-2.0
"""The histories of an experiment's trainings, gathered into curves with bands."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from akd_monai.experiments._figures import curves_figure
from akd_monai.experiments._pages.bands import mean_history
from akd_monai.experiments._pages.figures import validation_figure
from akd_monai.experiments._plan.cell import Cell, Row
from akd_monai.experiments._study.lines import Line
from akd_monai.handlers import read_history

__all__ = ["curve_groups"]

_LOSSES = (
    "Each term with its weight, as it enters the total, averaged over an epoch; a logarithmic axis where terms differ much "
    "in size. Mean over all targets, folds and seeds; the band reaches from the lowest to the highest of these trainings."
)
_VALIDATION = (
    "Dice on validation cases, for choosing weights and for watching, not for evaluation. Mean over folds and seeds at each "
    "target; the band reaches from the lowest to the highest of these trainings."
)
History = Sequence[Mapping[str, float]]


def curve_groups(
    cells: Sequence[Cell], lines: Sequence[Line], targets: Sequence[str], as_uri: Callable[[bytes], str]
) -> list[dict[str, Any]]:
    """Return the pictures of each student's trainings: loss terms, and validation Dice by target.

    Args:
        cells: of the experiment.
        lines: whose trainings are shown.
        targets: the target sites in order.
        as_uri: turns a PNG into the source of an image.
    """
    histories = _histories(cells)
    groups = []
    for network in dict.fromkeys(line.network for line in lines if line.role == "student"):
        own = [line for line in lines if line.network == network and line.role == "student"]
        by_line = {line.how: _mean(histories, line, None) for line in own}
        by_line = {label: history for label, history in by_line.items() if history}
        if not by_line:
            continue
        by_target = {t: {line.how: _mean(histories, line, t) for line in own} for t in targets}
        losses = {"title": f"Loss terms of {network}", "uri": as_uri(curves_figure(by_line)), "caption": _LOSSES}
        validation = {
            "title": f"Validation Dice of {network} by target site",
            "uri": as_uri(validation_figure(by_target)),
            "caption": _VALIDATION,
        }
        groups.append({"heading": network, "pictures": [validation, losses]})
    return groups


def _histories(cells: Sequence[Cell]) -> dict[Row, History]:
    found: dict[Row, History] = {}
    for cell in cells:
        file = Path(cell.folder) / "eval" / "history.jsonl"
        if cell.kind != "test" and file.is_file():
            found[cell.row] = read_history(file)
    return found


def _mean(histories: Mapping[Row, History], line: Line, target: str | None) -> list[dict[str, float]]:
    chosen = [h for row, h in histories.items() if line.has(row) and target in (None, row.target)]
    return mean_history(chosen)
