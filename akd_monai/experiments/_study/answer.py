# SPDX-License-Identifier: Apache-2.0
"""The answer of an experiment in sentences: whether distillation helped each student."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from akd_monai.experiments._comparison import METRICS
from akd_monai.experiments._study.comparisons import CONTROL, PLAIN, Finding, Outcome, compare_rows
from akd_monai.experiments._study.study import Study
from akd_monai.experiments._tables import interval, number

__all__ = ["Answer", "study_answers"]

Answer = dict[str, str]
# whose words the report's page colours
_KINDS: dict[Outcome, str] = {"above": "helped", "below": "hurt", "none": "none", "few": "few"}


def study_answers(study: Study) -> list[Answer]:
    """Return for each student and class the ``kind``, ``headline`` and ``sentence`` of what distillation did to its Dice.

    No sentence claims more than the test and the interval over trainings and cases show; with fewer than two seeds or six
    cases none claims anything.
    """
    dice = METRICS[0]
    answers = []
    classes = sorted(study.scores["class"].unique())
    for name in classes:
        findings = compare_rows(study, dice, name)
        for student in study.matrix.students:
            own = [finding for finding in findings if finding.line.network == student.name]
            if any(finding.line.teacher is not None for finding in own):
                subject = f"{student.name}, class {name}" if len(classes) > 1 else student.name
                answers.append(_answer(subject, own))
    return answers


def _answer(subject: str, findings: Sequence[Finding]) -> Answer:
    plain = [f for f in findings if f.line.teacher is not None and f.other.method == PLAIN]
    control = [f for f in findings if f.line.teacher is not None and f.other.method == CONTROL]
    itself = [f for f in findings if f.line.method == CONTROL]
    kind = _kind(plain)
    sentences = [_counts(plain, "the student alone"), *(_listed(f) for f in plain[:1] if len(plain) == 1)]
    if control:
        sentences.append(f"The control, pre-trained at the sources, is {_amount(itself[0])} above the student alone.")
        sentences.append(_counts(control, "that control"))
    elif kind == "helped":
        sentences.append("No control was run: the gain may come from the data of the sources, not from the teacher.")
    if kind == "few":
        sentences.append(_few(plain[0]))
    return {"kind": kind, "headline": f"{subject}: {_HEADLINES[kind]}", "sentence": " ".join(sentences)}


_HEADLINES = {
    "helped": "distillation helped",
    "hurt": "distillation hurt",
    "mixed": "distillation helped with some methods and hurt with others",
    "none": "no difference shown",
    "few": "too few trainings or cases to tell",
}


def _kind(findings: Sequence[Finding]) -> str:
    seen = {_KINDS[finding.outcome] for finding in findings}
    if {"helped", "hurt"} <= seen:
        return "mixed"
    for kind in ("helped", "hurt", "few"):
        if kind in seen:
            return kind
    return "none"


def _counts(findings: Sequence[Finding], other: str) -> str:
    shown = Counter(finding.outcome for finding in findings)
    higher = sum(finding.difference.mean > 0 for finding in findings)
    total = len(findings)
    return (
        f"{higher} of {total} methods have a higher mean Dice than {other}; shown by test and interval: {shown['above']} "
        f"above, {shown['below']} below."
    )


def _listed(finding: Finding) -> str:
    return f"Distilled minus alone: {_amount(finding)}, higher in {finding.runs_above} of {finding.runs} trainings."


def _amount(finding: Finding) -> str:
    ends = finding.difference.over_runs_and_cases or finding.difference.over_cases
    given = "" if ends is None else f" {interval(*ends, 3, signed=True)}"
    return f"{number(finding.difference.mean, 3, signed=True)}{given}"


def _few(finding: Finding) -> str:
    difference = finding.difference
    cases = f"{difference.cases} test {'case' if difference.cases == 1 else 'cases'}"
    seeds = f"{difference.runs} {'seed' if difference.runs == 1 else 'seeds'}"
    return f"{cases} and {seeds} are no claim: at least six cases and two seeds are needed for one."
