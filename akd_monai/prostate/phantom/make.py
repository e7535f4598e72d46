# SPDX-License-Identifier: Apache-2.0
"""A SYNTHETIC set of six prostate MRI sites, for trying things out without any patient's data."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from akd_monai.data.manifest import FORMAT, MANIFEST, VERSION
from akd_monai.data.nifti import write_nifti
from akd_monai.data.parallel import WORKER_DIED, check_workers, for_each
from akd_monai.data.sites import SITES, Site, site
from akd_monai.errors import InputError
from akd_monai.files import FolderLock, as_path, atomic_write, remove_leftovers, sha256_of
from akd_monai.keys import random_key
from akd_monai.prostate.phantom.acquisition import ACQUISITIONS, acquire, in_plane_mm, is_endorectal, through_plane_mm
from akd_monai.prostate.phantom.anatomy import TISSUES, Anatomy
from akd_monai.prostate.phantom.gland import draw_gland

_LOGGER = logging.getLogger(__name__)

PHANTOM_VERSION = 1  # another number means other voxels for the same seed
_SOURCE = "synthetic phantom"
_NOTE = (
    "SYNTHETIC images made by akd_monai: no patient was scanned. Gland sizes follow statistics of real labels,"
    " everything else is drawn. Results on this set say nothing about real MRI."
)


def make_phantom(
    output_dir: str | os.PathLike[str],
    *,
    cases_per_site: int | Mapping[str, int] | None = 6,
    sites: str | Iterable[str] | None = None,
    size: int = 128,
    slices: int | None = 10,
    seed: int = 0,
    workers: int = 1,
    progress: bool = True,
) -> Path:
    """Write SYNTHETIC cases in the six-site layout, with a ``manifest.json`` that says so.

    A case depends on (seed, site, number, size, slices) alone, not on what else is made. Cases that are there already
    are left as they are, so a stopped call can be repeated and a set can be extended.

    Args:
        output_dir: folder to write to; new, empty, or a set made with the same ``seed``, ``size`` and ``slices``.
        cases_per_site: one number for all sites, a number for each, or ``None`` for as many as the real sites have.
        sites: names or codes, a text may hold several, split by commas; all six by default.
        size: pixels along each side of a slice, at least 32. The field of view stays that of the site.
        slices: slices of each scan, at least 4, which share the slab of the site; ``None`` takes the site's own number.
        seed: key of every random number.
        workers: processes that draw cases; any number of them gives the same files. With more than one, a script needs
            its ``if __name__ == "__main__":``.
        progress: whether to show a bar (on a terminal).

    Returns:
        The folder.

    Raises:
        InputError: for numbers out of range, a folder with something else in it, or one made with other parameters.
        UnknownNameError: for an unknown site.
    """
    wanted = _chosen(sites)
    counts = _counts(cases_per_site, wanted)
    parameters = _parameters(size, slices, seed)
    check_workers(workers)
    root = as_path(output_dir, "output_dir")
    _known_records(root, parameters)
    with FolderLock(root):
        remove_leftovers(root, depth=2)
        records = _known_records(root, parameters)
        names = {_case_id(s, number): (s, number) for s in wanted for number in range(counts[s.name])}
        jobs = [
            _Job(root, s, number, parameters)
            for name, (s, number) in names.items()
            if not (name in records and _is_complete(root, records[name]))
        ]
        # Before the first case, so that a call that is stopped during it can be repeated.
        _write_manifest(root, parameters, records)
        for job, record in for_each(_write_case, jobs, workers=workers, progress=progress, title="synthetic cases"):
            if record is None:
                raise InputError(f"{_case_id(job.site, job.number)}: {'; '.join(WORKER_DIED)}")
            records[record["case_id"]] = record
            _write_manifest(root, parameters, records)
    return root


@dataclass(frozen=True)
class _Job:
    """One case to draw and write."""

    root: Path
    site: Site
    number: int
    parameters: dict[str, Any]


def make_case(
    name: str, number: int, *, size: int = 128, slices: int | None = 10, seed: int = 0
) -> tuple[NDArray[np.int16], NDArray[np.uint8], NDArray[np.float64]]:
    """Return image, gland mask (both ``[X, Y, D]``, x to the left, y to the back, z to the head) and affine of a case.

    Example:
        >>> image, label, affine = make_case("RUNMC", 0, size=48, slices=6)
        >>> image.shape, label.shape, [round(float(v), 2) for v in np.diag(affine)[:3]]
        ((48, 48, 6), (48, 48, 6), [-4.17, -4.17, 12.0])
    """
    place = site(name)
    model = ACQUISITIONS[place.name]
    generator = np.random.default_rng(random_key(seed, "phantom", PHANTOM_VERSION, place.name, number))
    depth = slices or model.slices
    pixel, step = in_plane_mm(place.name, size), through_plane_mm(place.name, depth)
    endorectal = is_endorectal(place)
    gland = draw_gland(generator, endorectal, longest_mm=0.85 * model.slab)
    tissues = {t: v * model.contrast.get(t, 1.0) * generator.normal(1, 0.05) for t, v in TISSUES.items()}
    off_centre = generator.uniform(-0.06, 0.06) * model.slab if gland.length < 0.7 * model.slab else 0.0
    axis = ((np.arange(size) - (size - 1) / 2) * pixel).astype(np.float32)
    heights = ((np.arange(depth) - (depth - 1) / 2) * step + off_centre).astype(np.float32)
    anatomy = Anatomy(gland, endorectal, generator, tissues, axis, model.slab + model.thickness)
    samples = 1 if model.thickness < 2 else 2
    clean = np.stack([anatomy.paint(float(z), model.thickness, samples) for z in heights], axis=-1)
    label = np.stack([anatomy.label(float(z)) for z in heights], axis=-1)
    image = acquire(clean, place.name, axis, heights, anatomy.coil_centre, generator)
    affine = np.diag([-pixel, -pixel, step, 1.0])
    affine[:3, 3] = -float(axis[0]), -float(axis[0]), float(heights[0])
    return image, label, affine


def _chosen(sites: str | Iterable[str] | None) -> list[Site]:
    if sites is None:
        return list(SITES)
    names = [part for part in sites.split(",") if part.strip()] if isinstance(sites, str) else list(sites)
    if not names:
        raise InputError("sites is empty; name at least one site, or leave it out to take all six.")
    chosen = {site(name) for name in names}
    return [s for s in SITES if s in chosen]


def _counts(cases_per_site: int | Mapping[str, int] | None, wanted: list[Site]) -> dict[str, int]:
    if cases_per_site is None:
        return {s.name: s.cases for s in wanted}
    if isinstance(cases_per_site, Mapping):
        given = {site(name).name: int(count) for name, count in cases_per_site.items()}
        counts = {s.name: given.get(s.name, 0) for s in wanted}
    else:
        counts = {s.name: int(cases_per_site) for s in wanted}
    if min(counts.values()) < 0 or not any(counts.values()):
        raise InputError(f"cases_per_site must be at least 1, got {cases_per_site}.")
    return counts


def _parameters(size: int, slices: int | None, seed: int) -> dict[str, Any]:
    for name, value in (("size", size), ("slices", slices), ("seed", seed)):
        if not (isinstance(value, Integral) or (name == "slices" and value is None)):
            raise InputError(f"{name} must be a whole number, got {value!r}.")
    if size < 32:
        raise InputError(f"size must be at least 32 pixels, got {size}.")
    if slices is not None and slices < 4:
        raise InputError(f"slices must be at least 4, or null for each site's own number, got {slices}.")
    return {"phantom_version": PHANTOM_VERSION, "seed": int(seed), "size": int(size), "slices": slices}


def _known_records(root: Path, parameters: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the records of the manifest in ``root``, or none for a new or empty folder."""
    path = root / MANIFEST
    if not path.is_file():
        if root.exists() and (not root.is_dir() or any(not p.name.startswith(".") for p in root.iterdir())):
            raise InputError(f"{str(root)!r} is not empty and holds no synthetic set; give a new or an empty folder.")
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not content.get("synthetic"):
            raise InputError(f"{str(root)!r} holds a set that is not synthetic; give a new or an empty folder.")
        made, records = content["parameters"], {record["case_id"]: record for record in content["cases"]}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{str(path)!r} is damaged ({type(error).__name__}); give another folder.") from None
    differing = [f"{k} {made.get(k)!r} there, {v!r} now" for k, v in parameters.items() if made.get(k) != v]
    if differing:
        raise InputError(
            f"{str(root)!r} holds a synthetic set made with other parameters ({'; '.join(differing)});"
            " use the same ones or another folder."
        )
    return records


def _case_id(s: Site, number: int) -> str:
    return f"{s.name}/Case{number:02}"


def _is_complete(root: Path, record: Mapping[str, Any]) -> bool:
    return all(
        (root / record[part]).is_file() and sha256_of(root / record[part]) == record["sha256"][part]
        for part in ("image", "label")
    )


def _write_case(job: _Job) -> dict[str, Any]:
    root, s, number, parameters = job.root, job.site, job.number, job.parameters
    size, slices, seed = parameters["size"], parameters["slices"], parameters["seed"]
    image, label, affine = make_case(s.name, number, size=size, slices=slices, seed=seed)
    name = _case_id(s, number)
    # this site of the real set writes the suffix with a capital letter, and readers must cope
    suffix = "_Segmentation" if s.name == "BMC" else "_segmentation"
    files = {"image": f"{name}.nii.gz", "label": f"{name}{suffix}.nii.gz"}
    digests = {
        part: write_nifti(root / files[part], array, affine) for part, array in (("image", image), ("label", label))
    }
    spacing = np.abs(np.diag(affine)[:3])
    grid = {"size": list(image.shape), "spacing_mm": [round(float(v), 4) for v in spacing], "orientation": "LPS"}
    key = hashlib.sha256(f"{parameters} {name}".encode()).hexdigest()
    return {
        "case_id": name,
        "synthetic": True,
        "site": s.name,
        "patient_id": f"synthetic {name}",
        "source": _SOURCE,
        "key": key,
        **files,
        "labelled": True,
        "label_rule": "drawn with the image",
        "series": None,
        "original": grid,
        "prepared": grid,
        "flips": [],
        "scanner": {},
        "gland_cm3": round(float(label.sum() * spacing.prod() / 1000), 2),
        "sha256": {**digests, "image_inputs": {}, "label_inputs": {}},
        "options": {},
        "warnings": [],
    }


def _write_manifest(root: Path, parameters: Mapping[str, Any], records: Mapping[str, Mapping[str, Any]]) -> None:
    content = {
        "format": FORMAT,
        "version": VERSION,
        "synthetic": True,
        "note": _NOTE,
        "parameters": dict(parameters),
        "cases": [records[name] for name in sorted(records)],
        "failed": [],
    }
    atomic_write(root / MANIFEST, json.dumps(content, indent=1) + "\n")
