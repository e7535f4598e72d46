# SPDX-License-Identifier: Apache-2.0
"""I2CVB: T2-weighted 3-D DICOM, and the gland drawn as a second DICOM series."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path

from akd_monai.prostate._privacy import pseudonym, redacted
from akd_monai.prostate.prepare._sources.base import CaseError, Listing, Pair, RawCase, Source, no_cases, one_too_many
from akd_monai.prostate.prepare._sources.dicom_slice import dicom_files
from akd_monai.prostate.prepare._sources.series import read_series
from akd_monai.prostate.prepare._sources.slice_pairing import pair_by_slices

__all__ = ["I2cvb"]

_PATIENT = re.compile(r"patient[ _-]?(\w{1,10})", re.IGNORECASE)


class I2cvb(Source):
    """Reader of ``Siemens/<patient>/T2W/*.dcm`` and ``<patient>/GT/prostate/*.dcm`` (values 0 and 255).

    The gland is the series ``prostate``: in some slices peripheral zone and central gland do not add up to it. Patients
    below a folder ``GE`` go to the site ``I2CVB_GE``, which is not one of the six. The six-site set holds its own crop
    of these volumes (central square, slices with prostate only); here they are complete, see ``crop_mm`` of
    :func:`~akd_monai.prostate.prepare_dataset`.
    """

    name = "i2cvb"
    layout = "folders <patient>/T2W with DICOM files and <patient>/GT/prostate"
    sites = ("I2CVB", "I2CVB_GE")

    def find_cases(self, root: Path, *, site: str | None = None, secret: bytes = b"") -> Listing:
        """List the folders that hold a folder ``T2W``."""
        cases = []
        for parent, below, _ in os.walk(root):
            found = [Path(parent, name) for name in sorted(below) if name.lower() == "t2w"]
            # What lies in a folder T2W is of that patient.
            below[:] = sorted(name for name in below if name.lower() != "t2w")
            if found:
                cases.append(self._case(Path(parent), found, root, secret))
        if not cases:
            raise no_cases(self.name, root, self.layout)
        return Listing(cases)

    def _case(self, folder: Path, images: list[Path], root: Path, secret: bytes) -> RawCase:
        match = _PATIENT.fullmatch(folder.name)
        makers = {part.lower() for part in (*folder.relative_to(root).parts[:-1], root.resolve().name)}
        drawn = _child(folder, "gt")
        gland = _child(drawn, "prostate") if drawn else None
        zones_only = drawn is not None and gland is None
        return RawCase(
            source=self.name,
            site="I2CVB_GE" if "ge" in makers else "I2CVB",
            patient_id=f"Patient-{match[1]}" if match else pseudonym(folder.name, secret),
            images=tuple(images),
            labels=(gland,) if gland else (),
            label_rule="gland = series GT/prostate > 0",
            warnings=("GT holds no series prostate; zones alone do not make the gland",) if zones_only else (),
            problem=one_too_many(images, "folder T2W"),
        )

    def read(self, case: RawCase) -> Pair:
        """Read one patient and pair the two series by the positions of their slices."""
        image = read_series(_files(case.images[0]), "T2W")
        if case.site == "I2CVB" and str(image.scanner.get("manufacturer", "")).upper().startswith("GE"):
            what = "the scanner is of GE, but the site I2CVB holds the Siemens part only"
            raise CaseError(what, remedy="put the GE patients into a folder named GE", where="T2W", code="site")
        if not case.labels:
            return Pair(image, None, series="T2W")
        label = read_series(_files(case.labels[0]), "GT/prostate", is_label=True)
        return replace(pair_by_slices(image, label, "GT/prostate"), series=redacted(case.images[0].name))


def _child(folder: Path, name: str) -> Path | None:
    """Return the folder of this name in ``folder``, upper or lower case."""
    for path in sorted(folder.iterdir()):
        if path.is_dir() and path.name.lower() == name:
            return path
    return None


def _files(folder: Path) -> list[Path]:
    files = dicom_files(folder)
    if not files:
        remedy = "unpack the archive again"
        raise CaseError("holds no DICOM file", remedy=remedy, where=folder.name, code="missing-file")
    return files
