# SPDX-License-Identifier: Apache-2.0
"""Read the records of a manifest that anything may stand in: each field that is not as it should be is a finding."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from akd_monai.data.manifest import MANIFEST, Manifest
from akd_monai.prostate.verify.report import Finding

__all__ = ["CaseRecord", "read_records"]


@dataclass
class CaseRecord:
    """What the manifest says of a case; ``None`` or empty where it says nothing that can be used.

    Args:
        image: name of the image.
        label: name of the mask.
        sha256: checksums of ``"image"`` and ``"label"``.
        patient: the patient.
        source: collection that the case comes from.
        synthetic: whether the case is synthetic.
    """

    image: str | None = None
    label: str | None = None
    sha256: dict[str, str | None] = field(default_factory=dict)
    patient: str | None = None
    source: str | None = None
    synthetic: bool = False


def read_records(manifest: Manifest) -> tuple[dict[str, CaseRecord], list[Finding]]:
    """Return the records of a manifest by case, and a finding for each field that is missing or of another type."""
    records: dict[str, CaseRecord] = {}
    findings: list[Finding] = []
    for case, content in manifest.records.items():
        reader = _Reader(case, content)
        records[case] = reader.record()
        findings += reader.findings
    return records, findings


class _Reader:
    """Take the fields of one record, and note those that cannot be used."""

    def __init__(self, case: str, content: dict[str, Any]) -> None:
        self.case = case
        self.content = content
        self.findings: list[Finding] = []

    def record(self) -> CaseRecord:
        return CaseRecord(
            image=self._string(self.content, "image"),
            label=self._string(self.content, "label", optional=True),
            sha256=self._checksums(),
            patient=self._string(self.content, "patient_id"),
            source=self._string(self.content, "source"),
            synthetic=bool(self.content.get("synthetic")),
        )

    def _checksums(self) -> dict[str, str | None]:
        sums = self.content.get("sha256")
        if not isinstance(sums, dict):
            self._note("sha256", "an object", self.content, "sha256")
            return {}
        return {kind: self._string(sums, kind, "sha256.", optional=True) for kind in ("image", "label")}

    def _string(self, content: dict[str, Any], name: str, prefix: str = "", *, optional: bool = False) -> str | None:
        value = content.get(name)
        if isinstance(value, str) or (optional and value is None and name in content):
            return value
        self._note(prefix + name, "a string", content, name)
        return None

    def _note(self, field_name: str, wanted: str, content: dict[str, Any], name: str) -> None:
        problem = f"has no {field_name!r}"
        if name in content:
            problem = f"has {field_name!r} of type {type(content[name]).__name__}, expected {wanted}"
        message = f"the record of {self.case} {problem}"
        remedy = "run prepare again, or correct the record"
        self.findings.append(Finding(self.case, MANIFEST, "manifest-record", "error", message, remedy))
