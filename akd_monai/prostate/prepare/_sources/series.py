# SPDX-License-Identifier: Apache-2.0
"""Choose the axial T2-weighted series of a patient among the DICOM folders below it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from akd_monai.prostate.prepare._sources.base import CaseError, Volume
from akd_monai.prostate.prepare._sources.dicom import one_series, stack
from akd_monai.prostate.prepare._sources.dicom_slice import Slice, dicom_files, read_slice

__all__ = ["choose_series", "read_series"]

# Cosine of the largest tilt of an axial series against the body's long axis, about 45 degrees.
_AXIAL = 0.7


def read_series(files: Sequence[Path], folder: str, *, need_positions: bool = True) -> Volume:
    """Read the slices in ``files``, which must be one series, ordered by position."""
    slices = [read_slice(path) for path in files]
    one_series(slices, folder)
    return stack(slices, folder, need_positions=need_positions)


@dataclass(frozen=True)
class _Candidate:
    """A folder of DICOM files and the header of the first one."""

    folder: Path
    files: list[Path]
    head: Slice

    @property
    def is_axial(self) -> bool:
        """Whether it is an MR series whose slices lie across the body."""
        return self.head.located and abs(self.head.normal[2]) > _AXIAL and self.head.modality in ("MR", "")

    @property
    def is_t2(self) -> bool:
        """Whether description or folder say T2."""
        return "t2" in f"{self.head.description} {self.folder.name}".lower()

    @property
    def shape(self) -> tuple[int, ...]:
        """Columns, rows and slices."""
        return (*self.head.pixels.T.shape, len(self.files))

    def __str__(self) -> str:
        name = self.head.series_uid or self.folder.name
        return f"{name} '{self.head.description}' ({len(self.files)})"


def choose_series(roots: Sequence[Path], label_shape: Sequence[int] | None) -> tuple[Path, list[Path]]:
    """Return folder and files of the one series to take.

    A patient with one folder of DICOM files has no choice. Among several, axial MR series whose description or folder
    says T2 are kept, then those of the label's size; one must be left.

    Args:
        roots: folders of the patient.
        label_shape: columns, rows and slices of the label, if there is one.

    Raises:
        CaseError: if there is no DICOM file, or several series stay possible.
    """
    files_of = _files_by_folder(roots)
    if not files_of:
        remedy = "download the images of this patient, or remove the empty folder"
        raise CaseError("no DICOM file", remedy=remedy, where=roots[0].name, code="missing-file")
    if len(files_of) == 1:
        return next(iter(files_of.items()))
    candidates = [_Candidate(folder, files, read_slice(files[0])) for folder, files in files_of.items()]
    left = _likely(candidates, label_shape)
    if len({candidate.head.series_uid for candidate in left}) != 1:
        raise _no_choice(left, roots[0].name)
    # The same series may have been downloaded twice.
    return left[0].folder, left[0].files


def _files_by_folder(roots: Sequence[Path]) -> dict[Path, list[Path]]:
    folders: dict[Path, list[Path]] = {}
    for root in roots:
        for path in dicom_files(root):
            folders.setdefault(path.parent, []).append(path)
    return folders


def _likely(candidates: Sequence[_Candidate], label_shape: Sequence[int] | None) -> list[_Candidate]:
    """Return the axial candidates, of those the T2-weighted ones, of those the ones of the label's size."""
    left = [candidate for candidate in candidates if candidate.is_axial]
    left = _preferred(left, lambda candidate: candidate.is_t2)
    if len(left) > 1 and label_shape is not None:
        left = _preferred(left, lambda candidate: candidate.shape == tuple(label_shape))
    return left


def _preferred(candidates: list[_Candidate], wanted: Callable[[_Candidate], bool]) -> list[_Candidate]:
    """Return the candidates that are wanted, or all if none is."""
    return [candidate for candidate in candidates if wanted(candidate)] or candidates


def _no_choice(left: Sequence[_Candidate], patient: str) -> CaseError:
    what = "no axial MR series"
    if left:
        listed = "; ".join(map(str, left))
        what = f"{len(left)} series could be the axial T2-weighted one: {listed}"
    remedy = "keep only the series that the data set's manifest names"
    return CaseError(what, remedy=remedy, where=patient, code="several-series")
