# SPDX-License-Identifier: Apache-2.0
"""Prostate158: one folder a patient, NIfTI, anatomy drawn by one or two readers."""

from __future__ import annotations

from pathlib import Path

from akd_monai.names import visible
from akd_monai.prostate.prepare._sources.base import Listing, Pair, RawCase, Source, no_cases
from akd_monai.prostate.prepare._sources.pairing import read_on_one_grid

__all__ = ["Prostate158"]


class Prostate158(Source):
    """Reader of ``train/NNN/t2.nii.gz`` and ``t2_anatomy_reader1.nii.gz``.

    Its zones are numbered the other way round than elsewhere (1 = central gland, 2 = peripheral zone); the gland is
    both.
    """

    name = "prostate158"
    layout = "folders such as train/020 with t2.nii.gz and t2_anatomy_reader1.nii.gz"

    def find_cases(self, root: Path, *, site: str | None = None, secret: bytes = b"") -> Listing:
        """List the folders with a T2 volume."""
        images = list(visible(root, "**/t2.nii.gz"))
        if not images:
            raise no_cases(self.name, root, self.layout)
        return Listing([self._case(path, site or "PROSTATE158") for path in images])

    def _case(self, path: Path, site: str) -> RawCase:
        number = path.parent.name
        # Test patients are numbered from the start again.
        part = "test-" if "test" in path.parent.parent.name.lower() else ""
        label = path.with_name("t2_anatomy_reader1.nii.gz")
        labelled = label.is_file()
        return RawCase(
            source=self.name,
            site=site,
            patient_id=f"prostate158-{part}{number}",
            images=(path,),
            labels=(label,) if labelled else (),
            case=f"Case{number}" if number.isdigit() else None,
            label_rule="gland = label > 0 (1 = central gland, 2 = peripheral zone)",
            warnings=() if labelled else ("no anatomy label of reader 1",),
        )

    def read(self, case: RawCase) -> Pair:
        """Read one case; image and label must share their grid."""
        return read_on_one_grid(case)
