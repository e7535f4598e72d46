# SPDX-License-Identifier: Apache-2.0
"""Write a prepared pair, and say in its record what it is and where it comes from."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from akd_monai.data.geometry import orientation_of, spacing_of
from akd_monai.data.manifest import UNLABELLED
from akd_monai.data.nifti import write_nifti
from akd_monai.data.sites import SITES
from akd_monai.names import MASK_SUFFIX
from akd_monai.prostate.prepare._sources import Pair, RawCase, Volume

__all__ = ["describe", "facts_of", "write_pair"]


def facts_of(case: RawCase, pair: Pair) -> dict[str, Any]:
    """Return the part of a record that tells the case, its origin and what was done to it."""
    return {
        "site": case.site,
        "patient_id": case.patient_id,
        "source": case.source,
        "key": case.identity,
        "labelled": pair.label is not None,
        "label_rule": case.label_rule if pair.label else None,
        "series": pair.series,
        "prepared": describe(pair.image),
        "flips": list(pair.flips),
        "scanner": pair.image.scanner,
        "site_table": _site_table(case.site),
        "gland_cm3": _gland_cm3(pair),
        "warnings": list(pair.warnings),
    }


def describe(volume: Volume) -> dict[str, Any]:
    """Return size in voxels, spacing in mm and orientation of a volume."""
    return {
        "size": list(volume.array.shape),
        "spacing_mm": [round(mm, 5) for mm in spacing_of(volume.affine)],
        "orientation": orientation_of(volume.affine),
    }


def _site_table(name: str) -> dict[str, Any] | None:
    """Return what is published of the site's scanner; many sources say nothing about the scanner of a case."""
    known = next((site for site in SITES if site.name == name), None)
    if known is None:
        return None
    facts = asdict(known)
    return {fact: facts[fact] for fact in ("code", "vendor", "field_strength_t", "coil")}


def _gland_cm3(pair: Pair) -> float | None:
    if pair.label is None:
        return None
    voxel_mm3 = np.prod(spacing_of(pair.image.affine))
    return round(float(pair.label.array.sum() * voxel_mm3 / 1000), 3)


def write_pair(pair: Pair, folder: Path, name: str) -> tuple[dict[str, str | None], dict[str, str | None]]:
    """Write image and label below ``folder``, and remove files that the case had before it gained or lost its label.

    A case without label goes below ``unlabelled/``, so that the folder of a site holds pairs only.

    Returns:
        names of image and label, and the SHA-256 of both; ``None`` for a missing label.
    """
    image_name = f"{name}.nii.gz"
    label_name = f"{name}{MASK_SUFFIX}.nii.gz"
    lone_name = f"{UNLABELLED}/{image_name}"
    affine = pair.image.affine
    if pair.label is None:
        image_hash = write_nifti(folder / lone_name, pair.image.array, affine)
        _remove(folder, image_name, label_name)
        return {"image": lone_name, "label": None}, {"image": image_hash, "label": None}
    label_hash = write_nifti(folder / label_name, pair.label.array.astype(np.uint8), affine)
    image_hash = write_nifti(folder / image_name, pair.image.array, affine)
    _remove(folder, lone_name)
    return {"image": image_name, "label": label_name}, {"image": image_hash, "label": label_hash}


def _remove(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).unlink(missing_ok=True)
