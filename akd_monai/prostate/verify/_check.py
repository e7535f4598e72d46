# SPDX-License-Identifier: Apache-2.0
"""What is known of one case: its files before it is checked, its findings and facts after."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from akd_monai.prostate.verify.report import Finding, Fix, Severity

__all__ = ["FLIP_WORDS", "CaseCheck", "CaseFiles"]

# Directions in which a mask may be reversed, by the axis of flip_evidence.
FLIP_WORDS = {"P": "front to back", "S": "upside down along the slices"}


@dataclass(frozen=True)
class CaseFiles:
    """The files of one case and what the manifest says of them.

    Args:
        case: ``SITE/CaseNN``.
        site: name of the site's folder.
        root: the data set's folder; names of files are relative to it.
        image: name of the image, ``None`` without one.
        label: name of the mask, ``None`` without one.
        unlabelled: whether the case is meant to have no mask.
        sha256: checksums of ``"image"`` and ``"label"`` in the manifest.
        label_values: values that the mask may hold.
        synthetic: whether the manifest calls the case synthetic.
    """

    case: str
    site: str
    root: Path
    image: str | None
    label: str | None
    unlabelled: bool = False
    sha256: dict[str, str | None] = field(default_factory=dict)
    label_values: tuple[int, ...] = (0, 1)
    synthetic: bool = False

    @property
    def paths(self) -> tuple[Path | None, Path | None]:
        """Paths of image and mask."""
        image = None if self.image is None else self.root / self.image
        label = None if self.label is None else self.root / self.label
        return image, label


@dataclass
class CaseCheck:
    """Findings and facts of one case, and what is needed to compare it with the others.

    Args:
        case: ``SITE/CaseNN``.
        site: name of the site's folder.
        findings: faults found so far.
        facts: row of the table of cases.
        voxels: hash of the image's voxels, empty for an image that cannot be compared.
        thumbnail: the image seen from far away.
        flips: evidence for the mask as it is, by axis; negative values speak for the reversed mask.
    """

    case: str
    site: str
    findings: list[Finding] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    voxels: str = ""
    thumbnail: NDArray[Any] | None = None
    flips: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.facts = {"case": self.case, "site": self.site, **self.facts}

    def error(self, file: str | None, code: str, message: str, remedy: str, fix: Fix = "") -> None:
        """Add a finding that forbids training with the case."""
        self._add(file, code, "error", message, remedy, fix)

    def warning(self, file: str | None, code: str, message: str, remedy: str, fix: Fix = "") -> None:
        """Add a finding that deserves attention."""
        self._add(file, code, "warning", message, remedy, fix)

    def _add(self, file: str | None, code: str, severity: Severity, message: str, remedy: str, fix: Fix) -> None:
        self.findings.append(Finding(self.case, file or "", code, severity, message, remedy, fix))
