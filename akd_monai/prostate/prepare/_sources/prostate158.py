# SPDX-License-Identifier: Apache-2.0
"""Prostate158: one folder a patient, NIfTI, anatomy drawn by one or two readers."""

from __future__ import annotations

import re
from pathlib import Path

from akd_monai.names import visible
from akd_monai.prostate.prepare._sources.base import Listing, Pair, RawCase, Skipped, Source, no_cases
from akd_monai.prostate.prepare._sources.pairing import read_on_one_grid

__all__ = ["Prostate158"]

_NUMBER = re.compile(r"[0-9]{1,6}")


class Prostate158(Source):
    """Reader of ``train/NNN/t2.nii.gz`` and ``t2_anatomy_reader1.nii.gz``.

    Its zones are numbered the other way round than elsewhere (1 = central gland, 2 = peripheral zone); the gland is
    both.
    """

    name = "prostate158"
    layout = "folders such as train/020 with t2.nii.gz and t2_anatomy_reader1.nii.gz"

    def find_cases(self, root: Path, *, site: str | None = None, secret: bytes = b"") -> Listing:
        """List the folders with a T2 volume."""
        cases = []
        skipped = []
        for path in visible(root, "**/t2.nii.gz"):
            number = path.parent.resolve().name
            if _NUMBER.fullmatch(number):
                cases.append(self._case(path, number, site or "PROSTATE158"))
            else:
                # Another name may be that of a person, and would stand in the manifest.
                skipped.append(
                    Skipped(path, "its folder is not called by a number; the source 'folder' takes any name")
                )
        if not cases:
            raise no_cases(self.name, root, self.layout, skipped)
        return Listing(cases, skipped)

    def _case(self, path: Path, number: str, site: str) -> RawCase:
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
            case=f"Case{number}",
            label_rule="gland = label > 0 (1 = central gland, 2 = peripheral zone)",
            warnings=() if labelled else ("no anatomy label of reader 1",),
        )

    def read(self, case: RawCase) -> Pair:
        """Read one case; image and label must share their grid."""
        return read_on_one_grid(case)
