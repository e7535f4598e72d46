# SPDX-License-Identifier: Apache-2.0
"""Turn raw prostate MRI of several sources into one form: ``SITE/CaseNN.nii.gz`` with its mask, and a manifest."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from akd_monai.data.manifest import Manifest, is_synthetic
from akd_monai.data.parallel import WORKER_DIED, check_workers, for_each
from akd_monai.errors import InputError
from akd_monai.files import FolderLock, as_path, remove_leftovers
from akd_monai.prostate._privacy import known_secret, made_secret, redacted, without_folders
from akd_monai.prostate.prepare._account import unused_files
from akd_monai.prostate.prepare._arguments import (
    cases_of_site,
    check_folders,
    check_grid,
    check_identities,
    check_patients,
    names_in,
    with_site_problems,
)
from akd_monai.prostate.prepare._case import Job, Options, Outcome, failure_of, prepare_case
from akd_monai.prostate.prepare._naming import check_site_names, name_cases
from akd_monai.prostate.prepare._result import Failure, PrepareResult
from akd_monai.prostate.prepare._sources import CaseError, Listing, Source, SourceName, get_source

__all__ = ["prepare_dataset"]

logger = logging.getLogger(__name__)


def prepare_dataset(
    source: SourceName | str,
    input_dir: str | os.PathLike[str],
    output_dir: str | os.PathLike[str],
    *,
    workers: int = 2,
    site: str | None = None,
    size: int | None = None,
    crop_mm: float | None = None,
    flip_labels: str | Collection[str] = (),
    progress: bool = True,
) -> PrepareResult:
    """Write image and binary mask of each case of a raw source on one grid, in the six-site layout, with a manifest.

    Cases become ``SITE/CaseNN.nii.gz`` and ``SITE/CaseNN_segmentation.nii.gz``; a case without label becomes
    ``unlabelled/SITE/CaseNN.nii.gz``, so that the folder of a site holds pairs only.
    Image and mask get the same shape and affine; the mask is uint8, 0 background and 1 gland. Axes are turned to run
    left, back, up (LPS) where the header can be trusted, which moves voxels but changes none; in plane the volume stays
    as acquired unless ``size`` or ``crop_mm`` is given. Free text of the headers is not copied. A case is complete when
    its record in the manifest agrees with the checksums of its inputs and outputs, so the same call resumes a run that
    was stopped. A case that cannot be prepared is reported, and the others are prepared.

    Args:
        source: ``nci-isbi-2013``, ``i2cvb``, ``promise12``, ``six-site``, ``decathlon``, ``prostate158`` or ``folder``.
        input_dir: folder with the raw files, as downloaded.
        output_dir: prepared folder; several sources may share one. For the source ``folder`` it also gets
            ``.prepare-key``, the secret behind the pseudonyms, which must not be passed on with the data.
        workers: number of processes, in which a file that crashes its reader costs one case; with 0 all is done in
            this one, and a crash ends it.
        site: for a source of several sites, prepare this one only (name or code); else the name of the site to write.
        size: resample in plane to this many pixels a side (linear, masks nearest) over the same physical extent, at
            least 8; a volume that is not square is first padded to a square.
        crop_mm: first crop or pad in plane about the centre to a square field of view of this side in mm, at least 10.
        flip_labels: patient IDs whose masks must be reversed along the slice axis, because they run the other way than
            their images; a string may hold several, separated by commas.
        progress: whether to show a bar on a terminal.

    Returns:
        What was done, what failed and why; ``str`` of it is ready to be shown.

    Raises:
        InputError: for a missing folder, a folder without any case of the source, or an argument out of range.
        UnknownNameError: for an unknown source, site or patient.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> from akd_monai.data.nifti import write_nifti
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     raw = Path(folder) / "raw" / "t2.nii.gz"
        ...     _ = write_nifti(raw, np.arange(64, dtype=np.int16).reshape(4, 4, 4), np.diag([1.0, 1.0, 3.0, 1.0]))
        ...     result = prepare_dataset("folder", raw.parent, Path(folder) / "prepared", workers=0)
        >>> result.done, result.warnings
        (['LOCAL/Case00'], {'LOCAL/Case00': ['no label: image only']})
    """
    reader = get_source(source)
    root = as_path(input_dir, "input_dir")
    target = as_path(output_dir, "output_dir")
    check_folders(root, target)
    check_grid(size, crop_mm)
    check_workers(workers)
    request = _Request(reader, root, site, names_in(flip_labels))
    secret = known_secret(target) if reader.private_names else b""
    # Found before anything is written, so that a wrong path, source or site leaves no folder behind.
    listing = request.listing(secret)
    with FolderLock(target):
        remove_leftovers(target, depth=2)
        manifest = _open_manifest(target, is_drawn=is_synthetic(root))
        if reader.private_names and not secret:
            listing = request.listing(made_secret(target))
        options = Options(size, crop_mm)
        return _Run(request, manifest, listing).prepare(options, workers, progress)


def _open_manifest(target: Path, *, is_drawn: bool) -> Manifest:
    """Return the manifest of the output; a set that was drawn stays one, and is not mixed with real cases."""
    manifest = Manifest(target)
    synthetic = [name for name, record in manifest.records.items() if record.get("synthetic")]
    of_target = bool(manifest.extra.get("synthetic") or synthetic)
    if (of_target and not is_drawn) or (is_drawn and manifest.records and not of_target):
        kinds = ("a synthetic set", "real cases") if of_target else ("real cases", "a synthetic set")
        what = f"holds {kinds[0]}, with which {kinds[1]} must not be mixed"
        raise InputError(what, where=f"the output folder {target}", remedy="choose another folder", code="synthetic")
    if is_drawn:
        manifest.extra["synthetic"] = True
    return manifest


@dataclass(frozen=True)
class _Request:
    """Which cases of which source are asked for."""

    reader: Source
    root: Path
    site: str | None
    flip_labels: tuple[str, ...]

    def listing(self, secret: bytes) -> Listing:
        """Find the cases, by names alone."""
        found = self.reader.find_cases(self.root, site=self.site, secret=secret)
        cases = with_site_problems(cases_of_site(self.reader, found.cases, self.site))
        check_identities(cases)
        check_patients(self.flip_labels, cases)
        return Listing(cases, [*found.skipped, *unused_files(self.root, found)])


class _Run:
    """One call of prepare: its jobs, its manifest, its result."""

    def __init__(self, request: _Request, manifest: Manifest, listing: Listing) -> None:
        self._request = request
        self._target = manifest.path.parent
        self._listing = listing
        self._manifest = manifest
        skipped = [entry.told(request.root) for entry in listing.skipped]
        self._result = PrepareResult(self._target, manifest.path, skipped=skipped)

    def prepare(self, options: Options, workers: int, progress: bool) -> PrepareResult:
        """Prepare every case and write the manifest after each."""
        jobs = self._jobs(options)
        title = f"prepare {self._request.reader.name}"
        names = {job.name for job in jobs}
        self._manifest.failed = [entry for entry in self._manifest.failed if entry.get("case") not in names]
        # a library that crashes on a file takes its process with it
        outcomes = for_each(prepare_case, jobs, workers=workers, progress=progress, title=title, isolated=True)
        for job, outcome in outcomes:
            self._enter(job, outcome or _died(job))
        self._manifest.write()
        complete = len(self._result.done) + len(self._result.kept)
        logger.info("%d of %d cases of %s are prepared", complete, len(jobs), self._request.reader.name)
        return self._result

    def _jobs(self, options: Options) -> list[Job]:
        records = self._manifest.records
        # A case that is not written makes no folder.
        sites = [case.site for case in self._listing.cases if case.problem is None]
        check_site_names([*sites, *(name.split("/")[0] for name in records)])
        jobs = []
        for case, name in zip(self._listing.cases, name_cases(self._listing.cases, records), strict=True):
            flip = case.patient_id in self._request.flip_labels
            jobs.append(Job(case, name, self._target, options, flip_label=flip, previous=records.get(name)))
        return jobs

    def _enter(self, job: Job, outcome: Outcome) -> None:
        """Enter what became of a job into manifest, result and log."""
        if outcome.failure is not None:
            self._enter_failure(outcome.failure)
        elif outcome.record is not None:
            names = self._result.kept if outcome.kept else self._result.done
            names.append(job.name)
            if outcome.record.get("warnings"):
                self._result.warnings[job.name] = outcome.record["warnings"]
            if not outcome.kept:
                self._manifest.add(outcome.record)

    def _enter_failure(self, failure: Failure) -> None:
        self._result.failed.append(failure)
        folders = (self._request.root, self._target)
        entry = _public(failure, folders, private_names=self._request.reader.private_names)
        self._manifest.failed.append(entry)
        self._manifest.write()
        logger.warning("%s failed (%s): %s", entry["case"], entry["code"], entry["reason"])


def _died(job: Job) -> Outcome:
    what, remedy = WORKER_DIED
    return Outcome(failure=failure_of(job, CaseError(what, remedy=remedy, code="worker-died")))


def _public(failure: Failure, folders: Collection[Path], *, private_names: bool) -> dict[str, str]:
    """Return what of a failure may be stored: names of a hospital's own files stay out, and so do paths."""
    reason = redacted(without_folders(failure.what, folders))
    remedy = redacted(without_folders(failure.remedy, folders))
    if private_names:
        reason = "its files cannot be used"
        remedy = "see the failures that prepare reported"
    return {"case": redacted(failure.case), "code": failure.code, "reason": reason, "remedy": remedy}
