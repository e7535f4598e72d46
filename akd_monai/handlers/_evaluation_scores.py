# SPDX-License-Identifier: Apache-2.0
"""What an evaluation measured, in the names under which it stands in the row of a training."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator

import pandas as pd
from ignite.engine import Engine

from akd_monai.handlers._events import attached_handlers
from akd_monai.handlers._metrics import epoch_metrics
from akd_monai.handlers.case_metrics import CaseMetrics
from akd_monai.handlers.run_record import RunRecord

__all__ = ["case_metrics", "defined", "evaluated_part", "evaluation_scores"]

_AVERAGED = ("dice", "hd95_mm", "asd_mm", "ece")
_TEST = "test"


def evaluated_part(evaluator: Engine) -> str:
    """Return the part of the data that was evaluated, as its record says; the test part by default."""
    named = [handler.facts.get("part") for handler in attached_handlers(evaluator) if isinstance(handler, RunRecord)]
    return str(next(filter(None, named), _TEST))


def case_metrics(evaluator: Engine) -> CaseMetrics | None:
    """Return the handler that has a row for each case and class, None without one."""
    found = [handler for handler in attached_handlers(evaluator) if isinstance(handler, CaseMetrics)]
    return found[0] if found else None


def evaluation_scores(evaluator: Engine, part: str, table: pd.DataFrame | None) -> dict[str, float]:
    """Return means by name, which may be undefined.

    From a table of cases: ``test_cases``, ``test_dice``, ``test_hd95_mm``, ``test_asd_mm``,
    ``test_ece``; the same with the name of each site after it; of each class, and of each class of each site, where
    there are several; ``test_undefined_dice`` and so on. Names that would be alike are numbered from the second on. Without
    a table every metric of the evaluator as ``test_<name>``.
    """
    if table is None:
        return {f"{part}_{name}": value for name, value in epoch_metrics(evaluator, []).items()}
    scores: dict[str, float] = {f"{part}_cases": float(len(table.drop_duplicates(["site", "case_id"])))}
    seen: Counter[str] = Counter()
    for known, rows in _groups(table):
        seen[known] += 1
        after = known if seen[known] == 1 else f"{known}_{seen[known]}"
        for metric in _AVERAGED:
            if metric in rows:
                # pandas leaves NaN out of a mean, and gives NaN for a mean of nothing
                scores[f"{part}_{metric}{after}"] = float(rows[metric].astype(float).mean())
    for name, value in evaluator.state.metrics.items():
        if name.startswith("undefined_"):
            scores[f"{part}_{name}"] = float(value)
    return scores


def _groups(table: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield the rows that are averaged, with what stands after the name of their mean."""
    yield "", table
    classes = [str(name) for name in table["class"].unique()]
    parts = [("", table)]
    for site in table["site"].unique():
        if site:
            parts.append((_after(site), table[table["site"] == site]))
    yield from parts[1:]
    if len(classes) > 1:
        for after, rows in parts:
            for name in classes:
                yield after + _after(name), rows[rows["class"].astype(str) == name]


def _after(name: str) -> str:
    """Return a name so that a filter of MLflow takes it without quotes.

    Example:
        >>> _after("peripheral zone")
        '_peripheral_zone'
    """
    return f"_{re.sub(r'[^0-9A-Za-z]+', '_', str(name)).strip('_')}"


def defined(scores: dict[str, float]) -> dict[str, float]:
    """Return what is finite: MLflow takes nothing else."""
    return {name: value for name, value in scores.items() if math.isfinite(value)}
