# SPDX-License-Identifier: Apache-2.0
"""What a record of results says: scores of each system, and whether distillation made a difference."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from akd_monai.experiments.results import CaseRow, Results, System, case_key
from akd_monai.experiments.statistics import PairedDifference, Summary, holm, paired_difference, summarize

Finding = Literal["helped", "hurt", "none", "few"]
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
        finding: what the interval says, see :func:`finding`.
    """

    distilled: str
    baseline: str
    class_name: str
    metric: Metric
    difference: PairedDifference
    p_holm: float | None
    finding: Finding


def finding(difference: PairedDifference, higher_is_better: bool) -> Finding:
    """Say what a paired difference shows.

    ``helped`` or ``hurt`` if the 95 % interval lies on one side of 0; ``none`` (no difference shown, which is not the
    same as no difference) if it holds 0; ``few`` for fewer than six pairs, whatever the interval, because even between
    equal systems all of n differences have one sign with probability 2^(1 - n).

    Example:
        >>> finding(paired_difference(dict.fromkeys(range(8), 0.9), dict.fromkeys(range(8), 0.8)), True)
        'helped'
        >>> finding(paired_difference({"a": 0.9}, {"a": 0.8}), True)
        'few'
    """
    if difference.n < MIN_PAIRS or difference.low is None or difference.high is None:
        return "few"
    if difference.low <= 0 <= difference.high:
        return "none"
    return "helped" if (difference.low > 0) == higher_is_better else "hurt"


def class_names(results: Results) -> list[str]:
    """Return the classes in the record, sorted; a record without classes has one, named by an empty text."""
    return sorted({row.get("class", "") for system in results["systems"] for row in system["per_case"]})


def case_values(system: System, metric: str, class_name: str) -> dict[str, float]:
    """Return the value of each case by the case's key; what is undefined is NaN."""
    return {case_key(row): _value(row, metric) for row in system["per_case"] if row.get("class", "") == class_name}


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
    cells = [(s, c, m) for s in distilled for c in class_names(results) for m in METRICS]
    found = [paired_difference(case_values(s, m.key, c), case_values(alone, m.key, c), seed) for s, c, m in cells]
    adjusted = holm([d.wilcoxon_p for d in found])
    return [
        Comparison(s["label"], alone["label"], c, m, d, p, finding(d, m.higher_is_better))
        for (s, c, m), d, p in zip(cells, found, adjusted, strict=True)
    ]


def cautions(results: Results, comparisons: Sequence[Comparison]) -> list[str]:
    """Return, a sentence each, what limits the figures of this record."""
    said = []
    counts = {s["label"]: len({case_key(row) for row in s["per_case"]}) for s in results["systems"]}
    fewest = min(counts.values())
    if fewest < FEW_CASES:
        said.append(
            f"Only {fewest} test {'case' if fewest == 1 else 'cases'}: intervals over fewer than {FEW_CASES} cases are "
            "too narrow, and a single case can turn the result."
        )
    if len({frozenset(case_key(row) for row in s["per_case"]) for s in results["systems"]}) > 1:
        said.append(
            "The systems were judged on different cases; their means cannot be compared, paired differences can."
        )
    if any(math.isnan(_value(row, m.key)) for s in results["systems"] for row in s["per_case"] for m in METRICS):
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


def _value(row: CaseRow, metric: str) -> float:
    value = row.get(metric)
    return math.nan if value is None else float(str(value))
