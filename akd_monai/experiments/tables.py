# SPDX-License-Identifier: Apache-2.0
"""The tables of a report as text: figures rounded, intervals spelled out, what is undefined marked."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from akd_monai.experiments.comparison import METRICS, Comparison, Finding, Metric, case_values, class_names, scores
from akd_monai.experiments.results import Profile, Results, case_key
from akd_monai.experiments.statistics import Summary

MISSING = "n/a"
HEADLINES: dict[Finding, str] = {
    "helped": "Distillation helped on these cases",
    "hurt": "Distillation hurt on these cases",
    "none": "No difference shown",
    "few": "Too few cases to tell",
}


def shown(value: Any) -> str:
    """Return a setting as a reader expects it: lists joined, yes and no, figures without needless digits.

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
    """Round a figure; what is undefined is "n/a", never 0.

    Example:
        >>> number(0.81249, 3), number(-0.5, 2, signed=True), number(0.5, 2, signed=True), number(float("nan"), 2)
        ('0.812', '−0.50', '+0.50', 'n/a')
    """
    if value is None or math.isnan(value):
        return MISSING
    text = f"{value:{'+' if signed else ''}.{digits}f}"
    return text.replace("-", "−")


def interval(low: float | None, high: float | None, digits: int, signed: bool = False) -> str:
    """Return an interval in brackets, or an empty text where there is none.

    Example:
        >>> interval(0.1, 0.25, 2), interval(-0.1, 0.25, 1, signed=True), interval(None, None, 2)
        ('[0.10, 0.25]', '[−0.1, +0.2]', '')
    """
    return "" if low is None else f"[{number(low, digits, signed)}, {number(high, digits, signed)}]"


def findings(comparisons: Sequence[Comparison]) -> list[dict[str, str]]:
    """Return one headline and sentence for each comparison by Dice, the metric the finding rests on."""
    several = len({(c.distilled, c.class_name) for c in comparisons}) > 1
    found = []
    for c in (c for c in comparisons if c.metric.key == "dice"):
        d, digits = c.difference, c.metric.digits
        about = f"{c.distilled}{f', class {c.class_name}' if c.class_name else ''}: " if several else ""
        sentence = f"Mean Dice of “{c.distilled}” minus “{c.baseline}”: {number(d.mean, digits, signed=True)}"
        given = interval(d.low, d.high, digits, signed=True)
        sentence += f", 95 % interval {given}" if given else ""
        sentence += f", {d.n} paired {'case' if d.n == 1 else 'cases'}."
        found.append({"kind": c.finding, "headline": about + HEADLINES[c.finding], "sentence": sentence, "n": str(d.n)})
        if c.finding == "few" and d.n > 1:
            chance = f"1 in {2 ** (d.n - 1)}"
            found[-1]["sentence"] += (
                f" Even between equal systems all {d.n} would point one way by a chance of {chance}."
            )
        if c.finding == "none":
            found[-1]["sentence"] += " The interval holds 0; that is no proof that there is no difference."
    return found


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
    """Return the paired differences with interval, p-values and finding."""
    words = {"helped": "better", "hurt": "worse", "none": "not shown", "few": "too few cases"}
    rows = []
    for c in comparisons:
        d, digits = c.difference, c.metric.digits
        rows.append(
            {
                "pair": f"{c.distilled} − {c.baseline}",
                "class": c.class_name,
                "metric": c.metric.label + (f" ({c.metric.unit})" if c.metric.unit else ""),
                "mean": number(d.mean, digits, signed=True),
                "interval": interval(d.low, d.high, digits, signed=True) or d.note,
                "median": number(d.median, digits, signed=True),
                "n": f"{d.n}" + (f" ({d.undefined} undefined)" if d.undefined else ""),
                "p": _p_value(d.wilcoxon_p),
                "p_holm": _p_value(c.p_holm),
                "kind": c.finding,
                "finding": words[c.finding],
            }
        )
    return rows


def profile_rows(results: Results) -> list[dict[str, str]]:
    """Return what each network costs; empty if nothing was measured."""
    rows = []
    for system in results["systems"]:
        p: Profile = system.get("profile", {})
        size = p.get("checkpoint_bytes")
        rows.append(
            {
                "label": system["label"],
                "parameters": f"{p['parameters']:,}" if "parameters" in p else MISSING,
                "gflops": number(p.get("gflops"), 3),
                "gflops_at": _size(p.get("input_shape")),
                "seconds": number(p.get("cpu_seconds_per_volume"), 2),
                "seconds_at": _size(p.get("volume_shape")) + (f", {_threads(p['threads'])}" if "threads" in p else ""),
                "checkpoint": MISSING if size is None else f"{size / 1e6:.2f} MB",
                "sha256": p.get("checkpoint_sha256", ""),
            }
        )
    return rows if any(system.get("profile") for system in results["systems"]) else []


def case_tables(results: Results) -> list[dict[str, Any]]:
    """Return one table a class: a row for each case, with every metric of every system."""
    tables = []
    for name in class_names(results):
        values = [{m.key: case_values(s, m.key, name) for m in METRICS} for s in results["systems"]]
        cases = sorted({case_key(r) for s in results["systems"] for r in s["per_case"] if r.get("class", "") == name})
        rows = []
        for case in cases:
            figures = [number(of[m.key].get(case), m.digits) for of in values for m in METRICS]
            rows.append(
                {"case": case, "reference_ml": number(_reference_ml(results, case, name), 1), "figures": figures}
            )
        tables.append({"class": name, "rows": rows})
    return tables


def split_table(results: Results) -> dict[str, Any]:
    """Return how many cases of each site served for what, with the usual parts in their usual order.

    Example:
        >>> split_table({"data": {"splits": {"S1": {"test": 2, "train": 4}}}})
        {'parts': ['train', 'test'], 'rows': [{'site': 'S1', 'counts': [4, 2]}]}
    """
    splits = results["data"].get("splits", {})
    usual = ("train", "training", "val", "validation", "test")
    named = {part for counts in splits.values() for part in counts}
    parts = [p for p in usual if p in named] + sorted(named - set(usual))
    rows = [{"site": site, "counts": [counts.get(p, 0) for p in parts]} for site, counts in sorted(splits.items())]
    return {"parts": parts, "rows": rows}


def _reference_ml(results: Results, case: str, class_name: str) -> float | None:
    return next(
        (v[case] for s in results["systems"] if case in (v := case_values(s, "reference_ml", class_name))), None
    )


def _p_value(p: float | None) -> str:
    if p is None:
        return MISSING
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _size(shape: Sequence[int] | None) -> str:
    return " × ".join(str(n) for n in shape) if shape else ""


def _threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"
