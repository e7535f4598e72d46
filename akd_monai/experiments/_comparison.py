# SPDX-License-Identifier: Apache-2.0
"""Scores of each system in a record of results, and whether distillation made a difference."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from akd_monai.experiments.results import CaseRow, Results, System, case_key
from akd_monai.experiments.statistics import PairedDifference, Summary, holm, paired_difference, summarize

__all__ = [
    "FEW_CASES",
    "METRICS",
    "MIN_PAIRS",
    "Comparison",
    "Metric",
    "Outcome",
    "case_values",
    "cautions",
    "class_names",
    "compare",
    "outcome_of",
    "scores",
]

Outcome = Literal["helped", "hurt", "none", "few"]
# With fewer pairs, differences of one sign in all of them come up by chance more often than once in twenty.
MIN_PAIRS = 6
# Below this the bootstrap interval is known to be too narrow.
FEW_CASES = 10


@dataclass(frozen=True)
class Metric:
    """How a column of the table of cases is named, shown and read."""

    key: str
    label: str
    unit: str
    digits: int
    higher_is_better: bool


METRICS = (
    Metric("dice", "Dice", "", 3, True),
    Metric("hd95_mm", "HD95", "mm", 2, False),
    Metric("asd_mm", "ASD", "mm", 2, False),
)


@dataclass(frozen=True)
class Comparison:
    """A distilled student against the same student alone, on one class and metric.

    Attributes:
        distilled: label of the distilled student.
        baseline: label of the student alone.
        class_name: the class.
        metric: the metric.
        difference: distilled minus alone, over the cases that both have.
        p_holm: p-value adjusted for all comparisons of the record, None where there is none.
        outcome: what the interval shows, see :func:`outcome_of`.
    """

    distilled: str
    baseline: str
    class_name: str
    metric: Metric
    difference: PairedDifference
    p_holm: float | None
    outcome: Outcome


def outcome_of(difference: PairedDifference, higher_is_better: bool) -> Outcome:
    """Return what a paired difference shows.

    ``helped`` or ``hurt`` if the 95 % interval lies on one side of 0; ``none`` (no difference shown, which is not the
    same as no difference) if it holds 0; ``few`` for fewer than six pairs, whatever the interval, because even between
    equal systems all of n differences have one sign with probability 2^(1 - n).

    Example:
        >>> outcome_of(paired_difference(dict.fromkeys(range(8), 0.9), dict.fromkeys(range(8), 0.8)), True)
        'helped'
        >>> outcome_of(paired_difference({"a": 0.9}, {"a": 0.8}), True)
        'few'
    """
    if difference.n < MIN_PAIRS or difference.low is None or difference.high is None:
        return "few"
    if difference.low <= 0 <= difference.high:
        return "none"
    return "helped" if (difference.low > 0) == higher_is_better else "hurt"


def class_names(results: Results) -> list[str]:
    """Return the classes in the record, sorted; a record without classes has one, named by an empty string."""
    return sorted({row.get("class", "") for system in results["systems"] for row in system["per_case"]})


def case_values(system: System, metric: str, class_name: str) -> dict[str, float]:
    """Return the value of each case by the case's key; what is undefined is NaN."""
    rows = [row for row in system["per_case"] if row.get("class", "") == class_name]
    return {case_key(row): _value(row, metric) for row in rows}


def scores(system: System, class_name: str, seed: int = 0) -> dict[str, Summary]:
    """Summarise each metric of one system and class over its cases."""
    return {m.key: summarize(case_values(system, m.key, class_name).values(), seed) for m in METRICS}


def compare(results: Results, seed: int = 0) -> list[Comparison]:
    """Compare each distilled student with the first student alone, for each class and metric."""
    baselines = [s for s in results["systems"] if s["role"] == "baseline"]
    distilled = [s for s in results["systems"] if s["role"] == "distilled"]
    if not baselines:
        return []
    alone = baselines[0]
    found = []
    for system, name, metric in itertools.product(distilled, class_names(results), METRICS):
        difference = paired_difference(
            case_values(system, metric.key, name), case_values(alone, metric.key, name), seed
        )
        found.append(
            Comparison(
                distilled=system["label"],
                baseline=alone["label"],
                class_name=name,
                metric=metric,
                difference=difference,
                p_holm=None,
                outcome=outcome_of(difference, metric.higher_is_better),
            )
        )
    adjusted = holm([comparison.difference.wilcoxon_p for comparison in found])
    return [replace(comparison, p_holm=p) for comparison, p in zip(found, adjusted, strict=True)]


def cautions(results: Results, comparisons: Sequence[Comparison]) -> list[str]:
    """Return, a sentence each, what limits the figures of this record."""
    said = []
    tested = [_cases_of(system) for system in results["systems"]]
    fewest = min(len(cases) for cases in tested)
    if fewest < FEW_CASES:
        said.append(
            f"Only {fewest} test {'case' if fewest == 1 else 'cases'}: intervals over fewer than {FEW_CASES} cases are "
            "too narrow, and a single case can turn the result."
        )
    if len(set(tested)) > 1:
        said.append(
            "The systems were evaluated on different cases; their means cannot be compared, paired differences can."
        )
    rows = [row for system in results["systems"] for row in system["per_case"]]
    if any(math.isnan(_value(row, metric.key)) for row in rows for metric in METRICS):
        said.append(
            "Some metrics are undefined because a mask is empty; they are left out of the means and counted. A system "
            "that finds nothing in its worst cases therefore looks better by HD95 and ASD: read them with Dice."
        )
    if comparisons:
        said.append(
            "Each system was trained once: the intervals cover the choice of cases, not that of the random seed. "
            "Another seed may move the result by as much."
        )
    return said


def _cases_of(system: System) -> frozenset[str]:
    return frozenset(case_key(row) for row in system["per_case"])


def _value(row: CaseRow, metric: str) -> float:
    value = row.get(metric)
    return math.nan if value is None else float(str(value))
