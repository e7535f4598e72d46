# SPDX-License-Identifier: Apache-2.0
"""The answer of an experiment in sentences: whether distillation helped each student."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from akd_monai.experiments._comparison import METRICS
from akd_monai.experiments._plan.matrix import Matrix
from akd_monai.experiments._study.beyond import Answer, amount_of, beyond_both, with_labelled
from akd_monai.experiments._study.comparisons import CONTROL, PLAIN, Finding, Outcome, compare_rows, too_few
from akd_monai.experiments._study.study import Study

__all__ = ["Answer", "study_answers"]

# whose words the report's page colours
_KINDS: dict[Outcome, str] = {"above": "helped", "below": "hurt", "none": "none", "few": "few"}
_HEADLINES = {
    "helped": "distillation helped",
    "hurt": "distillation hurt",
    "mixed": "distillation helped with some methods and hurt with others",
    "none": "no difference shown",
    "few": "too few trainings or cases to tell",
}
_BASELINES = {
    "helped": "baselines of generalisation helped",
    "hurt": "baselines of generalisation hurt",
    "mixed": "some baselines of generalisation helped and others hurt",
    "none": "no difference shown for baselines of generalisation",
    "few": "too few trainings or cases to tell for baselines of generalisation",
}


def study_answers(study: Study) -> list[Answer]:
    """Return for each student and class the ``kind``, ``headline`` and ``sentence`` of what distillation did to its Dice.

    No sentence claims more than the test and the interval over runs and cases show; with fewer than two seeds or six
    cases none claims anything.
    """
    answers: list[Answer] = []
    classes = sorted(study.scores["class"].unique())
    for name in classes:
        findings = compare_rows(study, METRICS[0], name)
        for student in study.matrix.students:
            subject = f"{student.name}, class {name}" if len(classes) > 1 else student.name
            own = [finding for finding in findings if finding.line.network == student.name]
            answers += beyond_both(study, METRICS[0], name, subject, own)
            answers += _of_student(subject, own, study.matrix)
    return answers


def _of_student(subject: str, findings: Sequence[Finding], matrix: Matrix) -> list[Answer]:
    """Return the answers about one student, one for each number of labelled cases."""
    answers = []
    for labelled in matrix.labelled_cases:
        own = [finding for finding in findings if finding.line.labelled == labelled]
        about = with_labelled(subject, labelled)
        if any(finding.line.teacher is not None for finding in own):
            answers.append(_answer(about, own, matrix.protocol))
        baselines = [finding for finding in own if finding.line.is_method and finding.line.teacher is None]
        if baselines:
            answers.append(_baselines(about, baselines))
    return answers


def _baselines(subject: str, findings: Sequence[Finding]) -> Answer:
    """Return the answer about baselines of generalisation, which have no teacher."""
    kind = _kind(findings)
    sentences = [_few(findings)] if kind == "few" else []
    sentences.append(_counts(findings, "the student alone", "baseline"))
    if kind == "none":
        sentences.append("That is no proof that there is no difference.")
    return {"kind": kind, "headline": f"{subject}: {_BASELINES[kind]}", "sentence": " ".join(sentences)}


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
            f"Distilled minus alone: {amount_of(plain[0])}, higher in {plain[0].runs_above} of {_runs(plain[0])}."
        )
    if control:
        sentences.append(f"The control, pre-trained at the sources, minus the student alone: {amount_of(itself[0])}.")
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


def _counts(findings: Sequence[Finding], other: str, what: str = "method") -> str:
    shown = Counter(finding.outcome for finding in findings)
    higher = sum(finding.difference.mean > 0 for finding in findings)
    said = f"{higher} of {len(findings)} {what}s have a higher mean Dice than {other}"
    if len(findings) == 1:
        said = f"The {what} has {'a' if higher else 'no'} higher mean Dice than {other}"
    return f"{said}; shown by test and interval: {shown['above']} above, {shown['below']} below."


def _runs(finding: Finding) -> str:
    return f"{finding.runs} {'run' if finding.runs == 1 else 'runs'}"


def _few(findings: Sequence[Finding]) -> str:
    fewest = min(finding.difference.cases for finding in findings)
    return f"{too_few(fewest, min(finding.difference.runs for finding in findings))}."
