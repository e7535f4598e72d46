# SPDX-License-Identifier: Apache-2.0
"""NCI-ISBI 2013: T2-weighted DICOM of Prostate-3T and PROSTATE-DIAGNOSIS, expert labels as NRRD."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path

from akd_monai.prostate._privacy import redacted
from akd_monai.prostate.prepare._sources.base import Listing, Pair, RawCase, Skipped, Source, no_cases, one_too_many
from akd_monai.prostate.prepare._sources.corner_origin import pair_corner_origin
from akd_monai.prostate.prepare._sources.files import read_volume
from akd_monai.prostate.prepare._sources.series import choose_series, read_series

__all__ = ["NciIsbi2013"]

_PATIENT = re.compile(r"Prostate(3T|Dx)-(0[123])-(\d{4})", re.IGNORECASE)
_SITES = {"3t": "RUNMC", "dx": "BMC"}
_PREFIX = {"3t": "Prostate3T", "dx": "ProstateDx"}
# Training patients in the order in which the six-site set numbers them (inferred, checked by slice count on 12).
_DX_NUMBERS = "1 5 6 11 13 14 19 21 23 28 35 38 42 43 44 52 54 55 56 58 59 60 63 71 73 74 75 76 80 82"
_DX_TRAINING = tuple(int(number) for number in _DX_NUMBERS.split())
# Added to the numbers of cases that the six-site set does not hold.
_LEADERBOARD = 100
_TEST = 200
_UNLISTED = 300


class NciIsbi2013(Source):
    """Reader of ``<collection>/<patient>/<study>/<series>/*.dcm`` and ``<part>/<patient>*.nrrd``.

    Label values are 1 (peripheral zone) and 2 (central gland); the gland is both. Training cases get their number in
    the six-site set, leaderboard cases 100 + their number, test cases 200 + their number.
    """

    name = "nci-isbi-2013"
    layout = "folders such as Prostate3T-01-0001 with DICOM files, and labels such as Prostate3T-01-0001.nrrd"
    sites = ("RUNMC", "BMC")

    def find_cases(self, root: Path, *, site: str | None = None, secret: bytes = b"") -> Listing:
        """List patients by the names of folders, labels by the names of files."""
        folders, labels = _find(root)
        if not folders:
            raise no_cases(self.name, root, self.layout)
        cases = [self._case(patient, folders[patient], labels.get(patient, [])) for patient in sorted(folders)]
        lonely = [path for patient, paths in sorted(labels.items()) if patient not in folders for path in paths]
        return Listing(cases, [Skipped(path, "a label without images") for path in lonely])

    def _case(self, patient: str, folders: list[Path], labels: list[Path]) -> RawCase:
        corrected = [path for path in labels if "corrected" in path.name.lower()]
        chosen = corrected or labels
        name, part, number = patient.split("-")
        collection = name.removeprefix("Prostate").lower()
        return RawCase(
            source=self.name,
            site=_SITES[collection],
            patient_id=patient,
            images=tuple(folders),
            labels=tuple(chosen),
            case=_case_name(collection, part, int(number)),
            label_rule="gland = label > 0 (1 = peripheral zone, 2 = central gland)",
            warnings=(f"{len(labels)} label files: took {chosen[0].name}",) if len(labels) > 1 else (),
            problem=one_too_many(chosen, "label"),
        )

    def read(self, case: RawCase) -> Pair:
        """Read one patient; image and label pair by index if their shapes agree, else by position."""
        label = read_volume(case.labels[0]) if case.labels else None
        choice = choose_series(case.images, label.array.shape if label else None)
        image = read_series(choice.files, choice.folder.name)
        pair = Pair(image, None)
        if label is not None:
            label_file = case.labels[0].name
            # Labels of this name (leaderboard and test set) may be stored upside down.
            truth = "_truth" in label_file.lower()
            pair = pair_corner_origin(image, label, label_file, both_orders=truth)
        warnings = (*pair.warnings, *choice.warnings)
        return replace(pair, warnings=warnings, series=redacted(_below(choice.folder, case.images)))


def _case_name(collection: str, part: str, number: int) -> str | None:
    # No patient of the set has the number 0, for which the formulas give no number of a case.
    return f"Case{_case_number(collection, part, number):02d}" if number else None


def _case_number(collection: str, part: str, number: int) -> int:
    if part != "01":
        return (_LEADERBOARD if part == "02" else _TEST) + number
    if collection == "3t":
        return number - 1
    return _DX_TRAINING.index(number) if number in _DX_TRAINING else _UNLISTED + number


def _canonical(match: re.Match[str]) -> str:
    return f"{_PREFIX[match[1].lower()]}-{match[2]}-{match[3]}"


def _find(root: Path) -> tuple[dict[str, list[Path]], dict[str, list[Path]]]:
    """Return folders and label files by patient."""
    folders: dict[str, list[Path]] = {}
    labels: dict[str, list[Path]] = {}
    for parent, below, names in os.walk(root):
        match = _PATIENT.fullmatch(Path(parent).name)
        if match:
            folders.setdefault(_canonical(match), []).append(Path(parent))
            below.clear()
            continue
        below[:] = sorted(name for name in below if not name.startswith("."))
        for name in sorted(names):
            match = _PATIENT.match(name)
            if match and name.lower().endswith(".nrrd"):
                labels.setdefault(_canonical(match), []).append(Path(parent, name))
    return folders, labels


def _below(folder: Path, roots: tuple[Path, ...]) -> str:
    root = next(root for root in roots if folder == root or root in folder.parents)
    return folder.relative_to(root).as_posix()
