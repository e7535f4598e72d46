# SPDX-License-Identifier: Apache-2.0
"""Check a prepared folder before anything is trained on it: files, geometry, masks, duplicates, personal data."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from akd_monai.data.manifest import MANIFEST, UNLABELLED, Manifest
from akd_monai.data.parallel import WORKER_DIED, check_workers, for_each
from akd_monai.errors import InputError
from akd_monai.files import as_path, check_writable
from akd_monai.names import NIFTI_SUFFIXES, stem_of, visible
from akd_monai.prostate.prepare.sources.six_site import ZONE_SITES
from akd_monai.prostate.verify.case import CaseCheck, CaseFiles, check_case
from akd_monai.prostate.verify.dataset import (
    duplicates,
    known_overlaps,
    patients_in_two_places,
    read_splits,
    sites_upside_down,
)
from akd_monai.prostate.verify.fix import fix_file
from akd_monai.prostate.verify.pictures import PictureJob, draw_case, words_of
from akd_monai.prostate.verify.report import ERROR, Finding, VerifyReport, sorted_findings

logger = logging.getLogger(__name__)

_MASK = "_segmentation"


def verify(
    dataset_dir: str | Path,
    *,
    output: str | Path | None = None,
    fix: bool = False,
    splits: str | Path | None = None,
    label_values: Collection[int] | None = None,
    workers: int = 2,
    progress: bool = True,
) -> VerifyReport:
    """Check all cases ``SITE/CaseNN.nii.gz`` of a folder, and report every fault with case, file and remedy.

    Files are read to their last byte and compared with the manifest, if there is one. Upside-down masks are found by
    two weak signs (:mod:`akd_monai.prostate.flip_evidence`), which is a reason to look and no proof; a scan that is in the
    folder twice is found unless the two show different fields of view.

    Args:
        dataset_dir: folder with one folder a site, or the folder of one site.
        output: where to write ``findings.csv``, ``cases.csv``, ``report.json`` and ``pictures/``, one PNG a case with
            findings; ``None`` writes nothing.
        fix: mend what is safe (texts of headers emptied, masks of 0 and 255 written as 0 and 1, masks stored as uint8),
            then check those cases again. Nothing else in the folder is ever changed.
        splits: JSON file of splits or a datalist: no patient may be in two parts.
        label_values: values a mask may hold; by default 0 and 1, and 2 as well in the sites RUNMC and BMC of the public
            six-site set, which keep the zones (a prepared folder, which has a manifest, does not).
        workers: number of processes.
        progress: show a bar on a terminal.

    Returns:
        The report; ``exit_code`` is 2 if there is an error.

    Raises:
        InputError: if the folder is missing or holds no NIfTI file, or the report cannot be written.
    """
    root = as_path(dataset_dir, "dataset_dir")
    check_workers(workers)
    parts = read_splits(Path(splits)) if splits is not None else []
    manifest = Manifest(root)
    cases, findings = find_cases(root, manifest, None if label_values is None else tuple(label_values))
    if output is not None:
        check_writable(as_path(output, "output"), "report")
    report = VerifyReport()
    checks = _check_all(cases, workers, progress)
    if fix:
        checks = _fix_all(cases, checks, manifest, report)
    patients = {name: record["patient_id"] for name, record in manifest.records.items()}
    findings += [finding for check in checks for finding in check.findings]
    findings += duplicates(checks, patients, parts)
    findings += patients_in_two_places(checks, patients, parts)
    findings += sites_upside_down(checks)
    sources = sorted({record["source"] for record in manifest.records.values()} - {"promise12", "nci-isbi-2013"})
    findings += known_overlaps(sorted({case.site for case in cases}), sources)
    report.findings = sorted_findings(findings)
    report.cases = [check.facts for check in sorted(checks, key=lambda check: check.case)]
    if output is not None:
        report.write(Path(output))
        report.written += _pictures(cases, report.findings, Path(output), workers, progress)
    logger.info("%d cases checked: %d errors, %d warnings", len(checks), len(report.errors), len(report.warnings))
    return report


def find_cases(
    root: Path, manifest: Manifest, label_values: tuple[int, ...] | None = None
) -> tuple[list[CaseFiles], list[Finding]]:
    """Pair images and masks by name, site by site, and report names that clash and files the manifest misses."""
    if not root.is_dir():
        raise InputError(f"the data set folder {root} does not exist; give a folder as prepare writes it.")
    files = [
        path
        for pattern in ("*", "*/*", f"{UNLABELLED}/*/*")
        for path in visible(root, pattern)
        if path.is_file() and path.name.lower().endswith(NIFTI_SUFFIXES)
    ]
    if not files:
        raise InputError(
            f"{root} holds no NIfTI file; expected SITE/CaseNN.nii.gz and SITE/CaseNN_segmentation.nii.gz."
        )
    found: dict[str, dict[str, str]] = {}
    findings = []
    for path in files:
        name, case, kind = path.relative_to(root).as_posix(), *_case_and_kind(path)
        entry = found.setdefault(case, {})
        if kind in entry:
            remedy = "remove one of the two"
            findings.append(Finding(case, name, "two-files", ERROR, f"a second {kind} beside {entry[kind]}", remedy))
        else:
            entry[kind] = name
    cases = [_files_of(root, case, found[case], manifest, label_values) for case in sorted(found)]
    return cases, findings + _missing(found, manifest)


def _case_and_kind(path: Path) -> tuple[str, str]:
    stem, site = stem_of(path), path.parent.resolve().name
    is_mask = stem.lower().endswith(_MASK)
    return f"{site}/{stem[: -len(_MASK)] if is_mask else stem}", "label" if is_mask else "image"


def _files_of(
    root: Path, case: str, entry: Mapping[str, str], manifest: Manifest, label_values: tuple[int, ...] | None
) -> CaseFiles:
    image, label, site = entry.get("image"), entry.get("label"), case.split("/")[0]
    record = manifest.records.get(case, {})
    with_zones = not record and site.upper() in ZONE_SITES
    known = {kind: record["sha256"][kind] for kind in ("image", "label") if record and record[kind] == entry.get(kind)}
    return CaseFiles(
        case=case,
        site=site,
        root=root,
        image=image,
        label=label,
        unlabelled=bool(image and image.startswith(f"{UNLABELLED}/")),
        sha256=known,
        label_values=label_values or ((0, 1, 2) if with_zones else (0, 1)),
        synthetic=bool(record.get("synthetic")),
    )


def _missing(found: Mapping[str, Mapping[str, str]], manifest: Manifest) -> list[Finding]:
    findings = []
    for case, record in manifest.records.items():
        for kind in ("image", "label"):
            name = record[kind]
            if name and found.get(case, {}).get(kind) != name:
                message, remedy = f"the {kind} that {MANIFEST} names is missing", "restore it or run prepare again"
                findings.append(Finding(case, name, "missing-file", ERROR, message, remedy))
    return findings


def _check_all(cases: Sequence[CaseFiles], workers: int, progress: bool) -> list[CaseCheck]:
    checks = []
    for case, check in for_each(check_case, cases, workers=workers, progress=progress, title="verify"):
        if check is None:
            check = CaseCheck(case.case, case.site, facts={"case": case.case, "site": case.site})
            check.add(case.image or case.label, "worker-died", ERROR, *WORKER_DIED)
        checks.append(check)
    return sorted(checks, key=lambda check: check.case)


def _fix_all(
    cases: Sequence[CaseFiles], checks: Sequence[CaseCheck], manifest: Manifest, report: VerifyReport
) -> list[CaseCheck]:
    """Mend files, keep the manifest's checksums of mended files true, and check those cases again."""
    by_case = {files.case: files for files in cases}
    result = []
    for check in checks:
        files = by_case[check.case]
        # A file that is not the manifest's any more must stay visible as such.
        untouched = {finding.file for finding in check.findings if finding.code == "changed"}
        todo: dict[str, set[str]] = {}
        for finding in check.findings:
            if finding.fix and finding.file not in untouched:
                todo.setdefault(finding.file, set()).add(finding.fix)
        hashes = dict(files.sha256)
        for name, fixes in todo.items():
            kind = "image" if name == files.image else "label"
            digest, words = fix_file(files.root / name, fixes)
            report.fixed += [f"{name}: {text}" for text in words]
            if kind in hashes:
                hashes[kind] = manifest.records[check.case]["sha256"][kind] = digest
                manifest.write()
        result.append(check_case(replace(files, sha256=hashes)) if todo else check)
    return result


def _pictures(
    cases: Sequence[CaseFiles], findings: Sequence[Finding], output: Path, workers: int, progress: bool
) -> list[Path]:
    jobs = []
    for files in cases:
        mine = [finding for finding in findings if finding.case == files.case]
        if mine:
            paths = [files.root / name if name else None for name in (files.image, files.label)]
            target = output / "pictures" / f"{files.case.replace('/', '_')}.png"
            jobs.append(PictureJob(paths[0], paths[1], files.case, words_of(mine), target))
    drawn = for_each(draw_case, jobs, workers=workers, progress=progress, title="pictures")
    return [path for _, path in drawn if path is not None]
