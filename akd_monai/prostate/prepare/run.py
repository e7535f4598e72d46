# SPDX-License-Identifier: Apache-2.0
"""Turn raw prostate MRI of several sources into one form: ``SITE/CaseNN.nii.gz`` with its mask, and a manifest."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from akd_monai.data.manifest import Manifest
from akd_monai.data.parallel import WORKER_DIED, check_workers, for_each
from akd_monai.data.sites import SITES
from akd_monai.errors import InputError, UnknownNameError, near_matches
from akd_monai.files import FolderLock, as_path, remove_leftovers
from akd_monai.prostate.prepare.case import Failure, Job, Options, Outcome, failure_of, prepare_case
from akd_monai.prostate.prepare.privacy import known_key, local_key, redacted
from akd_monai.prostate.prepare.sources import CaseError, RawCase, Scan, Source, get_source

logger = logging.getLogger(__name__)


@dataclass
class PrepareResult:
    """What :func:`prepare` did: cases written, cases found done, cases that failed, and what was left aside."""

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
        """List failures, what was skipped and each kind of warning, then the counts and the manifest."""
        counts = f"{len(self.done)} prepared, {len(self.kept)} done before, {len(self.failed)} failed"
        odd = f", {len(self.warnings)} with warnings" if self.warnings else ""
        cases_of: dict[str, list[str]] = {}
        for case, texts in sorted(self.warnings.items()):
            for text in texts:
                cases_of.setdefault(text, []).append(case)
        lines = [
            *map(str, self.failed),
            *(f"left aside: {text}" for text in self.skipped),
            *(f"warning: {c[0]}{f' and {len(c) - 1} more' if c[1:] else ''}: {text}" for text, c in cases_of.items()),
            f"{counts}{odd}: {self.manifest}",
        ]
        return "\n".join(lines)


def prepare(
    source: str,
    input_dir: str | Path,
    output_dir: str | Path,
    *,
    workers: int = 2,
    site: str | None = None,
    size: int | None = None,
    crop_mm: float | None = None,
    flip_labels: Collection[str] = (),
    progress: bool = True,
) -> PrepareResult:
    """Read a raw source and write image and binary mask of each case on one grid, with a manifest.

    Cases become ``SITE/CaseNN.nii.gz`` and ``SITE/CaseNN_segmentation.nii.gz``; a case without label becomes
    ``unlabelled/SITE/CaseNN.nii.gz``, so that the folder of a site holds pairs only.
    Image and mask get the same shape and affine; the mask is uint8, 0 background and 1 gland. Axes are turned to run
    left, back, up (LPS) where the header can be trusted, which moves voxels but changes none; in plane all stays as
    acquired unless ``size`` or ``crop_mm`` is given. Texts of the headers are not copied. A case is done when its
    record in the manifest agrees with the checksums of its inputs and outputs, so the same call goes on where it was
    stopped. A case that cannot be prepared is reported, and the others are done.

    Args:
        source: ``nci-isbi-2013``, ``i2cvb``, ``promise12``, ``six-site``, ``decathlon``, ``prostate158`` or ``folder``.
        input_dir: folder with the raw files, as downloaded.
        output_dir: prepared folder; several sources may share one. For the source ``folder`` it also gets
            ``.prepare-key``, the secret behind the pseudonyms, which must not be passed on with the data.
        workers: number of processes.
        site: for a source of several sites, prepare this one only (name or code); else the name of the site to write.
        size: resample in plane to this many pixels a side (linear, masks nearest) over the same physical extent; a
            volume that is not square is first padded to a square.
        crop_mm: first crop or pad in plane about the centre to a square of this side in mm.
        flip_labels: patient ids whose label runs the other way along the slices than its image; a text may hold
            several, split by commas.
        progress: show a bar on a terminal.

    Returns:
        What was done, what failed and why; ``str`` of it is ready to be shown.

    Raises:
        InputError: for an unknown source or site, a missing folder, or a folder without any case of the source.
    """
    reader, root, target = get_source(source), as_path(input_dir, "input_dir"), as_path(output_dir, "output_dir")
    _check_arguments(root, target, size, crop_mm)
    check_workers(workers)
    flips = [part.strip() for part in flip_labels.split(",")] if isinstance(flip_labels, str) else list(flip_labels)
    needs_key = source == "folder"
    key = known_key(target) if needs_key else b""
    # Found before anything is written, so that a wrong path, source or site leaves no folder behind.
    scan = _found(reader, root, site, key, flips)
    with FolderLock(target):
        remove_leftovers(target, depth=2)
        if needs_key and not key:
            scan = _found(reader, root, site, local_key(target), flips)
        return _prepared(scan, target, Options(size, crop_mm), flips, workers, progress)


def _found(reader: Source, root: Path, site: str | None, key: bytes, flips: Collection[str]) -> Scan:
    scan = reader.scan(root, site=site, key=key)
    cases = _of_site(reader, scan.cases, site)
    _check_flips(flips, cases)
    return Scan(cases, scan.skipped)


def _prepared(
    scan: Scan, target: Path, options: Options, flips: Collection[str], workers: int, progress: bool
) -> PrepareResult:
    cases, source = scan.cases, scan.cases[0].source
    manifest = Manifest(target)
    jobs = [
        Job(case, name, target, options, case.patient_id in flips, manifest.records.get(name))
        for case, name in zip(cases, _names(cases, manifest), strict=True)
    ]
    result = PrepareResult(target, manifest.path, skipped=list(scan.skipped))
    manifest.failed = [entry for entry in manifest.failed if entry["case"] not in {job.name for job in jobs}]
    for job, outcome in for_each(prepare_case, jobs, workers=workers, progress=progress, title=f"prepare {source}"):
        _book(job, outcome, manifest, result)
    manifest.write()
    logger.info("%d of %d cases of %s are prepared", len(result.done) + len(result.kept), len(jobs), source)
    return result


def _check_arguments(root: Path, target: Path, size: int | None, crop_mm: float | None) -> None:
    if not root.is_dir():
        raise InputError(f"the input folder {root} does not exist; give the folder that holds the raw files.")
    if target.resolve() == root.resolve() or root.resolve() in target.resolve().parents:
        raise InputError(f"the output folder {target} lies in the input folder {root}; choose a folder outside of it.")
    for name, value, kinds in (("size", size, int), ("crop_mm", crop_mm, (int, float))):
        if value is not None and (isinstance(value, bool) or not isinstance(value, kinds)):
            raise InputError(f"{name} must be a number, got {value!r}.")
    if size is not None and size < 8:
        raise InputError(f"size must be at least 8 pixels, got {size}; leave it out to keep the acquired size.")
    if crop_mm is not None and crop_mm < 10:
        raise InputError(f"crop_mm must be at least 10 mm, got {crop_mm:g}; a prostate is 30 to 80 mm wide.")


def _of_site(reader: Source, cases: list[RawCase], site: str | None) -> list[RawCase]:
    if site is None:
        return cases
    site = str(site)
    if not all(part.isalnum() for part in site.replace("-", "_").split("_")):
        raise InputError(f"a site's name is made of letters, digits, '-' and '_', got {site!r}; choose another name.")
    if not reader.sites:
        return cases
    known = sorted({case.site for case in cases})
    by_name = {**{name.upper(): name for name in known}, **{s.code: s.name for s in SITES if s.name in known}}
    chosen = by_name.get(site.upper())
    if chosen is None:
        hint = near_matches(site, known)
        raise UnknownNameError(
            f"source '{reader.name}' has no case of site {site!r} here; it has {', '.join(known)}.{hint}"
        )
    return [case for case in cases if case.site == chosen]


def _check_flips(flip_labels: Collection[str], cases: Sequence[RawCase]) -> None:
    known = {case.patient_id for case in cases}
    for patient in flip_labels:
        if patient not in known:
            raise UnknownNameError(
                f"flip_labels names {patient!r}, who is not in this source.{near_matches(patient, known)}"
            )


def _names(cases: Sequence[RawCase], manifest: Manifest) -> list[str]:
    """Name each case ``SITE/CaseNN``: by its record, else as its source proposes, else by the next free number."""
    owner = {name: record["key"] for name, record in manifest.records.items()}
    known = {key: name for name, key in owner.items()}
    names: dict[str, str] = {case.key: known[case.key] for case in cases if case.key in known}
    fresh = [case for case in cases if case.key not in names]
    for case in fresh:
        wanted = f"{case.site}/{case.case}"
        if case.case is not None and wanted not in owner:
            names[case.key] = wanted
            owner[wanted] = case.key
    for case in fresh:
        if case.key not in names:
            number = 0
            while f"{case.site}/Case{number:02d}" in owner:
                number += 1
            names[case.key] = f"{case.site}/Case{number:02d}"
            owner[names[case.key]] = case.key
    return [names[case.key] for case in cases]


def _book(job: Job, outcome: Outcome | None, manifest: Manifest, result: PrepareResult) -> None:
    """Enter what became of a job into manifest, result and log."""
    if outcome is None:
        outcome = Outcome(failure=failure_of(job, CaseError(WORKER_DIED[0], remedy=WORKER_DIED[1], code="worker-died")))
    if outcome.record is not None:
        (result.kept if outcome.kept else result.done).append(job.name)
        if outcome.record["warnings"]:
            result.warnings[job.name] = outcome.record["warnings"]
        if not outcome.kept:
            manifest.add(outcome.record)
        return
    if outcome.failure is not None:
        result.failed.append(outcome.failure)
        entry = _public(outcome.failure, job.case.source)
        manifest.failed.append(entry)
        manifest.write()
        logger.warning("%s failed (%s): %s", entry["case"], entry["code"], entry["reason"])


def _public(failure: Failure, source: str) -> dict[str, str]:
    """Return what of a failure may be stored: names of a hospital's own files stay out."""
    if source == "folder":
        failure = replace(failure, reason="its files cannot be used", remedy="see the list that prepare returned")
    texts = {"reason": redacted(failure.reason), "remedy": redacted(failure.remedy)}
    return {"case": failure.case, "code": failure.code, **texts}
