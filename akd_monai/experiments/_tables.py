# SPDX-License-Identifier: Apache-2.0
"""The tables of a report as strings: figures rounded, intervals spelled out, what is undefined marked."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

from akd_monai.experiments._comparison import METRICS, Comparison, Metric, Outcome, case_values, class_names, scores
from akd_monai.experiments.results import Profile, Results, case_key
from akd_monai.experiments.statistics import Summary

__all__ = [
    "case_tables",
    "comparison_rows",
    "findings",
    "interval",
    "number",
    "p_value",
    "profile_rows",
    "score_tables",
    "shown",
    "split_table",
]

MISSING = "n/a"
_VERDICTS: dict[Outcome, str] = {"helped": "better", "hurt": "worse", "none": "not shown", "few": "too few cases"}
HEADLINES: dict[Outcome, str] = {
    "helped": "Distillation helped on these cases, by Dice",
    "hurt": "Distillation hurt on these cases, by Dice",
    "none": "No difference in Dice shown",
    "few": "Too few cases to tell",
}


def shown(value: Any) -> str:
    """Format a setting for a reader: lists joined, yes and no, figures without needless digits.

    Example:
        >>> shown([64, 64]), shown(True), shown(0.0001), shown({"lr": 0.01}), shown(None)
        ('64, 64', 'yes', '0.0001', 'lr: 0.01', 'none')
    """
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, Mapping):
        return "; ".join(f"{k}: {shown(v)}" for k, v in sorted(value.items()))
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(shown(v) for v in value)
    return str(value)


def number(value: float | None, digits: int, signed: bool = False) -> str:
    """Format a figure; an undefined one is "n/a", never 0.

    Example:
        >>> number(0.81249, 3), number(-0.5, 2, signed=True), number(0.5, 2, signed=True), number(float("nan"), 2)
        ('0.812', '−0.50', '+0.50', 'n/a')
    """
    if value is None or math.isnan(value):
        return MISSING
    sign = "+" if signed else ""
    return f"{value:{sign}.{digits}f}".replace("-", "−")


def interval(low: float | None, high: float | None, digits: int, signed: bool = False) -> str:
    """Return an interval in brackets, or an empty string where there is none.

    Example:
        >>> interval(0.1, 0.25, 2), interval(-0.1, 0.25, 1, signed=True), interval(None, None, 2)
        ('[0.10, 0.25]', '[−0.1, +0.2]', '')
    """
    return "" if low is None else f"[{number(low, digits, signed)}, {number(high, digits, signed)}]"


def findings(comparisons: Sequence[Comparison]) -> list[dict[str, str]]:
    """Return one headline and sentence for each comparison by Dice, the metric the finding rests on."""
    several = len({(c.distilled, c.class_name) for c in comparisons}) > 1
    by_dice = [c for c in comparisons if c.metric.key == "dice"]
    return [
        {
            "kind": c.outcome,
            "headline": (_subject(c) if several else "") + HEADLINES[c.outcome],
            "sentence": _sentence(c),
            "n": str(c.difference.n),
        }
        for c in by_dice
    ]


def _subject(comparison: Comparison) -> str:
    if comparison.class_name:
        return f"{comparison.distilled}, class {comparison.class_name}: "
    return f"{comparison.distilled}: "


def _sentence(c: Comparison) -> str:
    difference = c.difference
    digits = c.metric.digits
    said = f"Mean Dice of “{c.distilled}” minus “{c.baseline}”: {number(difference.mean, digits, signed=True)}"
    given = interval(difference.low, difference.high, digits, signed=True)
    if given:
        said += f", 95 % interval {given}"
    said += f", {difference.n} paired {'case' if difference.n == 1 else 'cases'}."
    if c.outcome == "few" and difference.n > 1:
        chance = f"1 in {2 ** (difference.n - 1)}"
        said += f" Even between equal systems all {difference.n} would point one way by a chance of {chance}."
    if c.outcome == "none":
        said += " The interval holds 0; that is no proof that there is no difference."
    return said


def score_tables(results: Results) -> list[dict[str, Any]]:
    """Return one table a class: for each system and metric the mean, its interval, n and how many are undefined."""
    tables = []
    for name in class_names(results):
        rows = []
        for system in results["systems"]:
            summaries = scores(system, name)
            cells = [_score_cell(metric, summaries[metric.key]) for metric in METRICS]
            rows.append({"label": system["label"], "cells": cells})
        tables.append({"class": name, "rows": rows})
    return tables


def _score_cell(metric: Metric, summary: Summary) -> dict[str, str]:
    digits = metric.digits
    return {
        "mean": number(summary.mean, digits),
        "interval": interval(summary.low, summary.high, digits) or summary.note,
        "spread": f"median {number(summary.median, digits)}, sd {number(summary.sd, digits)}",
        "count": f"n = {summary.n}" + (f", {summary.undefined} undefined" if summary.undefined else ""),
    }


def comparison_rows(comparisons: Sequence[Comparison]) -> list[dict[str, str]]:
    """Return the paired differences with interval, p-values and outcome."""
    rows = []
    for c in comparisons:
        d = c.difference
        digits = c.metric.digits
        rows.append(
            {
                "pair": f"{c.distilled} − {c.baseline}",
                "class": c.class_name,
                "metric": c.metric.label + (f" ({c.metric.unit})" if c.metric.unit else ""),
                "mean": number(d.mean, digits, signed=True),
                "interval": interval(d.low, d.high, digits, signed=True) or d.note,
                "median": number(d.median, digits, signed=True),
                "n": f"{d.n}" + (f" ({d.undefined} undefined)" if d.undefined else ""),
                "p": p_value(d.wilcoxon_p),
                "p_holm": p_value(c.p_holm),
                "kind": c.outcome,
                "finding": _VERDICTS[c.outcome],
            }
        )
    return rows


def profile_rows(results: Results) -> list[dict[str, str]]:
    """Return the cost of each network; empty if nothing was measured."""
    if not any(system.get("profile") for system in results["systems"]):
        return []
    return [_profile_row(system["label"], system.get("profile", {})) for system in results["systems"]]


def _profile_row(label: str, profile: Profile) -> dict[str, str]:
    size = profile.get("checkpoint_bytes")
    seconds_at = _size(profile.get("volume_shape"))
    if "threads" in profile:
        seconds_at += f", {_threads(profile['threads'])}"
    return {
        "label": label,
        "parameters": f"{profile['parameters']:,}" if "parameters" in profile else MISSING,
        "gflops": number(profile.get("gflops"), 3),
        "gflops_at": _size(profile.get("input_shape")),
        "seconds": number(profile.get("cpu_seconds_per_volume"), 2),
        "seconds_at": seconds_at,
        "checkpoint": MISSING if size is None else f"{size / 1e6:.2f} MB",
        "sha256": profile.get("checkpoint_sha256", ""),
    }


def case_tables(results: Results) -> list[dict[str, Any]]:
    """Return one table a class: a row for each case, with every metric of every system."""
    tables = []
    for name in class_names(results):
        columns = [(m, case_values(s, m.key, name)) for s, m in itertools.product(results["systems"], METRICS)]
        rows = []
        for case in _cases_of_class(results, name):
            figures = [number(values.get(case), metric.digits) for metric, values in columns]
            volume = number(_reference_ml(results, case, name), 1)
            rows.append({"case": case, "reference_ml": volume, "figures": figures})
        tables.append({"class": name, "rows": rows})
    return tables


def _cases_of_class(results: Results, class_name: str) -> list[str]:
    rows = [row for system in results["systems"] for row in system["per_case"]]
    return sorted({case_key(row) for row in rows if row.get("class", "") == class_name})


def split_table(results: Results) -> dict[str, Any]:
    """Return the number of cases by site and part, with the usual parts in their usual order.

    Example:
        >>> split_table({"data": {"splits": {"S1": {"test": 2, "train": 4}}}})
        {'parts': ['train', 'test'], 'rows': [{'site': 'S1', 'counts': [4, 2]}]}
    """
    splits = results["data"].get("splits", {})
    usual = ("train", "training", "val", "validation", "test")
    named = {part for counts in splits.values() for part in counts}
    parts = [p for p in usual if p in named] + sorted(named - set(usual))
    rows = []
    for site, counts in sorted(splits.items()):
        rows.append({"site": site, "counts": [counts.get(part, 0) for part in parts]})
    return {"parts": parts, "rows": rows}


def _reference_ml(results: Results, case: str, class_name: str) -> float | None:
    for system in results["systems"]:
        values = case_values(system, "reference_ml", class_name)
        if case in values:
            return values[case]
    return None


def p_value(p: float | None) -> str:
    """Format a p-value for a reader.

    Example:
        >>> p_value(0.04), p_value(1e-9), p_value(None)
        ('0.040', '< 0.001', 'n/a')
    """
    if p is None:
        return MISSING
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _size(shape: Sequence[int] | None) -> str:
    return " × ".join(str(n) for n in shape) if shape else ""


def _threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"
