# SPDX-License-Identifier: Apache-2.0
"""Check a prepared folder before anything is trained on it: files, geometry, masks, duplicates, personal data."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from akd_monai.data.manifest import Manifest
from akd_monai.data.parallel import WORKER_DIED, check_workers, for_each
from akd_monai.files import as_path, check_writable
from akd_monai.prostate.verify._across_cases import (
    duplicates,
    known_overlaps,
    patients_in_two_places,
    sites_upside_down,
)
from akd_monai.prostate.verify._case import check_case
from akd_monai.prostate.verify._check import CaseCheck, CaseFiles
from akd_monai.prostate.verify._find import find_cases
from akd_monai.prostate.verify._fix import fix_file
from akd_monai.prostate.verify._pictures import draw_pictures
from akd_monai.prostate.verify._records import CaseRecord, read_records
from akd_monai.prostate.verify._splits import Parts, read_splits
from akd_monai.prostate.verify.report import Finding, Fix, VerifyReport

__all__ = ["verify_dataset"]

logger = logging.getLogger(__name__)


def verify_dataset(
    dataset_dir: str | os.PathLike[str],
    *,
    output_dir: str | os.PathLike[str] | None = None,
    fix: bool = False,
    splits: str | os.PathLike[str] | None = None,
    label_values: Collection[int] | None = None,
    workers: int = 2,
    progress: bool = True,
) -> VerifyReport:
    """Check all cases ``SITE/CaseNN.nii.gz`` of a folder, and report every fault with case, file and remedy.

    Files are read to their last byte and compared with the manifest, if there is one. Upside-down masks are found by
    two weak signs (:mod:`akd_monai.prostate.flip_evidence`): such a finding is a reason to check, no proof. A scan that
    is in the folder twice is found unless the two show different fields of view.

    Args:
        dataset_dir: folder with one folder a site, or the folder of one site.
        output_dir: where to write ``findings.csv``, ``cases.csv``, ``report.json`` and ``pictures/``, one PNG a case
            with findings; ``None`` writes nothing.
        fix: fix what leaves no doubt (texts of headers emptied, masks of 0 and 255 written as 0 and 1, masks stored as
            uint8), then check those cases again. Nothing else in the folder is ever changed.
        splits: JSON file of splits or a datalist: no patient may be in two parts.
        label_values: values a mask may hold; by default 0 and 1, and 2 as well in the sites RUNMC and BMC of the public
            six-site set, which keep the zones (a prepared folder, which has a manifest, does not).
        workers: number of processes; with 0 or 1 all is done in this one, and a script needs no guard of ``__main__``.
        progress: show a bar on a terminal.

    Returns:
        The report; ``exit_code`` is 2 if there is an error.

    Raises:
        InputError: if the folder is missing or holds no NIfTI file, its manifest or the splits cannot be read, or the
            report cannot be written.

    Example:
        >>> import tempfile
        >>> from akd_monai.prostate import make_phantom
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = make_phantom(folder, cases_per_site=1, sites="HK", size=48, slices=6, progress=False)
        ...     print(verify_dataset(folder, progress=False))
        1 cases: 0 errors, 0 warnings
    """
    root = as_path(dataset_dir, "dataset_dir")
    check_workers(workers)
    parts = [] if splits is None else read_splits(as_path(splits, "splits"))
    manifest = Manifest(root)
    records, findings = read_records(manifest)
    cases, faults = find_cases(root, records, label_values)
    output = None if output_dir is None else check_writable(as_path(output_dir, "output_dir"))

    report = VerifyReport()
    checks = _check_all(cases, workers, progress)
    if fix:
        checks = _fix_all(cases, checks, manifest, report)
    findings += faults
    for check in checks:
        findings += check.findings
    findings += _findings_across(checks, records, parts)
    report.findings = _sorted(findings)
    report.cases = [check.facts for check in checks]
    if output is not None:
        report.write(output)
        report.written += draw_pictures(cases, report.findings, output, workers=workers, progress=progress)
    logger.info("%d cases checked: %d errors, %d warnings", len(checks), len(report.errors), len(report.warnings))
    return report


def _check_all(cases: Sequence[CaseFiles], workers: int, progress: bool) -> list[CaseCheck]:
    checks = []
    for files, result in for_each(check_case, cases, workers=workers, progress=progress, title="verify"):
        check = CaseCheck(files.case, files.site) if result is None else result
        if result is None:
            check.error(files.image or files.label, "worker-died", *WORKER_DIED)
        checks.append(check)
    return sorted(checks, key=lambda check: check.case)


def _fix_all(
    cases: Iterable[CaseFiles], checks: Iterable[CaseCheck], manifest: Manifest, report: VerifyReport
) -> list[CaseCheck]:
    """Fix files, update the manifest's checksums of fixed files, and check those cases again."""
    by_case = {files.case: files for files in cases}
    result = []
    for check in checks:
        fixes = _fixes_by_file(check)
        if not fixes:
            result.append(check)
            continue
        files = _fix_case(by_case[check.case], fixes, manifest, report)
        result.append(check_case(files))
    return result


def _fixes_by_file(check: CaseCheck) -> dict[str, set[Fix]]:
    # A file that is no longer the manifest's must stay visible as such.
    changed = {finding.file for finding in check.findings if finding.code == "changed"}
    fixes: dict[str, set[Fix]] = {}
    for finding in check.findings:
        if finding.fix and finding.file not in changed:
            fixes.setdefault(finding.file, set()).add(finding.fix)
    return fixes


def _fix_case(files: CaseFiles, fixes: Mapping[str, set[Fix]], manifest: Manifest, report: VerifyReport) -> CaseFiles:
    """Fix the files of a case and return it with their new checksums."""
    sha256 = dict(files.sha256)
    for name, wanted in fixes.items():
        digest, done = fix_file(files.root / name, wanted)
        report.fixed += [f"{name}: {words}" for words in done]
        kind = "image" if name == files.image else "label"
        if kind in sha256:
            sha256[kind] = digest
            manifest.records[files.case]["sha256"][kind] = digest
            manifest.write()
    return replace(files, sha256=sha256)


def _findings_across(
    checks: Sequence[CaseCheck], records: Mapping[str, CaseRecord], parts: Sequence[Parts]
) -> list[Finding]:
    patients = {case: record.patient for case, record in records.items() if record.patient is not None}
    sources = {record.source for record in records.values() if record.source is not None}
    sites = {check.site for check in checks}
    return [
        *duplicates(checks, patients, parts),
        *patients_in_two_places(checks, patients, parts),
        *sites_upside_down(checks),
        *known_overlaps(sorted(sites), sorted(sources)),
    ]


def _sorted(findings: Iterable[Finding]) -> list[Finding]:
    """Return findings without repetitions, errors first, then by case and file."""
    unique = dict.fromkeys(findings)
    return sorted(unique, key=lambda finding: (finding.severity != "error", finding.case, finding.file, finding.code))
