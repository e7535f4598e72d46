# SPDX-License-Identifier: Apache-2.0
"""The answer of an experiment in sentences: whether distillation helped each student."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from akd_monai.experiments._comparison import METRICS
from akd_monai.experiments._study.comparisons import CONTROL, PLAIN, Finding, Outcome, compare_rows, too_few
from akd_monai.experiments._study.study import Study
from akd_monai.experiments._tables import interval, number

__all__ = ["Answer", "study_answers"]

Answer = dict[str, str]
# whose words the report's page colours
_KINDS: dict[Outcome, str] = {"above": "helped", "below": "hurt", "none": "none", "few": "few"}
_HEADLINES = {
    "helped": "distillation helped",
    "hurt": "distillation hurt",
    "mixed": "distillation helped with some methods and hurt with others",
    "none": "no difference shown",
    "few": "too few trainings or cases to tell",
}


def study_answers(study: Study) -> list[Answer]:
    """Return for each student and class the ``kind``, ``headline`` and ``sentence`` of what distillation did to its Dice.

    No sentence claims more than the test and the interval over runs and cases show; with fewer than two seeds or six
    cases none claims anything.
    """
    answers = []
    classes = sorted(study.scores["class"].unique())
    for name in classes:
        findings = compare_rows(study, METRICS[0], name)
        for student in study.matrix.students:
            own = [finding for finding in findings if finding.line.network == student.name]
            if any(finding.line.teacher is not None for finding in own):
                subject = f"{student.name}, class {name}" if len(classes) > 1 else student.name
                answers.append(_answer(subject, own, study.matrix.protocol))
    return answers


def _answer(subject: str, findings: Sequence[Finding], protocol: str) -> Answer:
    plain = [f for f in findings if f.line.teacher is not None and f.other.method == PLAIN]
    control = [f for f in findings if f.line.teacher is not None and f.other.method == CONTROL]
    itself = [f for f in findings if f.line.method == CONTROL]
    kind = _kind(plain)
    is_beyond_control = any(finding.outcome == "above" for finding in control)
    headline = _HEADLINES[kind]
    sentences = [_few(plain)] if kind == "few" else []
    sentences.append(_counts(plain, "the student alone"))
    if len(plain) == 1:
        sentences.append(
            f"Distilled minus alone: {_amount(plain[0])}, higher in {plain[0].runs_above} of {_runs(plain[0])}."
        )
    if control:
        sentences.append(f"The control, pre-trained at the sources, minus the student alone: {_amount(itself[0])}.")
        sentences.append(_counts(control, "that control"))
        if kind == "helped" and not is_beyond_control:
            headline += ", but not shown beyond the control"
            sentences.append("What was gained may come from the data of the sources, not from the teacher.")
    elif kind == "helped" and protocol == "cross_site":
        sentences.append("No control was run: what was gained may come from the data of the sources.")
    if kind == "none":
        sentences.append("That is no proof that there is no difference.")
    return {"kind": kind, "headline": f"{subject}: {headline}", "sentence": " ".join(sentences)}


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
    have = "method has" if len(findings) == 1 else "methods have"
    return (
        f"{higher} of {len(findings)} {have} a higher mean Dice than {other}; shown by test and interval: "
        f"{shown['above']} above, {shown['below']} below."
    )


def _runs(finding: Finding) -> str:
    return f"{finding.runs} {'run' if finding.runs == 1 else 'runs'}"


def _amount(finding: Finding) -> str:
    """Return the mean difference with the interval over runs and cases, or over cases alone where there is no other."""
    difference = finding.difference
    amount = number(difference.mean, 3, signed=True)
    if difference.over_runs_and_cases is not None:
        return f"{amount} {interval(*difference.over_runs_and_cases, 3, signed=True)} over runs and cases"
    if difference.over_cases is not None:
        return f"{amount} {interval(*difference.over_cases, 3, signed=True)} over cases alone"
    return f"{amount}, without an interval"


def _few(findings: Sequence[Finding]) -> str:
    fewest = min(finding.difference.cases for finding in findings)
    return f"{too_few(fewest, min(finding.difference.runs for finding in findings))}."
