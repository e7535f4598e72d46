# SPDX-License-Identifier: Apache-2.0
"""The manifest of a SYNTHETIC set: what it is made with, and which of its cases are complete."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from akd_monai.data.manifest import Manifest, Record
from akd_monai.errors import InputError
from akd_monai.files import sha256_of

__all__ = ["is_complete", "open_set", "record_of"]

# What every case of a set is made with: phantom_version, seed, size, slices.
Parameters = dict[str, Any]

_SOURCE = "synthetic phantom"
_NOTE = (
    "SYNTHETIC images made by akd_monai: no patient was scanned. Gland sizes follow statistics of real labels,"
    " everything else is drawn. Results on this set say nothing about real MRI."
)


def open_set(root: Path, parameters: Parameters) -> Manifest:
    """Return the manifest of the set in ``root``, one without records for a new or empty folder; nothing is written.

    Raises:
        InputError: for a folder with something else in it, or a set made with other parameters.
    """
    manifest = Manifest(root)
    if not manifest.path.is_file():
        _check_empty(root)
    else:
        _check_same(manifest, parameters)
    manifest.extra = {"synthetic": True, "note": _NOTE, "parameters": parameters}
    return manifest


def _check_empty(root: Path) -> None:
    if not root.exists():
        return
    if not root.is_dir() or any(not path.name.startswith(".") for path in root.iterdir()):
        raise InputError(f"{str(root)!r} is not empty and holds no synthetic set; give a new or an empty folder.")


def _check_same(manifest: Manifest, parameters: Mapping[str, Any]) -> None:
    root = str(manifest.path.parent)
    if not manifest.extra.get("synthetic"):
        raise InputError(f"{root!r} holds a set that is not synthetic; give a new or an empty folder.")
    made = manifest.extra.get("parameters")
    if not isinstance(made, dict):
        raise InputError(
            "is damaged: 'parameters' must be an object", where=str(manifest.path), remedy="use another folder"
        )
    differing = [
        f"{name} {made.get(name)!r} there, {value!r} now"
        for name, value in parameters.items()
        if made.get(name) != value
    ]
    if differing:
        raise InputError(
            f"{root!r} holds a synthetic set made with other parameters ({'; '.join(differing)});"
            " use the same ones or another folder."
        )


def is_complete(manifest: Manifest, case: str) -> bool:
    """Return whether both files of a case are there as its record says."""
    record = manifest.records.get(case, {})
    hashes = record.get("sha256")
    if not isinstance(hashes, dict):
        return False
    return all(_is_intact(manifest.path.parent, record.get(part), hashes.get(part)) for part in ("image", "label"))


def _is_intact(root: Path, name: Any, sha256: Any) -> bool:
    return isinstance(name, str) and (root / name).is_file() and sha256_of(root / name) == sha256


def record_of(
    name: str,
    files: Mapping[str, str],
    hashes: Mapping[str, str],
    label: NDArray[np.uint8],
    affine: NDArray[np.float64],
    parameters: Parameters,
) -> Record:
    """Return the manifest's record of a case.

    Args:
        name: ``SITE/CaseNN``.
        files: names of ``"image"`` and ``"label"``.
        hashes: SHA-256 of both files.
        label: the gland's mask.
        affine: the grid of both.
        parameters: what the set is made with.
    """
    spacing = np.abs(np.diag(affine)[:3])
    grid = {
        "size": list(label.shape),
        "spacing_mm": [round(float(length), 4) for length in spacing],
        "orientation": "LPS",
    }
    return {
        "case_id": name,
        "synthetic": True,
        "site": name.split("/")[0],
        "patient_id": f"synthetic {name}",
        "source": _SOURCE,
        "key": hashlib.sha256(f"{parameters} {name}".encode()).hexdigest(),
        **files,
        "labelled": True,
        "label_rule": "drawn with the image",
        "series": None,
        "original": grid,
        "prepared": grid,
        "flips": [],
        "scanner": {},
        "gland_cm3": round(float(label.sum() * spacing.prod() / 1000), 2),
        "sha256": {**hashes, "image_inputs": {}, "label_inputs": {}},
        "options": {},
        "warnings": [],
    }
