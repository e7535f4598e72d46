# SPDX-License-Identifier: Apache-2.0
"""What :func:`akd_monai.prostate.verify.run.verify` found: findings, a table of cases, and the files it writes."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from akd_monai.files import atomic_write

if TYPE_CHECKING:
    import pandas as pd

ERROR, WARNING = "error", "warning"
_COLUMNS = ("severity", "code", "case", "file", "message", "remedy")


@dataclass(frozen=True)
class Finding:
    """One fault: in which case and file, how bad, what it is and what cures it.

    Args:
        case: ``SITE/CaseNN``, or ``SITE`` or empty for what concerns a site or all.
        file: name of the file below the folder, empty if none is to blame.
        code: stable word for programs, such as ``label-values``.
        severity: ``"error"``: do not train with it; ``"warning"``: look at it.
        message: what is wrong, with the values seen.
        remedy: what to do.
        fix: how ``fix=True`` would mend it (``"strip-header"``, ``"binarise"``, ``"uint8"``), or empty.
    """

    case: str
    file: str
    code: str
    severity: str
    message: str
    remedy: str
    fix: str = ""

    def __str__(self) -> str:
        where = self.file or self.case or "data set"
        return f"{self.severity} [{self.code}] {where}: {self.message}; {self.remedy}."


@dataclass
class VerifyReport:
    """All findings of a prepared folder; ``str`` of it lists them, errors first.

    Args:
        findings: errors, then warnings.
        cases: facts of each case (size, spacing, intensities, gland volume ...), one dictionary a case.
        fixed: what ``fix=True`` has mended, in words.
        written: files of the report, if an output folder was given.
    """

    findings: list[Finding] = field(default_factory=list)
    cases: list[dict[str, Any]] = field(default_factory=list)
    fixed: list[str] = field(default_factory=list)
    written: list[Path] = field(default_factory=list)

    @property
    def errors(self) -> list[Finding]:
        """Findings that forbid training."""
        return [finding for finding in self.findings if finding.severity == ERROR]

    @property
    def warnings(self) -> list[Finding]:
        """Findings that deserve a look."""
        return [finding for finding in self.findings if finding.severity == WARNING]

    @property
    def exit_code(self) -> int:
        """0, or 2 if there is an error."""
        return 2 if self.errors else 0

    @property
    def table(self) -> pd.DataFrame:
        """Findings as a table, one row a finding."""
        import pandas as pd

        return pd.DataFrame([[getattr(f, name) for name in _COLUMNS] for f in self.findings], columns=list(_COLUMNS))

    @property
    def case_table(self) -> pd.DataFrame:
        """Facts as a table, one row a case."""
        import pandas as pd

        return pd.DataFrame(self.cases)

    def __str__(self) -> str:
        """List findings, what was mended, and the counts."""
        count = f"{len(self.cases)} cases: {len(self.errors)} errors, {len(self.warnings)} warnings"
        place = f"; report in {self.written[0].parent}" if self.written else ""
        return "\n".join([*map(str, self.findings), *(f"fixed: {text}" for text in self.fixed), count + place])

    def write(self, output: Path) -> None:
        """Write ``findings.csv``, ``cases.csv`` and ``report.json`` into ``output``."""
        content = {
            "cases": len(self.cases),
            "errors": len(self.errors),
            "warnings": len(self.warnings),
            "codes": dict(sorted(Counter(finding.code for finding in self.findings).items())),
            "findings": [asdict(finding) for finding in self.findings],
            "facts": self.cases,
            "fixed": self.fixed,
        }
        texts = {
            "findings.csv": self.table.to_csv(index=False, lineterminator="\n"),
            "cases.csv": self.case_table.to_csv(index=False, lineterminator="\n"),
            "report.json": json.dumps(content, indent=1, ensure_ascii=False) + "\n",
        }
        self.written += [atomic_write(output / name, text) for name, text in texts.items()]


def sorted_findings(findings: Sequence[Finding]) -> list[Finding]:
    """Return findings without repetitions, errors first, then by case and file."""
    unique = dict.fromkeys(findings)
    return sorted(unique, key=lambda f: (f.severity != ERROR, f.case, f.file, f.code))
