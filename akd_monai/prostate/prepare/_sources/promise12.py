# SPDX-License-Identifier: Apache-2.0
"""PROMISE12: MetaImage pairs, several hospitals told apart by the case number."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from akd_monai.names import visible
from akd_monai.prostate.prepare._sources.base import Listing, Pair, RawCase, Skipped, Source, no_cases, problem_of
from akd_monai.prostate.prepare._sources.pairing import read_on_one_grid

__all__ = ["Promise12", "promise12_site"]

_SUFFIXES = (".mhd", ".mha")
_IMAGE = re.compile(r"case(\d+)", re.IGNORECASE)
_LABEL = re.compile(r"case(\d+)_segmentation", re.IGNORECASE)
_OTHER = "PROMISE12_other"
_TEST = "PROMISE12_test"

# Folder and number of a case: several parts of the set may lie below one folder.
_Place = tuple[Path, int]


def promise12_site(number: int) -> str:
    """Return the site of a training case, as inferred from matrix sizes and counts; nothing in the files says it.

    Case00 and 02-12 are BIDMC, 13-24 HK, 25-37 UCL. The others (01, 38-49) are in none of the six sites; some come from
    the hospital of RUNMC, so they are no unseen site for it.

    Example:
        >>> [promise12_site(n) for n in (0, 1, 12, 13, 25, 38)]
        ['BIDMC', 'PROMISE12_other', 'BIDMC', 'HK', 'UCL', 'PROMISE12_other']
    """
    if number == 1 or number > 37:
        return _OTHER
    if number <= 12:
        return "BIDMC"
    return "HK" if number <= 24 else "UCL"


class Promise12(Source):
    """Reader of ``CaseNN.mhd`` with ``CaseNN.raw`` and ``CaseNN_segmentation.mhd``; case numbers are kept.

    A folder in which no case has a label is the test set; its cases go to the site ``PROMISE12_test``.
    """

    name = "promise12"
    layout = "files Case00.mhd with Case00.raw, and Case00_segmentation.mhd"
    sites = ("UCL", "BIDMC", "HK", _OTHER, _TEST)

    def find_cases(self, root: Path, *, site: str | None = None, secret: bytes = b"") -> Listing:
        """List cases by file name."""
        files = [path for path in visible(root, "**/*") if path.suffix.lower() in _SUFFIXES and path.is_file()]
        images = _by_place(files, _IMAGE)
        labels = _by_place(files, _LABEL)
        if not images:
            raise no_cases(self.name, root, self.layout)
        training = {folder for folder, _ in labels}
        cases = [
            self._case(place, paths, labels.get(place, []), place[0] in training) for place, paths in images.items()
        ]
        lonely = [path for place, paths in labels.items() if place not in images for path in paths]
        return Listing(cases, [Skipped(path, "a label without image") for path in lonely])

    def _case(self, place: _Place, images: list[Path], labels: list[Path], training: bool) -> RawCase:
        number = place[1]
        part = "" if training else "test-"
        missing = training and not labels
        return RawCase(
            source=self.name,
            site=promise12_site(number) if training else _TEST,
            patient_id=f"promise12-{part}{number:02d}",
            images=tuple(images),
            labels=tuple(labels),
            case=f"Case{number:02d}",
            warnings=("the label is missing although others of this folder are there",) if missing else (),
            problem=problem_of(images, labels),
        )

    def read(self, case: RawCase) -> Pair:
        """Read one case; image and label must share their grid."""
        return read_on_one_grid(case)


def _by_place(files: Iterable[Path], pattern: re.Pattern[str]) -> dict[_Place, list[Path]]:
    found: dict[_Place, list[Path]] = {}
    for path in files:
        match = pattern.fullmatch(path.stem)
        if match:
            found.setdefault((path.parent, int(match[1])), []).append(path)
    return found
