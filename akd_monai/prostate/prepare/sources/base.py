# SPDX-License-Identifier: Apache-2.0
"""What every reader of a source speaks: cases found, volumes read, and errors that name case, file, reason and remedy."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from akd_monai.data.geometry import Array
from akd_monai.errors import InputError


class CaseError(InputError):
    """One case that cannot be prepared; the others continue."""


@dataclass(frozen=True)
class Volume:
    """A volume in memory: ``array[i, j, k]``, RAS ``affine`` in mm, and what its header says of the scanner.

    Args:
        positions: for DICOM, the place of each slice along the slice normal in mm; empty where the file gives none.
        instances: for DICOM, the InstanceNumber of each slice.
        files: the files read, for their checksum.
    """

    array: NDArray
    affine: Array
    files: tuple[Path, ...] = ()
    scanner: dict[str, str | float] = field(default_factory=dict)
    positions: tuple[float, ...] = ()
    instances: tuple[int, ...] = ()
    warnings: tuple[str, ...] = ()

    def with_array(self, array: NDArray, affine: Array | None = None) -> Volume:
        """Return a copy with other voxels, and another grid if given."""
        return replace(self, array=array, affine=self.affine if affine is None else affine)


@dataclass(frozen=True)
class RawCase:
    """One case found in a source, not yet read.

    Args:
        source: name of the reader.
        site: folder of the prepared case.
        patient_id: pseudonymous id; cases of one patient share it.
        images: the image file, or the folders and files that hold its DICOM slices.
        labels: the same for the label; empty for a case without one.
        case: the name it should get (``Case07``), or ``None`` for the next free number of its site.
        scan_id: identity of the scan, where a patient may have several; empty where patients have one.
        label_rule: what the label values mean and how they were merged.
        trust_affine: whether the directions in the header may be used to turn the volume to LPS.
        warnings: what was odd when the case was found.
    """

    source: str
    site: str
    patient_id: str
    images: tuple[Path, ...]
    labels: tuple[Path, ...] = ()
    case: str | None = None
    scan_id: str = ""
    label_rule: str = "gland = label > 0"
    trust_affine: bool = True
    warnings: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """Identity of the case within all sources; it must not depend on which other cases are there."""
        return f"{self.source}/{self.site}/{self.scan_id or self.patient_id}"


@dataclass(frozen=True)
class Pair:
    """An image and its binary label (0 background, 1 gland, uint8) on one grid; ``label`` may be missing.

    Args:
        flips: axes turned to bring both together, in words.
        series: where the image lay below the patient's folder, redacted.
    """

    image: Volume
    label: Volume | None
    warnings: tuple[str, ...] = ()
    flips: tuple[str, ...] = ()
    series: str = ""


@dataclass(frozen=True)
class Scan:
    """What a source holds: cases to prepare, and in words what was left aside."""

    cases: list[RawCase]
    skipped: list[str] = field(default_factory=list)


class Source(Protocol):
    """A reader of one source: ``scan`` finds cases by names alone, ``read`` loads one."""

    @property
    def name(self) -> str:
        """Name of the source."""

    @property
    def layout(self) -> str:
        """What a folder of this source looks like, in words."""

    @property
    def sites(self) -> tuple[str, ...]:
        """Sites the source knows; one without any writes a single site whose name the user may choose."""

    def scan(self, root: Path, *, site: str | None = None, key: bytes = b"") -> Scan:
        """Find the cases below ``root``."""

    def read(self, case: RawCase) -> Pair:
        """Read one case; raises :class:`CaseError`."""


def binary(values: NDArray) -> NDArray[np.uint8]:
    """Merge a label map to background 0 and gland 1.

    Raises:
        CaseError: for negative, fractional or NaN values, which no source writes.

    Example:
        >>> binary(np.array([0, 1, 2, 255])).tolist()
        [0, 1, 1, 1]
    """
    found = np.unique(values)
    if not np.isfinite(found).all() or (found < 0).any() or (found != np.round(found)).any():
        shown = ", ".join(f"{v:g}" for v in found[:6])
        raise CaseError(
            f"the label holds values that are no classes ({shown}{', ...' if len(found) > 6 else ''})",
            remedy="export the label as whole numbers, 0 for background, with nearest-neighbour interpolation",
            code="label-values",
        )
    return (values > 0).astype(np.uint8)


def no_cases(name: str, root: Path, layout: str) -> InputError:
    """Return the error of a source that holds nothing of its layout."""
    return InputError(
        f"no case of source '{name}' below {root}: expected {layout}; check the path and the source's name."
    )
