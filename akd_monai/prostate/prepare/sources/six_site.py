# SPDX-License-Identifier: Apache-2.0
"""The public six-site set: flat NIfTI folders, one a hospital."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from akd_monai.data.geometry import spacing_of
from akd_monai.names import NIFTI_SUFFIXES, stem_of, visible
from akd_monai.prostate.prepare.sources.base import Pair, RawCase, Scan, no_cases
from akd_monai.prostate.prepare.sources.files import read_volume
from akd_monai.prostate.prepare.sources.pairing import pair_by_index

SIX_SITES = ("RUNMC", "BMC", "I2CVB", "UCL", "BIDMC", "HK")
_CASE = re.compile(r"case(\d+)(_segmentation)?", re.IGNORECASE)
# Sites whose public masks keep the zones of NCI-ISBI 2013.
ZONE_SITES = ("RUNMC", "BMC")
_ZONES = "gland = label > 0 (1 = peripheral zone, 2 = central gland)"


class SixSite:
    """Reader of ``SITE/CaseNN.nii.gz`` and ``SITE/CaseNN_segmentation.nii.gz``; sites and numbers are kept.

    Names match without regard to case, because one site writes ``_Segmentation``. Directions in these headers are not
    known to be right, so nothing is turned and image and label pair by index.
    """

    name = "six-site"
    layout = "files such as RUNMC/Case00.nii.gz and RUNMC/Case00_segmentation.nii.gz"
    sites = SIX_SITES

    def scan(self, root: Path, *, site: str | None = None, key: bytes = b"") -> Scan:
        """Find the cases in ``root`` (one site) and in the folders right below it."""
        volumes = (path for pattern in ("*", "*/*") for path in visible(root, pattern))
        files = [path for path in volumes if path.name.lower().endswith(NIFTI_SUFFIXES)]
        images: dict[tuple[Path, int], Path] = {}
        labels: dict[tuple[Path, int], Path] = {}
        skipped = []
        for path in files:
            match = _CASE.fullmatch(stem_of(path))
            if match is None:
                skipped.append(f"{path.parent.name}/{path.name}: neither CaseNN nor CaseNN_segmentation")
                continue
            (labels if match[2] else images)[path.parent, int(match[1])] = path
        if not images:
            raise no_cases(self.name, root, self.layout)
        skipped += [f"{p.parent.name}/{p.name}: a label without image" for k, p in labels.items() if k not in images]
        cases = [self._case(path, place[1], labels.get(place)) for place, path in images.items()]
        return Scan(cases, skipped)

    def _case(self, path: Path, number: int, label: Path | None) -> RawCase:
        folder = path.parent.resolve().name
        site = next((known for known in SIX_SITES if known.lower() == folder.lower()), folder)
        return RawCase(
            source=self.name,
            site=site,
            patient_id=f"six-site-{site}-{number:02d}",
            images=(path,),
            labels=(label,) if label else (),
            case=f"Case{number:02d}",
            label_rule=_ZONES if site in ZONE_SITES else "gland = label > 0",
            trust_affine=False,
            warnings=() if label else ("the label is missing",),
        )

    def read(self, case: RawCase) -> Pair:
        """Read one case; image and label pair by index."""
        image = read_volume(case.images[0])
        doubts = tuple(_spacing_doubts(image.array.shape, spacing_of(image.affine)))
        if not case.labels:
            return Pair(image, None, doubts)
        pair = pair_by_index(image, read_volume(case.labels[0]), case.labels[0].name)
        return replace(pair, warnings=(*pair.warnings, *doubts))


def _spacing_doubts(shape: tuple[int, ...], spacing: tuple[float, float, float]) -> list[str]:
    """Say what of a header's spacing cannot be true of a prostate MRI; these files were resized in plane by others."""
    widths = [n * mm for n, mm in zip(shape[:2], spacing[:2], strict=True)]
    doubts = []
    if not all(80 <= width <= 450 for width in widths):
        doubts.append(
            f"field of view of {widths[0]:.0f} x {widths[1]:.0f} mm by the header: do not trust distances in mm"
        )
    if not 0.8 <= spacing[2] <= 8:
        doubts.append(f"slice distance of {spacing[2]:.2f} mm by the header: do not trust distances in mm")
    return doubts
