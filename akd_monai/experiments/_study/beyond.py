# SPDX-License-Identifier: Apache-2.0
"""Which methods are above the plain student and above the control that was fine-tuned, and at which sites they are not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from akd_monai.experiments._comparison import Metric
from akd_monai.experiments._plan.matrix import Matrix
from akd_monai.experiments._study.blocks import difference_of
from akd_monai.experiments._study.comparisons import CONTROL, PLAIN, Finding, class_scores
from akd_monai.experiments._study.lines import Line
from akd_monai.experiments._study.study import Study
from akd_monai.experiments._tables import interval, number

__all__ = ["Answer", "Beyond", "amount_of", "beyond_both", "rows_beyond", "with_labelled"]

Answer = dict[str, str]


@dataclass(frozen=True)
class Beyond:
    """A method beside the plain student and the control.

    Attributes:
        line: the method, at one number of labelled cases.
        plain: it minus the plain student.
        control: it minus the control.
        base: it minus its base; ``None`` where it names none.
        not_above: the sites at which its mean is not above both.
        sites: how many sites there are.
    """

    line: Line
    plain: Finding
    control: Finding
    base: Finding | None
    not_above: tuple[str, ...]
    sites: int

    @property
    def is_shown(self) -> bool:
        """Whether it is above both by test and interval."""
        return self.plain.outcome == self.control.outcome == "above"

    @property
    def is_too_few(self) -> bool:
        """Whether there are too few trainings or cases to tell."""
        return "few" in (self.plain.outcome, self.control.outcome)


def with_labelled(subject: str, labelled: int | None) -> str:
    """Return a subject with a number of labelled cases.

    Example:
        >>> with_labelled("enet", 2), with_labelled("enet", None)
        ('enet, 2 labelled cases', 'enet')
    """
    if labelled is None:
        return subject
    return f"{subject}, {labelled} labelled {'case' if labelled == 1 else 'cases'}"


def amount_of(finding: Finding) -> str:
    """Return the mean difference with the interval over runs and cases, or over cases alone where there is no other."""
    difference = finding.difference
    amount = number(difference.mean, 3, signed=True)
    if difference.over_runs_and_cases is not None:
        return f"{amount} {interval(*difference.over_runs_and_cases, 3, signed=True)} over runs and cases"
    if difference.over_cases is not None:
        return f"{amount} {interval(*difference.over_cases, 3, signed=True)} over cases alone"
    return f"{amount}, without an interval"


def rows_beyond(study: Study, metric: Metric, class_name: str, findings: Sequence[Finding]) -> list[Beyond]:
    """Return each method that was compared with the plain student and with the control.

    Args:
        study: the experiment.
        metric: which column.
        class_name: which class.
        findings: of :func:`~akd_monai.experiments._study.comparisons.compare_rows`, all or those of a student.
    """
    scores = class_scores(study, class_name)
    found: dict[Line, dict[str, Finding]] = {}
    for finding in findings:
        if finding.line.is_method:
            found.setdefault(finding.line, {})[finding.other.method] = finding
    rows = []
    for line, against in found.items():
        if {PLAIN, CONTROL} <= against.keys():
            others = [against[PLAIN].other, against[CONTROL].other]
            missed = tuple(t for t in study.matrix.targets if not _is_above(scores, line, others, t, metric))
            base = next((finding for finding in against.values() if finding.other.is_method), None)
            rows.append(Beyond(line, against[PLAIN], against[CONTROL], base, missed, len(study.matrix.targets)))
    return rows


def _is_above(scores: pd.DataFrame, line: Line, others: Sequence[Line], target: str, metric: Metric) -> bool:
    """Return whether the mean at a target, over cases of means over seeds, is better than that of all others."""
    sign = 1 if metric.higher_is_better else -1
    means = [difference_of(scores, line, other, target, metric.key).mean(axis=0).mean() for other in others]
    return all(mean * sign > 0 for mean in means)


def beyond_both(
    study: Study, metric: Metric, class_name: str, subject: str, findings: Sequence[Finding]
) -> list[Answer]:
    """Return the answer whether a method is above both, or none where no method of the experiment asks for it.

    Args:
        study: the experiment.
        metric: which column.
        class_name: which class.
        subject: the student, as the answer names it.
        findings: of the student.
    """
    rows = rows_beyond(study, metric, class_name, findings)
    if not rows or not _asks(study.matrix):
        return []
    shown = [row for row in rows if row.is_shown]
    if shown:
        names = ", ".join(f"{row.line.how}" for row in shown)
        kind, headline = "helped", f"above the plain student and above the control: {names}"
    elif any(row.is_too_few for row in rows):
        kind, headline = "few", "too few trainings or cases to tell whether a method is above the control too"
    else:
        kind, headline = "none", "no method was found that is above the plain student and above the control"
    by_method: dict[str, list[Beyond]] = {}
    for row in rows:
        name = row.line.method if len(study.matrix.teachers) == 1 else f"{row.line.method} from {row.line.teacher}"
        by_method.setdefault(name, []).append(row)
    return [
        {
            "kind": kind,
            "headline": f"{subject}: {headline}",
            "sentence": f"Above both by test and interval: {len(shown)} of {len(rows)} rows.",
            "details": "\n".join(_details(by_method)),
        }
    ]


def _asks(matrix: Matrix) -> bool:
    """Return whether an experiment compares recipes, or students that have what the control has."""
    return any(method.recipe or method.initial or method.teacher != "sources" for method in matrix.methods)


def _details(by_method: Mapping[str, Sequence[Beyond]]) -> list[str]:
    """Return a line for each row of each method."""
    return [f"{name}{_part(row)}" for name, rows in by_method.items() for row in rows]


def _part(row: Beyond) -> str:
    """Return at how many sites a row is above both, and by how much."""
    above = row.sites - len(row.not_above)
    sites = "site" if row.sites == 1 else "sites"
    missed = f" (not at {', '.join(row.not_above)})" if row.not_above and above else ""
    labelled = "" if row.line.labelled is None else f", {row.line.labelled} labelled"
    plain, control = amount_of(row.plain), amount_of(row.control)
    said = (
        f"{labelled}: above both at {above or 'none'} of {row.sites} {sites}{missed}; {plain} against the student alone"
        f"{_shown(row.plain)}; {control} against the control{_shown(row.control)}"
    )
    if row.base is None:
        return f"{said}."
    return f"{said}; {amount_of(row.base)} on top of {row.base.other.method}{_shown(row.base)}."


def _shown(finding: Finding) -> str:
    said = {"above": " (shown)", "below": " (shown to be below)"}
    return said.get(finding.outcome, " (not shown)")
