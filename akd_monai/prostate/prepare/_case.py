# SPDX-License-Identifier: Apache-2.0
"""Prepare one case: read it, bring it to one grid, write image and label, and return its record for the manifest."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from akd_monai.data.manifest import Record
from akd_monai.errors import InputError, one_line
from akd_monai.files import sha256_of
from akd_monai.prostate.prepare._convert import checked, gridded, reversed_label, upright
from akd_monai.prostate.prepare._record import describe, facts_of, write_pair
from akd_monai.prostate.prepare._result import Failure
from akd_monai.prostate.prepare._sources import CaseError, RawCase, get_source
from akd_monai.prostate.prepare._sources.dicom_slice import dicom_files
from akd_monai.prostate.prepare._sources.files import data_files

__all__ = ["Job", "Options", "Outcome", "failure_of", "prepare_case"]

logger = logging.getLogger(__name__)

_KINDS = ("image", "label")


@dataclass(frozen=True)
class Options:
    """What is done to every volume besides reading it.

    Args:
        size: pixels a side in plane; ``None`` keeps the acquired ones.
        crop_mm: side of the square field of view; ``None`` keeps the acquired one.
    """

    size: int | None = None
    crop_mm: float | None = None


@dataclass(frozen=True)
class Job:
    """One case to prepare.

    Args:
        case: the raw case.
        name: its name ``SITE/CaseNN``.
        output_dir: the prepared folder.
        options: what is done to every volume.
        flip_label: whether its label is reversed along the slice axis.
        previous: its record, if it was prepared before.
    """

    case: RawCase
    name: str
    output_dir: Path
    options: Options = Options()
    flip_label: bool = False
    previous: Record | None = None

    @property
    def all_options(self) -> dict[str, Any]:
        """The options as the manifest holds them; a case is prepared again when they change."""
        return {**asdict(self.options), "flip_label": self.flip_label}


@dataclass(frozen=True)
class Outcome:
    """What became of a job: a record or a failure.

    Args:
        record: the record of a case that is complete.
        kept: whether it was complete before.
        failure: why it could not be prepared.
    """

    record: Record | None = None
    kept: bool = False
    failure: Failure | None = None


def prepare_case(job: Job) -> Outcome:
    """Prepare one case, unless its record and the checksums of its files say that it is complete; never raises."""
    try:
        if job.case.problem is not None:
            raise job.case.problem
        inputs = {"image_inputs": _digest(job.case.images), "label_inputs": _digest(job.case.labels)}
        if _is_complete(job, inputs):
            return Outcome(record=job.previous, kept=True)
        return Outcome(record=_prepare(job, inputs))
    except InputError as error:
        return Outcome(failure=failure_of(job, error))
    except Exception as error:
        # One bad case must not cost the others, whatever a library raises for its bytes.
        logger.debug("%s failed", job.name, exc_info=True)
        what = f"{type(error).__name__}: {one_line(error) or 'no message'}"
        remedy = "inspect its files; logging at level DEBUG shows the traceback"
        return Outcome(failure=failure_of(job, CaseError(what, remedy=remedy)))


def failure_of(job: Job, error: InputError) -> Failure:
    """Return the failure of ``job`` that ``error`` describes."""
    return Failure(
        case=job.name,
        patient_id=job.case.patient_id,
        what=error.what,
        where=error.where,
        remedy=error.remedy,
        code=error.code or "unexpected",
    )


def _digest(paths: Iterable[Path]) -> str | None:
    """Return one checksum for all input files, whatever their order and names; ``None`` for none."""
    files = [file for path in paths for file in _files_of(path)]
    digests = sorted(sha256_of(file) for file in files if file.is_file())
    return hashlib.sha256("".join(digests).encode()).hexdigest() if digests else None


def _files_of(path: Path) -> list[Path]:
    if path.is_dir():
        return dicom_files(path)
    return [path, *data_files(path)]


def _is_complete(job: Job, inputs: Mapping[str, str | None]) -> bool:
    record = job.previous
    # A record that somebody changed is no proof of anything: the case is prepared again.
    if record is None or not isinstance(record.get("sha256"), dict):
        return False
    if record.get("options") != job.all_options or record.get("patient_id") != job.case.patient_id:
        return False
    if any(record["sha256"].get(name) != digest for name, digest in inputs.items()):
        return False
    return all(_is_as_written(job.output_dir, record, kind) for kind in _KINDS if record.get(kind, True))


def _is_as_written(folder: Path, record: Record, kind: str) -> bool:
    name = record.get(kind)
    if not isinstance(name, str) or not (folder / name).is_file():
        return False
    return bool(sha256_of(folder / name) == record["sha256"].get(kind))


def _prepare(job: Job, inputs: Mapping[str, str | None]) -> Record:
    case = job.case
    pair = get_source(case.source).read(case)
    about_label = () if pair.label is None else pair.label.warnings
    pair = replace(pair, warnings=(*case.warnings, *pair.image.warnings, *about_label, *pair.warnings))
    original = describe(pair.image)
    pair = checked(pair)
    if job.flip_label:
        pair = reversed_label(pair)
    if case.trust_affine:
        pair = upright(pair)
    pair = gridded(pair, size=job.options.size, crop_mm=job.options.crop_mm)
    files, hashes = write_pair(pair, job.output_dir, job.name)
    return {
        "case_id": job.name,
        **files,
        "sha256": {**hashes, **inputs},
        **facts_of(case, pair),
        "original": original,
        "options": job.all_options,
    }
