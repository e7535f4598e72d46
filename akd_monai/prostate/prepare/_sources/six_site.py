# SPDX-License-Identifier: Apache-2.0
"""The public six-site set: flat NIfTI folders, one a hospital."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from akd_monai.data.geometry import spacing_of
from akd_monai.data.sites import SITES
from akd_monai.names import is_nifti, stem_of, visible
from akd_monai.prostate._plausible import FIELD_OF_VIEW_MM, SLICE_DISTANCE_MM, ZONE_SITES, within
from akd_monai.prostate.prepare._sources.base import (
    Listing,
    Pair,
    RawCase,
    Skipped,
    Source,
    Volume,
    no_cases,
    problem_of,
)
from akd_monai.prostate.prepare._sources.files import read_volume
from akd_monai.prostate.prepare._sources.pairing import pair_by_index

__all__ = ["SixSite"]

_CASE = re.compile(r"case(\d+)(_segmentation)?", re.IGNORECASE)
# Folder and number of a case.
_Place = tuple[Path, int]

_ZONES = "gland = label > 0 (1 = peripheral zone, 2 = central gland)"


class SixSite(Source):
    """Reader of ``SITE/CaseNN.nii.gz`` and ``SITE/CaseNN_segmentation.nii.gz``; sites and numbers are kept.

    Names match without regard to case, because one site writes ``_Segmentation``. Directions in these headers are not
    known to be right, so nothing is turned and image and label pair by index.
    """

    name = "six-site"
    layout = "files such as RUNMC/Case00.nii.gz and RUNMC/Case00_segmentation.nii.gz"
    sites = tuple(site.name for site in SITES)

    def find_cases(self, root: Path, *, site: str | None = None, secret: bytes = b"") -> Listing:
        """List the cases in ``root`` (one site) and in the folders right below it."""
        images: dict[_Place, list[Path]] = {}
        labels: dict[_Place, list[Path]] = {}
        skipped = []
        for path in (*visible(root, "*"), *visible(root, "*/*")):
            if not is_nifti(path) or not path.is_file():
                continue
            match = _CASE.fullmatch(stem_of(path))
            if match is None:
                skipped.append(Skipped(path, "neither CaseNN nor CaseNN_segmentation"))
                continue
            group = labels if match[2] else images
            group.setdefault((path.parent, int(match[1])), []).append(path)
        lonely = [path for place, paths in labels.items() if place not in images for path in paths]
        skipped += [Skipped(path, "a label without image") for path in lonely]
        if not images:
            raise no_cases(self.name, root, self.layout, skipped)
        return Listing([self._case(place, paths, labels.get(place, [])) for place, paths in images.items()], skipped)

    def _case(self, place: _Place, images: list[Path], labels: list[Path]) -> RawCase:
        folder = place[0].resolve().name
        number = place[1]
        site = next((known for known in self.sites if known.lower() == folder.lower()), folder)
        return RawCase(
            source=self.name,
            site=site,
            patient_id=f"six-site-{site}-{number:02d}",
            images=tuple(images),
            labels=tuple(labels),
            case=f"Case{number:02d}",
            label_rule=_ZONES if site in ZONE_SITES else "gland = label > 0",
            trust_affine=False,
            warnings=() if labels else ("the label is missing",),
            problem=problem_of(images, labels),
        )

    def read(self, case: RawCase) -> Pair:
        """Read one case; image and label pair by index."""
        image = read_volume(case.images[0])
        doubts = _spacing_doubts(image)
        if not case.labels:
            return Pair(image, None, doubts)
        pair = pair_by_index(image, read_volume(case.labels[0]), case.labels[0].name)
        return replace(pair, warnings=(*pair.warnings, *doubts))


def _spacing_doubts(image: Volume) -> tuple[str, ...]:
    """Say what of a header's spacing cannot be true of a prostate MRI; these files were resized in plane by others."""
    spacing = spacing_of(image.affine)
    width = image.array.shape[0] * spacing[0]
    height = image.array.shape[1] * spacing[1]
    doubts = []
    if not within(width, FIELD_OF_VIEW_MM) or not within(height, FIELD_OF_VIEW_MM):
        doubts.append(f"field of view of {width:.0f} x {height:.0f} mm by the header: do not trust distances in mm")
    if not within(spacing[2], SLICE_DISTANCE_MM):
        doubts.append(f"slice distance of {spacing[2]:.2f} mm by the header: do not trust distances in mm")
    return tuple(doubts)
