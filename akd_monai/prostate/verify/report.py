# SPDX-License-Identifier: Apache-2.0
"""Findings of a checked folder, the table of its cases, and the files that hold them."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from akd_monai.files import atomic_write, write_json

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Finding", "Fix", "Severity", "VerifyReport"]

Severity = Literal["error", "warning"]
Fix = Literal["", "strip-header", "binarise", "uint8"]

_COLUMNS = ("severity", "code", "case", "file", "message", "remedy")


@dataclass(frozen=True)
class Finding:
    """One fault of a data set: where it is, how severe it is, what it is and what to do about it.

    Args:
        case: ``SITE/CaseNN``, or ``SITE`` or empty for what concerns a site or the data set.
        file: name of the file below the folder, empty if no single file is concerned.
        code: stable word for programs, such as ``"label-values"``.
        severity: ``"error"``: do not train with it; ``"warning"``: check it.
        message: what is wrong, with the values found.
        remedy: what to do.
        fix: what ``verify --fix`` (``fix=True``) does about it, empty if nothing.

    Example:
        >>> print(Finding("HK/Case14", "HK/Case14.nii.gz", "empty-file", "error", "has 0 bytes", "download it again"))
        error [empty-file] HK/Case14.nii.gz: has 0 bytes; download it again.
    """

    case: str
    file: str
    code: str
    severity: Severity
    message: str
    remedy: str
    fix: Fix = ""

    def __str__(self) -> str:
        where = self.file or self.case or "data set"
        return f"{self.severity} [{self.code}] {where}: {self.message}; {self.remedy}."


@dataclass
class VerifyReport:
    """All findings of a prepared folder; ``str`` of it lists them, errors first.

    Args:
        findings: errors, then warnings.
        cases: facts of each case, one dictionary a case: size, spacing in mm, intensities, gland volume in cm3.
        fixed: what was fixed, in words.
        written: files of the report, if an output folder was given.

    Example:
        >>> report = VerifyReport(cases=[{"case": "HK/Case13"}])
        >>> print(report, report.exit_code)
        1 cases: 0 errors, 0 warnings 0
    """

    findings: list[Finding] = field(default_factory=list)
    cases: list[dict[str, Any]] = field(default_factory=list)
    fixed: list[str] = field(default_factory=list)
    written: list[Path] = field(default_factory=list)

    @property
    def errors(self) -> list[Finding]:
        """Findings that forbid training."""
        return [finding for finding in self.findings if finding.severity == "error"]

    @property
    def warnings(self) -> list[Finding]:
        """Findings that deserve attention."""
        return [finding for finding in self.findings if finding.severity == "warning"]

    @property
    def exit_code(self) -> int:
        """0, or 2 if there is an error."""
        return 2 if self.errors else 0

    @property
    def table(self) -> pd.DataFrame:
        """Findings as a table, one row a finding."""
        import pandas as pd

        rows = [[getattr(finding, name) for name in _COLUMNS] for finding in self.findings]
        return pd.DataFrame(rows, columns=list(_COLUMNS))

    @property
    def case_table(self) -> pd.DataFrame:
        """Facts as a table, one row a case."""
        import pandas as pd

        return pd.DataFrame(self.cases)

    def __str__(self) -> str:
        """List findings, what was fixed, and the counts."""
        count = f"{len(self.cases)} cases: {len(self.errors)} errors, {len(self.warnings)} warnings"
        place = f"; report in {self.written[0].parent}" if self.written else ""
        fixed = [f"fixed: {words}" for words in self.fixed]
        return "\n".join([*map(str, self.findings), *fixed, count + place])

    def write(self, output_dir: Path) -> None:
        """Write ``findings.csv``, ``cases.csv`` and ``report.json`` into a folder.

        Raises:
            InputError: if the folder cannot be made or written to.
        """
        self.written += [
            atomic_write(output_dir / "findings.csv", _csv(self.table)),
            atomic_write(output_dir / "cases.csv", _csv(self.case_table)),
            write_json(output_dir / "report.json", self._content()),
        ]

    def _content(self) -> dict[str, Any]:
        codes = Counter(finding.code for finding in self.findings)
        return {
            "cases": len(self.cases),
            "errors": len(self.errors),
            "warnings": len(self.warnings),
            "codes": dict(sorted(codes.items())),
            "findings": [asdict(finding) for finding in self.findings],
            "facts": self.cases,
            "fixed": self.fixed,
        }


def _csv(table: pd.DataFrame) -> str:
    return str(table.to_csv(index=False, lineterminator="\n"))
