# SPDX-License-Identifier: Apache-2.0
"""Prostate158: one folder a patient, NIfTI, anatomy drawn by one or two readers."""

from __future__ import annotations

from pathlib import Path

from akd_monai.names import visible
from akd_monai.prostate.prepare.sources.base import Pair, RawCase, Scan, no_cases
from akd_monai.prostate.prepare.sources.files import read_volume
from akd_monai.prostate.prepare.sources.pairing import pair_on_one_grid


class Prostate158:
    """Reader of ``train/NNN/t2.nii.gz`` and ``t2_anatomy_reader1.nii.gz``.

    Its zones are numbered the other way round than elsewhere (1 = central gland, 2 = peripheral zone); the gland is
    both.
    """

    name = "prostate158"
    layout = "folders such as train/020 with t2.nii.gz and t2_anatomy_reader1.nii.gz"
    sites: tuple[str, ...] = ()

    def scan(self, root: Path, *, site: str | None = None, key: bytes = b"") -> Scan:
        """Find the folders with a T2 volume."""
        images = list(visible(root, "**/t2.nii.gz"))
        if not images:
            raise no_cases(self.name, root, self.layout)
        return Scan([self._case(path, site or "PROSTATE158") for path in images])

    def _case(self, path: Path, site: str) -> RawCase:
        label = path.with_name("t2_anatomy_reader1.nii.gz")
        number, test = path.parent.name, "test" in path.parent.parent.name.lower()
        return RawCase(
            source=self.name,
            site=site,
            patient_id=f"prostate158-{'test-' if test else ''}{number}",
            images=(path,),
            labels=(label,) if label.is_file() else (),
            case=f"Case{number}" if number.isdigit() else None,
            label_rule="gland = label > 0 (1 = central gland, 2 = peripheral zone)",
            warnings=() if label.is_file() else ("no anatomy label of reader 1",),
        )

    def read(self, case: RawCase) -> Pair:
        """Read one case; image and label must share their grid."""
        image = read_volume(case.images[0])
        if not case.labels:
            return Pair(image, None)
        return pair_on_one_grid(image, read_volume(case.labels[0]), case.labels[0].name)
