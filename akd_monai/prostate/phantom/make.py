# SPDX-License-Identifier: Apache-2.0
"""A SYNTHETIC set of six prostate MRI sites, for trying things out without any patient's data."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path

from akd_monai.data.manifest import Record
from akd_monai.data.nifti import write_nifti
from akd_monai.data.parallel import WORKER_DIED, check_workers, for_each
from akd_monai.data.sites import SITES, Site, site
from akd_monai.errors import InputError
from akd_monai.files import FolderLock, as_path, remove_leftovers
from akd_monai.prostate.phantom._arguments import check_numbers
from akd_monai.prostate.phantom._set import Parameters, is_complete, open_set, record_of
from akd_monai.prostate.phantom.case import PHANTOM_VERSION, make_case

__all__ = ["make_phantom"]


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

    A case depends on (seed, site, number, size, slices) alone, not on what else is made. Cases that are complete are
    left as they are, so a call that was stopped can be repeated and a set can be extended.

    Args:
        output_dir: folder to write to; new, empty, or a set made with the same ``seed``, ``size`` and ``slices``.
        cases_per_site: one number for all sites, a number for each, or ``None`` for as many as the real sites have.
        sites: names or codes; a string may hold several, split by commas; all six by default.
        size: pixels along each side of a slice, at least 32. The field of view stays that of the site.
        slices: slices of each scan, at least 4, which share the slab of the site; ``None`` takes the site's own number.
        seed: seed of every random number.
        workers: processes that draw cases; any number of them gives the same files. With more than one, a script needs
            its ``if __name__ == "__main__":``.
        progress: whether to show a bar (on a terminal).

    Returns:
        The folder.

    Raises:
        InputError: for numbers out of range, a folder with something else in it, or one made with other parameters.
        UnknownNameError: for an unknown site.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     root = make_phantom(folder, cases_per_site=1, sites="HK", size=48, slices=6, progress=False)
        ...     sorted(path.name for path in (root / "HK").iterdir())
        ['Case00.nii.gz', 'Case00_segmentation.nii.gz']
    """
    check_numbers(size, slices, seed)
    check_workers(workers)
    parameters = {"phantom_version": PHANTOM_VERSION, "seed": int(seed), "size": int(size), "slices": slices}
    root = as_path(output_dir, "output_dir")
    jobs = _jobs(root, _chosen(sites), cases_per_site, parameters)
    # Before the lock, which makes the folder.
    open_set(root, parameters)
    with FolderLock(root):
        remove_leftovers(root, depth=2)
        manifest = open_set(root, parameters)
        missing = [job for job in jobs if not is_complete(manifest, job.name)]
        # Before the first case, so that a call that is stopped during it can be repeated.
        manifest.write()
        for job, record in for_each(_write_case, missing, workers=workers, progress=progress, title="synthetic cases"):
            if record is None:
                raise InputError(f"{job.name}: {'; '.join(WORKER_DIED)}")
            manifest.add(record)
    return root


@dataclass(frozen=True)
class _Job:
    """One case to draw and write."""

    root: Path
    site: Site
    number: int
    parameters: Parameters

    @property
    def name(self) -> str:
        return f"{self.site.name}/Case{self.number:02}"


def _jobs(
    root: Path, sites: Iterable[Site], cases_per_site: int | Mapping[str, int] | None, parameters: Parameters
) -> list[_Job]:
    jobs = []
    for place, count in _counts(cases_per_site, sites).items():
        jobs += [_Job(root, place, number, parameters) for number in range(count)]
    return jobs


def _chosen(sites: str | Iterable[str] | None) -> list[Site]:
    if sites is None:
        return list(SITES)
    names = [part for part in sites.split(",") if part.strip()] if isinstance(sites, str) else list(sites)
    if not names:
        raise InputError("sites is empty; name at least one site, or leave it out to take all six.")
    chosen = {site(name) for name in names}
    return [place for place in SITES if place in chosen]


def _counts(cases_per_site: int | Mapping[str, int] | None, sites: Iterable[Site]) -> dict[Site, int]:
    if cases_per_site is None:
        return {place: place.cases for place in sites}
    if isinstance(cases_per_site, Mapping):
        given = {site(name): _count(count) for name, count in cases_per_site.items()}
        counts = {place: given.get(place, 0) for place in sites}
    else:
        counts = dict.fromkeys(sites, _count(cases_per_site))
    if not any(counts.values()):
        raise InputError(f"cases_per_site must be at least 1, got {cases_per_site}.")
    return counts


def _count(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 0:
        raise InputError(f"cases_per_site must be an integer from 0 up for each site, got {value!r}.")
    return int(value)


def _write_case(job: _Job) -> Record:
    size = job.parameters["size"]
    slices = job.parameters["slices"]
    image, label, affine = make_case(job.site.name, job.number, size=size, slices=slices, seed=job.parameters["seed"])
    # this site of the real set writes the suffix with a capital letter, and readers must cope
    suffix = "_Segmentation" if job.site.name == "BMC" else "_segmentation"
    files = {"image": f"{job.name}.nii.gz", "label": f"{job.name}{suffix}.nii.gz"}
    hashes = {
        "image": write_nifti(job.root / files["image"], image, affine),
        "label": write_nifti(job.root / files["label"], label, affine),
    }
    return record_of(job.name, files, hashes, label, affine, job.parameters)
