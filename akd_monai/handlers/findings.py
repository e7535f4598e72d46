# SPDX-License-Identifier: Apache-2.0
"""What speaks against a teacher for a student, and what a user allows all the same."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, cast, get_args

from akd_monai.errors import InputError, unknown_name
from akd_monai.tables import markdown_table

__all__ = ["Check", "Finding", "Severity", "read_allowed", "settle"]

logger = logging.getLogger(__name__)

#: What is checked before a distillation, by the name that ``allow`` takes.
Check = Literal[
    "agreement",
    "assignment",
    "classes",
    "intensity",
    "labels",
    "modality",
    "orientation",
    "size",
    "spacing",
    "tensorboard",
    "values",
]

#: ``"danger"`` is refused, ``"warning"`` and ``"note"`` are logged.
Severity = Literal["danger", "warning", "note"]


@dataclass(frozen=True)
class Finding:
    """One thing in which a teacher and a student do not fit each other.

    Args:
        check: what was checked.
        severity: what follows from it.
        teacher: how it is in the teacher, as one short phrase.
        student: how it is in the student.
        meaning: what it means for the student, as a sentence without its full stop.
    """

    check: Check
    severity: Severity
    teacher: str
    student: str
    meaning: str


def read_allowed(given: str | Iterable[str] | None) -> list[Check]:
    """Return the names of checks whose findings are allowed, given as a list or as a string with commas.

    Raises:
        UnknownNameError: if there is no such check.

    Example:
        >>> read_allowed("spacing, intensity"), read_allowed(None)
        (['spacing', 'intensity'], [])
        >>> read_allowed("spaceing")
        Traceback (most recent call last):
        ...
        akd_monai.errors.UnknownNameError: unknown check 'spaceing' in allow. Did you mean 'spacing'? ...
    """
    if given is None:
        return []
    if not isinstance(given, (str, list, tuple, set, frozenset)):
        raise InputError(
            f"allow must be a list of checks, got {given!r}", remedy=f"known: {', '.join(get_args(Check))}"
        )
    names = given.split(",") if isinstance(given, str) else list(given)
    allowed: list[Check] = []
    for name in (str(name).strip() for name in names):
        if name not in get_args(Check):
            raise unknown_name("check", name, get_args(Check), where="in allow")
        allowed.append(cast(Check, name))
    return allowed


def settle(findings: Sequence[Finding], allow: str | Iterable[str] | None = None) -> None:
    """Log findings as one table, and refuse those that are dangerous and not allowed.

    Args:
        findings: what was found.
        allow: checks whose findings are allowed, see :func:`read_allowed`.

    Raises:
        InputError: if a finding is dangerous and its check is not allowed, naming all of them.
        UnknownNameError: if ``allow`` names an unknown check.

    Example:
        >>> settle([Finding("spacing", "danger", "1.5 mm", "3 mm", "the teacher sees other proportions")])
        Traceback (most recent call last):
        ...
        akd_monai.errors.InputError: teacher and student do not fit each other: spacing 1.5 mm and 3 mm (the teacher sees
        other proportions); make them alike, or accept it with --allow spacing.
    """
    allowed = read_allowed(allow)
    if findings:
        logger.log(_level(findings), "Teacher and student differ:\n%s", _table(findings))
    refused = [finding for finding in findings if finding.severity == "danger" and finding.check not in allowed]
    if not refused:
        return
    listed = "; ".join(f"{f.check} {f.teacher} and {f.student} ({f.meaning})" for f in refused)
    names = ",".join(dict.fromkeys(finding.check for finding in refused))
    raise InputError(
        f"teacher and student do not fit each other: {listed}",
        remedy=f"make them alike, or accept it with --allow {names}",
        code="findings",
    )


def _level(findings: Sequence[Finding]) -> int:
    return logging.INFO if all(finding.severity == "note" for finding in findings) else logging.WARNING


def _table(findings: Sequence[Finding]) -> str:
    rows = [[f.check, f.severity, f.teacher, f.student, f.meaning] for f in findings]
    return markdown_table(["check", "severity", "teacher", "student", "meaning"], rows, align=["left"] * 5)
