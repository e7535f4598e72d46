# SPDX-License-Identifier: Apache-2.0
"""Prepare one case: read, bring to one grid, write image and label, and return the record for the manifest."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from akd_monai.data.geometry import orientation_of, spacing_of, turned_to
from akd_monai.data.manifest import UNLABELLED, Record
from akd_monai.data.nifti import write_nifti
from akd_monai.data.sites import SITES
from akd_monai.files import sha256_of
from akd_monai.prostate.prepare.grid import resized, square_view
from akd_monai.prostate.prepare.sources import CaseError, Pair, RawCase, Volume, get_source
from akd_monai.prostate.prepare.sources.dicom_slice import dicom_files
from akd_monai.prostate.prepare.sources.files import data_files

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Options:
    """What is done to every volume besides reading it."""

    size: int | None = None
    crop_mm: float | None = None


@dataclass(frozen=True)
class Job:
    """One case to prepare: its name ``SITE/CaseNN``, where to, and its record if it was prepared before."""

    case: RawCase
    name: str
    output_dir: Path
    options: Options = Options()
    flip_label: bool = False
    previous: Record | None = None


@dataclass(frozen=True)
class Failure:
    """A case that could not be prepared, and why; ``str`` gives one line with the remedy."""

    case: str
    patient_id: str
    file: str
    code: str
    reason: str
    remedy: str

    def __str__(self) -> str:
        where = f"{self.case} ({self.patient_id})" + (f", {self.file}" if self.file else "")
        return f"{where}: {self.reason}; {self.remedy}."


@dataclass(frozen=True)
class Outcome:
    """What became of a job: a record (``kept`` if it was done before), or a failure."""

    record: Record | None = None
    kept: bool = False
    failure: Failure | None = None


def prepare_case(job: Job) -> Outcome:
    """Prepare one case, unless its record and the checksums of its files say that it is done; never raises."""
    try:
        inputs = {"image_inputs": _digest(job.case.images), "label_inputs": _digest(job.case.labels)}
        if _is_done(job, inputs):
            return Outcome(record=job.previous, kept=True)
        return Outcome(record=_prepare(job, inputs))
    except CaseError as error:
        return Outcome(failure=failure_of(job, error))
    except Exception as error:
        # One bad case must not cost the others, whatever a library makes of its bytes.
        logger.debug("%s failed", job.name, exc_info=True)
        text = " ".join(str(error).split()) or "no message"
        remedy = "look at its files; with logging at DEBUG the traceback is shown"
        return Outcome(
            failure=failure_of(job, CaseError(f"{type(error).__name__}: {text}", remedy=remedy, code="unexpected"))
        )


def failure_of(job: Job, error: CaseError) -> Failure:
    """Return the failure of ``job`` that ``error`` describes."""
    return Failure(job.name, job.case.patient_id, error.where, error.code, error.what, error.remedy)


def _inputs(paths: Iterable[Path]) -> list[Path]:
    files: list[Path] = []
    for path in paths:
        files += dicom_files(path) if path.is_dir() else [path, *data_files(path)]
    return files


def _digest(paths: Iterable[Path]) -> str | None:
    """Return one checksum for all input files, whatever their order and names; ``None`` for none."""
    digests = sorted(sha256_of(path) for path in _inputs(paths) if path.is_file())
    return hashlib.sha256("".join(digests).encode()).hexdigest() if digests else None


def _is_done(job: Job, inputs: dict[str, str | None]) -> bool:
    record = job.previous
    if record is None or record["options"] != _options(job) or record["patient_id"] != job.case.patient_id:
        return False
    if any(record["sha256"].get(name) != digest for name, digest in inputs.items()):
        return False
    files = {kind: record[kind] for kind in ("image", "label") if record[kind]}
    paths = {kind: job.output_dir / name for kind, name in files.items()}
    return all(path.is_file() and sha256_of(path) == record["sha256"][kind] for kind, path in paths.items())


def _options(job: Job) -> dict[str, Any]:
    return {**asdict(job.options), "flip_label": job.flip_label}


def _prepare(job: Job, inputs: dict[str, str | None]) -> Record:
    pair = get_source(job.case.source).read(job.case)
    original = _describe(pair.image)
    warnings = [*job.case.warnings, *pair.image.warnings, *pair.warnings]
    pair = _checked(pair, warnings)
    if job.flip_label and pair.label is not None:
        label = pair.label.with_array(np.ascontiguousarray(pair.label.array[:, :, ::-1]))
        pair = replace(pair, label=label, flips=(*pair.flips, "label: slices reversed, as asked for"))
    if job.case.trust_affine:
        pair = _upright(pair, warnings)
    pair = _gridded(pair, job.options)
    return {
        "case_id": job.name,
        "site": job.case.site,
        "patient_id": job.case.patient_id,
        "source": job.case.source,
        "key": job.case.key,
        **_written(job, pair, inputs),
        "labelled": pair.label is not None,
        "label_rule": job.case.label_rule if pair.label else None,
        "series": pair.series,
        "original": original,
        "prepared": _describe(pair.image),
        "flips": list(pair.flips),
        "scanner": pair.image.scanner,
        "site_table": _site_table(job.case.site),
        "gland_cm3": _gland_cm3(pair),
        "options": _options(job),
        "warnings": warnings,
    }


def _describe(volume: Volume) -> dict[str, Any]:
    spacing = [round(mm, 5) for mm in spacing_of(volume.affine)]
    return {"size": list(volume.array.shape), "spacing_mm": spacing, "orientation": orientation_of(volume.affine)}


def _site_table(name: str) -> dict[str, Any] | None:
    """Return what is published of the site's scanner; many sources say nothing about the scanner of a case."""
    known = next((site for site in SITES if site.name == name), None)
    if known is None:
        return None
    facts = asdict(known)
    return {key: facts[key] for key in ("code", "vendor", "field_strength_t", "coil")}


def _gland_cm3(pair: Pair) -> float | None:
    if pair.label is None:
        return None
    return round(float(pair.label.array.sum() * np.prod(spacing_of(pair.image.affine)) / 1000), 3)


def _checked(pair: Pair, warnings: list[str]) -> Pair:
    """Refuse voxels that are no numbers, store the rest in 16 bits where they fit, and note what is odd."""
    values = pair.image.array
    if not np.isfinite(values).all():
        reason = f"the image holds {int((~np.isfinite(values)).sum())} voxels that are NaN or Inf"
        raise CaseError(reason, remedy="export the image again", code="not-finite")
    if values.min() == values.max():
        warnings.append(f"the image is constant ({values.min():g})")
    if pair.label is None:
        warnings.append("no label: image only")
    elif not pair.label.array.any():
        warnings.append("the label is empty")
    elif pair.label.array.all():
        warnings.append("the label covers the whole volume")
    return replace(pair, image=pair.image.with_array(_compact(values)))


def _compact(values: NDArray) -> NDArray:
    """Return whole numbers that fit as int16, all else as float32."""
    limits = np.iinfo(np.int16)
    fits = values.min() >= limits.min and values.max() <= limits.max
    return values.astype(np.int16 if fits and bool((values == np.round(values)).all()) else np.float32)


def _upright(pair: Pair, warnings: list[str]) -> Pair:
    """Turn image and label to LPS, slices last; only axes are permuted and flipped."""
    array, affine, done = turned_to(pair.image.array, pair.image.affine, "LPS")
    label = pair.label
    if label is not None:
        label = label.with_array(turned_to(label.array, pair.image.affine, "LPS")[0], affine)
    spacing = spacing_of(affine)
    if spacing[2] < 0.8 * max(spacing):
        warnings.append(
            f"not axial: the slice axis is not the coarsest one ({' x '.join(f'{s:.2f}' for s in spacing)} mm)"
        )
    flips = (*pair.flips, *(f"both: {step}" for step in done))
    return replace(pair, image=pair.image.with_array(array, affine), label=label, flips=flips)


def _gridded(pair: Pair, options: Options) -> Pair:
    if options.size is None and options.crop_mm is None:
        return pair
    image, affine = square_view(pair.image.array, pair.image.affine, options.crop_mm)
    label = square_view(pair.label.array, pair.image.affine, options.crop_mm)[0] if pair.label else None
    if pair.label is not None and label is not None and label.sum() < pair.label.array.sum():
        reason = f"a view of {options.crop_mm:g} mm cuts off part of the gland"
        raise CaseError(reason, remedy="give a larger crop_mm", code="crop")
    grid = affine
    if options.size is not None:
        image, grid = resized(image, affine, options.size)
        label = resized(label, affine, options.size, is_label=True)[0] if label is not None else None
    new_label = pair.label.with_array(label, grid) if pair.label and label is not None else None
    return replace(pair, image=pair.image.with_array(image, grid), label=new_label)


def _written(job: Job, pair: Pair, inputs: dict[str, str | None]) -> Record:
    """Write the files; a case without label goes below ``unlabelled/``, so that a site's folder holds pairs only."""
    names = {"image": f"{job.name}.nii.gz", "label": f"{job.name}_segmentation.nii.gz"}
    lone = f"{UNLABELLED}/{names['image']}"
    hashes: dict[str, str | None] = {"label": None, **inputs}
    if pair.label is None:
        stale, names = list(names.values()), {"image": lone}
    else:
        stale = [lone]
        values = pair.label.array.astype(np.uint8)
        hashes["label"] = write_nifti(job.output_dir / names["label"], values, pair.image.affine)
    hashes["image"] = write_nifti(job.output_dir / names["image"], pair.image.array, pair.image.affine)
    for name in stale:
        (job.output_dir / name).unlink(missing_ok=True)
    return {"image": names["image"], "label": names.get("label"), "sha256": hashes}
