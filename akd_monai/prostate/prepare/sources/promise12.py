# SPDX-License-Identifier: Apache-2.0
"""PROMISE12: MetaImage pairs, several hospitals told apart by the case number."""

from __future__ import annotations

import re
from pathlib import Path

from akd_monai.names import visible
from akd_monai.prostate.prepare.sources.base import Pair, RawCase, Scan, no_cases
from akd_monai.prostate.prepare.sources.files import read_volume
from akd_monai.prostate.prepare.sources.pairing import pair_on_one_grid

_IMAGE = re.compile(r"case(\d+)", re.IGNORECASE)
_LABEL = re.compile(r"case(\d+)_segmentation", re.IGNORECASE)
_OTHER, _TEST = "PROMISE12_other", "PROMISE12_test"


def promise12_site(number: int) -> str:
    """Return the site of a training case, as inferred from matrix sizes and counts; nothing in the files says it.

    Case00 and 02-12 are BIDMC, 13-24 HK, 25-37 UCL. The others (01, 38-49) are in none of the six sites; some come from
    the hospital of RUNMC, so they are no unseen site for it.

    Example:
        >>> [promise12_site(n) for n in (0, 1, 12, 13, 25, 38)]
        ['BIDMC', 'PROMISE12_other', 'BIDMC', 'HK', 'UCL', 'PROMISE12_other']
    """
    if number <= 12:
        return "BIDMC" if number != 1 else _OTHER
    if number <= 24:
        return "HK"
    return "UCL" if number <= 37 else _OTHER


class Promise12:
    """Reader of ``CaseNN.mhd`` with ``CaseNN.raw`` and ``CaseNN_segmentation.mhd``; case numbers are kept.

    A folder in which no case has a label is the test set; its cases go to the site ``PROMISE12_test``.
    """

    name = "promise12"
    layout = "files Case00.mhd with Case00.raw, and Case00_segmentation.mhd"
    sites = ("UCL", "BIDMC", "HK", _OTHER, _TEST)

    def scan(self, root: Path, *, site: str | None = None, key: bytes = b"") -> Scan:
        """Find cases by file name."""
        files = [path for pattern in ("**/*.mhd", "**/*.mha") for path in visible(root, pattern)]
        images = [(path, match) for path in files if (match := _IMAGE.fullmatch(path.stem))]
        labels = {(p.parent, int(match[1])): p for p in files if (match := _LABEL.fullmatch(p.stem))}
        if not images:
            raise no_cases(self.name, root, self.layout)
        labelled = {folder for folder, _ in labels}
        cases = [self._case(path, int(match[1]), labels, path.parent in labelled) for path, match in images]
        numbers = {(path.parent, int(match[1])) for path, match in images}
        skipped = [f"{label.name}: a label without image" for place, label in labels.items() if place not in numbers]
        return Scan(cases, skipped)

    def _case(self, path: Path, number: int, labels: dict[tuple[Path, int], Path], training: bool) -> RawCase:
        label = labels.get((path.parent, number))
        warnings = () if label or not training else ("the label is missing although others of this folder are there",)
        return RawCase(
            source=self.name,
            site=promise12_site(number) if training else _TEST,
            patient_id=f"promise12-{'' if training else 'test-'}{number:02d}",
            images=(path,),
            labels=(label,) if label else (),
            case=f"Case{number:02d}",
            warnings=warnings,
        )

    def read(self, case: RawCase) -> Pair:
        """Read one case; image and label must share their grid."""
        image = read_volume(case.images[0])
        if not case.labels:
            return Pair(image, None)
        return pair_on_one_grid(image, read_volume(case.labels[0]), case.labels[0].name)
