# SPDX-License-Identifier: Apache-2.0
"""Refuse tables of cases that are not of their evaluation, or hold what no metric can be."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from akd_monai.errors import InputError
from akd_monai.experiments._plan.cell import Row

__all__ = ["REMEDY", "WHERE", "check_scores"]

WHERE = "results of an experiment"
REMEDY = "delete the folders of the cells named and run the experiment again"
_COLUMNS = ["target", "fold", "seed", "role", "network", "method", "teacher", "labelled"]
# the most that a metric can be; none can be below 0
_MOST = {"dice": 1.0, "hd95_mm": math.inf, "asd_mm": math.inf, "ece": 1.0}
# figures are written with fewer digits than they have
_SLACK = 1e-6


def check_scores(evaluations: Mapping[Row, Mapping[str, Any]], scores: pd.DataFrame) -> None:
    """Check that each evaluation has a table of exactly its cases, at its target, with figures that its metrics can be.

    Args:
        evaluations: what each evaluation says of itself.
        scores: the rows of all tables of cases.

    Raises:
        InputError: naming the cell, and the case.
    """
    parts = {Row(**_row(values)): part for values, part in scores.groupby(_COLUMNS, dropna=False, sort=False)}
    classes = sorted(scores["class"].unique())
    for row, record in evaluations.items():
        _check_cases(row, record, parts[row], classes)
        _check_sites(row, record)
    for metric, most in _MOST.items():
        if metric in scores:
            _check_figures(scores, metric, most)
    _check_folds(evaluations)


def _check_cases(row: Row, record: Mapping[str, Any], part: pd.DataFrame, classes: Sequence[str]) -> None:
    cases = record.get("case_ids") or ()
    wanted = [(case, name) for case in cases for name in classes]
    listed = list(zip(part["case_id"], part["class"], strict=True))
    if sorted(listed) != sorted(wanted):
        raise InputError(
            f"the table of cases of test/{row.name()} does not hold each of its {len(cases)} cases once for each class "
            f"({', '.join(classes)})",
            where=WHERE,
            remedy=REMEDY,
        )


def _check_sites(row: Row, record: Mapping[str, Any]) -> None:
    sites = set(record.get("sites") or ())
    is_right = row.target not in sites if row.method == "teacher_own_sites" else sites == {row.target}
    if not is_right or not sites:
        wanted = f"sites other than {row.target}" if row.method == "teacher_own_sites" else row.target
        raise InputError(
            f"cell test/{row.name()} evaluated cases of {', '.join(sorted(sites)) or 'no site'} in place of {wanted}",
            where=WHERE,
            remedy=REMEDY,
        )


def _check_figures(scores: pd.DataFrame, metric: str, most: float) -> None:
    values = pd.to_numeric(scores[metric], errors="coerce")
    is_no_figure = values.isna() & scores[metric].notna()
    is_out = (values < 0) | (values > most + _SLACK) | (values == math.inf)
    wrong = scores[is_no_figure | is_out]
    if len(wrong):
        first = wrong.iloc[0]
        row = Row(**_row([first[name] for name in _COLUMNS]))
        raise InputError(
            f"test/{row.name()} has {metric} = {first[metric]} for case {first['case_id']}, which it cannot be; what is "
            "undefined is nan",
            where=WHERE,
            remedy=REMEDY,
        )


def _check_folds(evaluations: Mapping[Row, Mapping[str, Any]]) -> None:
    """Check that no case of a target is tested in two folds."""
    tested: dict[tuple[str, str], Row] = {}
    for row, record in evaluations.items():
        for case in record.get("case_ids") or ():
            other = tested.setdefault((row.target, case), row)
            if row.method != "teacher_own_sites" and other.method != "teacher_own_sites" and other.fold != row.fold:
                raise InputError(
                    f"case {case} was tested in two folds: test/{other.name()} and test/{row.name()}",
                    where=WHERE,
                    remedy=REMEDY,
                )


def _row(values: Sequence[Any]) -> dict[str, Any]:
    """Return what a row is made from; tables of pandas have floats where some rows have no fold."""
    given: dict[str, Any] = {}
    for name, value in zip(_COLUMNS, values, strict=True):
        if pd.isna(value):
            given[name] = None
        else:
            given[name] = int(value) if name in ("fold", "seed", "labelled") else value
    return given
