# SPDX-License-Identifier: Apache-2.0
"""What a call of prepare did, and why single cases failed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from akd_monai.errors import InputError

__all__ = ["Failure", "PrepareResult"]


@dataclass(frozen=True)
class Failure:
    """A case that could not be prepared, in the words of an :class:`~akd_monai.errors.InputError`.

    Args:
        case: name of the case, ``SITE/CaseNN``.
        patient_id: pseudonymous ID of the patient.
        what: what is wrong.
        where: the file concerned, if there is one.
        remedy: what the user can do about it.
        code: a stable word for programs, such as ``"truncated"``.

    Example:
        >>> print(Failure("HK/Case13", "six-site-HK-13", "has 0 bytes", "Case13.nii.gz", "copy it again", "empty-file"))
        HK/Case13 (six-site-HK-13), Case13.nii.gz: has 0 bytes; copy it again.
    """

    case: str
    patient_id: str
    what: str
    where: str = ""
    remedy: str = ""
    code: str = ""

    def __str__(self) -> str:
        place = f"{self.case} ({self.patient_id})"
        if self.where:
            place = f"{place}, {self.where}"
        return str(InputError(self.what, where=place, remedy=self.remedy))


@dataclass
class PrepareResult:
    """What :func:`~akd_monai.prostate.prepare_dataset` did; ``str`` of it lists everything that needs attention.

    Attributes:
        output_dir: the prepared folder.
        manifest: its ``manifest.json``.
        done: names of the cases that were written.
        kept: names of the cases that were complete already.
        failed: the cases that could not be prepared.
        skipped: every volume and every folder of slices that is neither prepared nor the mask of a case, with the reason:
            ``path: reason``, below the input folder.
        warnings: what is odd about a case, by its name.
    """

    output_dir: Path
    manifest: Path
    done: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    failed: list[Failure] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    warnings: dict[str, list[str]] = field(default_factory=dict)

    @property
    def exit_code(self) -> int:
        """0, or 2 if a case failed."""
        return 2 if self.failed else 0

    def __str__(self) -> str:
        lines = [str(failure) for failure in self.failed]
        lines += _skipped_lines(self.skipped)
        lines += _warning_lines(self.warnings)
        lines.append(self._counts())
        return "\n".join(lines)

    def _counts(self) -> str:
        counts = [
            f"{len(self.done)} prepared",
            f"{len(self.kept)} done before",
            f"{len(self.failed)} failed",
        ]
        if self.warnings:
            counts.append(f"{len(self.warnings)} with warnings")
        return f"{', '.join(counts)}: {self.manifest}"


def _skipped_lines(skipped: Sequence[str]) -> list[str]:
    """Return one line for each reason, with the first path and the number of others."""
    paths_of: dict[str, list[str]] = {}
    for entry in skipped:
        path, _, why = entry.rpartition(": ")
        paths_of.setdefault(why, []).append(path)
    return [f"skipped: {_first_of(paths)}: {why}" for why, paths in paths_of.items()]


def _first_of(names: Sequence[str]) -> str:
    return f"{names[0]} and {len(names) - 1} more" if len(names) > 1 else names[0]


def _warning_lines(warnings: Mapping[str, Sequence[str]]) -> list[str]:
    """Return one line for each kind of warning, with the first case and the number of others."""
    cases_of: dict[str, list[str]] = {}
    for case, messages in sorted(warnings.items()):
        for message in messages:
            cases_of.setdefault(message, []).append(case)
    lines = []
    for message, cases in cases_of.items():
        lines.append(f"warning: {_first_of(cases)}: {message}")
    return lines
