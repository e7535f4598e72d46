# SPDX-License-Identifier: Apache-2.0
"""Did distillation help: each method against the plain student and against the control, with how much the runs vary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import pandas as pd

from akd_monai.experiments._comparison import MIN_PAIRS, Metric
from akd_monai.experiments._study.blocks import difference_of, mean_by_case
from akd_monai.experiments._study.lines import Line, lines_of
from akd_monai.experiments._study.study import Study
from akd_monai.experiments.crossed import CrossedSummary, crossed_summary
from akd_monai.experiments.statistics import holm, signed_rank_p

__all__ = ["CONTROL", "MIN_RUNS", "PLAIN", "Finding", "Outcome", "class_scores", "compare_rows", "too_few"]

Outcome = Literal["above", "below", "none", "few"]
PLAIN = "without"
CONTROL = "pretrained"
# a single run does not show what another training would give
MIN_RUNS = 2
_LEVEL = 0.05


@dataclass(frozen=True)
class Finding:
    """A row of an experiment minus another row of the same student, case by case within each seed and fold.

    Attributes:
        line: the method, or the control.
        other: the plain student, the control, or the method's base.
        difference: of the metric, a mean over sites with its two intervals.
        runs_above: runs whose mean over their cases is on the better side of the other row's.
        runs: runs that were compared: a seed at a site, with all its folds.
        p_value: of Wilcoxon's signed-rank test over cases, each a mean over seeds; ``None`` where it has nothing to rank.
        p_holm: adjusted for all comparisons of the table.
        outcome: ``"above"`` or ``"below"`` (better or worse by the metric) if the adjusted p-value is below 0.05 and the
            interval over runs and cases leaves out 0; ``"few"`` for fewer than two seeds or six cases; else ``"none"``.
    """

    line: Line
    other: Line
    difference: CrossedSummary
    runs_above: int
    runs: int
    p_value: float | None
    p_holm: float | None
    outcome: Outcome


def class_scores(study: Study, class_name: str) -> pd.DataFrame:
    """Return the scores of one class at the targets; a teacher's at its own sites are no part of a comparison."""
    scores = study.scores
    return scores[(scores["class"] == class_name) & (scores["method"] != "teacher_own_sites")]


def compare_rows(study: Study, metric: Metric, class_name: str) -> list[Finding]:
    """Compare every method with the plain student, the control if it was run, and its base; the control with the plain one.

    Args:
        study: the experiment.
        metric: which column.
        class_name: which class.
    """
    scores = class_scores(study, class_name)
    pairs = _pairs(lines_of(study.matrix), {method.name: method.base for method in study.matrix.methods})
    found = [_finding(scores, study.matrix.targets, line, other, metric) for line, other in pairs]
    adjusted = holm([finding.p_value for finding in found])
    return [_with_outcome(replace(finding, p_holm=p), metric) for finding, p in zip(found, adjusted, strict=True)]


def _pairs(lines: Sequence[Line], bases: Mapping[str, str | None]) -> list[tuple[Line, Line]]:
    pairs = []
    alone = [line for line in lines if line.role == "student" and line.teacher is None]
    by_row = {(line.network, line.labelled, line.method): line for line in alone}
    for line in lines:
        if line.role != "student" or line.method == PLAIN:
            continue
        pairs.append((line, by_row[line.network, line.labelled, PLAIN]))
        control = by_row.get((line.network, line.labelled, CONTROL))
        if control is not None and line.is_method:
            pairs.append((line, control))
        base = bases.get(line.method)
        if base is not None:
            pairs.append((line, replace(line, method=base)))
    return pairs


def _finding(scores: pd.DataFrame, targets: Sequence[str], line: Line, other: Line, metric: Metric) -> Finding:
    sites = {target: difference_of(scores, line, other, target, metric.key) for target in targets}
    # a case counts once, not once a seed
    cases = [mean for block in sites.values() for mean in mean_by_case(block).values()]
    sign = 1 if metric.higher_is_better else -1
    means = [mean for block in sites.values() for mean in block.mean(axis=1)]
    return Finding(
        line=line,
        other=other,
        difference=crossed_summary([block.to_numpy() for block in sites.values()]),
        runs_above=sum(mean * sign > 0 for mean in means),
        runs=len(means),
        p_value=signed_rank_p(cases),
        p_holm=None,
        outcome="none",
    )


def _with_outcome(finding: Finding, metric: Metric) -> Finding:
    difference = finding.difference
    interval = difference.over_runs_and_cases
    if difference.cases < MIN_PAIRS or difference.runs < MIN_RUNS or interval is None:
        return replace(finding, outcome="few")
    low, high = interval
    if finding.p_holm is None or finding.p_holm >= _LEVEL or low <= 0 <= high:
        return finding
    is_better = (low > 0) == metric.higher_is_better
    return replace(finding, outcome="above" if is_better else "below")


def too_few(cases: int, runs: int) -> str:
    """Return why a difference is no claim.

    Args:
        cases: test cases of the difference that has the fewest.
        runs: seeds, likewise.

    Example:
        >>> too_few(1, 1)
        '1 test case and 1 seed are too few for a claim, which takes at least 6 cases and 2 seeds'
        >>> too_few(16, 1)
        '1 seed is too few for a claim, which takes at least 2 seeds'
        >>> too_few(16, 2)
        'a site with a single test case leaves no interval, and so no claim'
    """
    said = []
    wanted = []
    if cases < MIN_PAIRS:
        said.append(f"{cases} test {'case' if cases == 1 else 'cases'}")
        wanted.append(f"{MIN_PAIRS} cases")
    if runs < MIN_RUNS:
        said.append(f"{runs} {'seed' if runs == 1 else 'seeds'}")
        wanted.append(f"{MIN_RUNS} seeds")
    if not said:
        return "a site with a single test case leaves no interval, and so no claim"
    is_single = len(said) == 1 and said[0].startswith("1 ")
    verb = "is" if is_single else "are"
    return f"{' and '.join(said)} {verb} too few for a claim, which takes at least {' and '.join(wanted)}"
