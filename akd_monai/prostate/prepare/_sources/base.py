# SPDX-License-Identifier: Apache-2.0
"""What every reader of a source shares: cases that are listed, volumes that are read, and the error of a single case."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from akd_monai.data.gate import check_classes, class_counts
from akd_monai.data.geometry import Array
from akd_monai.data.nifti import FileError
from akd_monai.errors import InputError

__all__ = [
    "CaseError",
    "Listing",
    "Pair",
    "RawCase",
    "Skipped",
    "Source",
    "Volume",
    "case_errors",
    "gland_of",
    "no_cases",
    "one_too_many",
    "problem_of",
]

_USUAL_VALUES = (0, 1, 2, 255)
_SHOWN = 8


class CaseError(InputError):
    """One case that cannot be prepared; the others continue."""


@contextlib.contextmanager
def case_errors() -> Iterator[None]:
    """Turn errors of files into errors of the case that they belong to."""
    try:
        yield
    except FileError as error:
        raise CaseError(error.what, where=error.where, remedy=error.remedy, code=error.code) from None


@dataclass(frozen=True)
class Volume:
    """A volume in memory: ``array[i, j, k]``, RAS ``affine`` in mm, and what its header says of the scanner.

    Args:
        array: the voxels.
        affine: 4x4, from voxel indices to mm.
        files: the files read, for their checksum.
        scanner: maker, model, field strength and coil, where the header names them.
        positions: for DICOM, the place of each slice along the slice normal in mm; empty where the file gives none.
        instances: for DICOM, the InstanceNumber of each slice.
        warnings: what is odd about the file.
    """

    array: NDArray[Any]
    affine: Array
    files: tuple[Path, ...] = ()
    scanner: dict[str, str | float] = field(default_factory=dict)
    positions: tuple[float, ...] = ()
    instances: tuple[int, ...] = ()
    warnings: tuple[str, ...] = ()

    def with_array(self, array: NDArray[Any], affine: Array | None = None) -> Volume:
        """Return a copy with other voxels, and another grid if given."""
        return replace(self, array=array, affine=self.affine if affine is None else affine)


@dataclass(frozen=True)
class RawCase:
    """One case found in a source, not yet read.

    Args:
        source: name of the reader.
        site: folder of the prepared case.
        patient_id: pseudonymous ID; cases of one patient share it.
        images: the image file, or the folders and files that hold its DICOM slices.
        labels: the same for the label; empty for a case without one.
        case: the name it should get (``Case07``), or ``None`` for the next free number of its site.
        scan_id: identity of the scan, where a patient may have several; empty where patients have one.
        label_rule: what the label values mean and how they were merged.
        trust_affine: whether the directions in the header may be used to turn the volume to LPS.
        warnings: what was odd when the case was found.
        problem: why the case cannot be prepared, if its names already say so; the other cases are prepared.
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
    problem: CaseError | None = None

    @property
    def identity(self) -> str:
        """Identity of the case within all sources; it must not depend on which other cases are there."""
        return f"{self.source}/{self.site}/{self.scan_id or self.patient_id}"


@dataclass(frozen=True)
class Pair:
    """An image and its binary label (0 background, 1 gland, uint8) on one grid.

    Args:
        image: the image.
        label: the label, ``None`` if there is none.
        warnings: what is odd about the two together.
        flips: axes turned to bring both together, in words.
        series: where the image lay below the patient's folder, redacted.
    """

    image: Volume
    label: Volume | None
    warnings: tuple[str, ...] = ()
    flips: tuple[str, ...] = ()
    series: str = ""


@dataclass(frozen=True)
class Skipped:
    """A file, or a folder of DICOM files, that is neither prepared nor the mask of a case.

    Args:
        path: where it is.
        why: why it is not used, without a colon.
    """

    path: Path
    why: str

    def told(self, root: Path) -> str:
        """Return path and reason in words; the path is that below ``root``."""
        return f"{self.path.relative_to(root).as_posix()}: {self.why}"


@dataclass(frozen=True)
class Listing:
    """What a source holds.

    Args:
        cases: the cases to prepare.
        skipped: what was found but is no case.
    """

    cases: list[RawCase]
    skipped: list[Skipped] = field(default_factory=list)


class Source(ABC):
    """A reader of one source: it finds cases by names alone, and reads one at a time.

    Attributes:
        name: name of the source.
        layout: what a folder of this source looks like, in words.
        sites: sites the source knows; one without any writes a single site whose name the user may choose.
        private_names: whether names of files and folders may be names of people, so that only pseudonyms are stored.
    """

    name: ClassVar[str]
    layout: ClassVar[str]
    sites: ClassVar[tuple[str, ...]] = ()
    private_names: ClassVar[bool] = False

    @abstractmethod
    def find_cases(self, root: Path, *, site: str | None = None, secret: bytes = b"") -> Listing:
        """List the cases below ``root``.

        Args:
            root: folder with the raw files.
            site: name of the site, for a source that lets the user choose it.
            secret: what pseudonyms are made with.

        Raises:
            InputError: if there is no case.
        """

    @abstractmethod
    def read(self, case: RawCase) -> Pair:
        """Read one case.

        Raises:
            CaseError: if it cannot be read, or image and label do not fit.
        """


def gland_of(label: Volume) -> Volume:
    """Merge a label map to background 0 and gland 1 (uint8); a warning says which unusual values became gland.

    Values 1 and 2 are usual as zones of the gland, 255 as the gland of a picture.

    Raises:
        CaseError: for other values than 0, 1 and 2 (two zones), or 0 and 255: what they mean is not known.

    Example:
        >>> gland_of(Volume(np.array([0, 1, 2, 255]), np.eye(4))).array.tolist()
        [0, 1, 1, 1]
        >>> gland_of(Volume(np.array([0, 3]), np.eye(4))).warnings
        ('the label holds 3, taken as gland',)
    """
    try:
        counts = class_counts(label.array)
        check_classes(counts)
    except FileError as error:
        raise CaseError(error.what, where="label", remedy=error.remedy, code=error.code) from None
    unusual = [f"{value:g}" for value in counts if value not in _USUAL_VALUES]
    warnings = [*label.warnings]
    if unusual:
        warnings.append(f"the label holds {', '.join(unusual[:_SHOWN])}, taken as gland")
    # a value that rounding has moved off 0 is still background
    return replace(label, array=(label.array > 0.5).astype(np.uint8), warnings=tuple(warnings))


def no_cases(name: str, root: Path, layout: str, skipped: Sequence[Skipped] = ()) -> InputError:
    """Return the error of a source that holds nothing of its layout, with the first of what was skipped."""
    what = f"no case of source '{name}' below {root}: expected {layout}"
    if skipped:
        what = f"{what}; skipped {len(skipped)}, first {skipped[0].told(root)}"
    return InputError(what, remedy="check the path and the name of the source")


def one_too_many(paths: Sequence[Path], kind: str) -> CaseError | None:
    """Return the error of a case with several files of one kind, naming them all; ``None`` for one or none.

    Example:
        >>> print(one_too_many([Path("a.nii.gz"), Path("a.nii")], "image"))
        a.nii.gz and a.nii both belong to one case; keep one image a case, or give each scan its own folder.
    """
    if len(paths) < 2:
        return None
    names = [path.name for path in paths]
    if len(set(names)) < len(names):
        names = [f"{path.parent.name}/{path.name}" for path in paths]
    both = "both" if len(names) == 2 else "all"
    what = f"{', '.join(names[:-1])} and {names[-1]} {both} belong to one case"
    remedy = f"keep one {kind} a case, or give each scan its own folder"
    return CaseError(what, remedy=remedy, code="several-files")


def problem_of(images: Sequence[Path], labels: Sequence[Path]) -> CaseError | None:
    """Return the error of a case with several images or several masks, ``None`` if there is nothing to choose."""
    return one_too_many(images, "image") or one_too_many(labels, "mask")
