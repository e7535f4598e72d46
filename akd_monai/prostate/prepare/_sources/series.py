# SPDX-License-Identifier: Apache-2.0
"""Choose the axial T2-weighted series of a patient among the DICOM folders below it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from akd_monai.prostate._privacy import redacted
from akd_monai.prostate.prepare._sources.base import CaseError, Volume
from akd_monai.prostate.prepare._sources.dicom import one_series, stack
from akd_monai.prostate.prepare._sources.dicom_slice import Slice, dicom_files, read_slice
from akd_monai.prostate.prepare._sources.sequences import other_sequence, says_t2, series_problem

__all__ = ["Choice", "choose_series", "read_series"]


def read_series(files: Sequence[Path], folder: str, *, is_label: bool = False) -> Volume:
    """Read the slices in ``files``, which must be one series, ordered by position.

    Args:
        files: all DICOM files of the series.
        folder: its name, for messages.
        is_label: a drawn series may have no positions, and its header is a copy or none; an image must be axial T2.

    Raises:
        CaseError: for several series, slices that cannot be ordered, and an image of another sequence or plane.
    """
    slices = [read_slice(path) for path in files]
    one_series(slices, folder)
    if not is_label:
        _check_sequence(slices[0], folder)
    return stack(slices, folder, need_positions=not is_label)


def _check_sequence(head: Slice, folder: str) -> None:
    """Refuse a series whose header says that it is no axial T2-weighted MRI; one that says nothing is taken."""
    problem = _problem(head)
    if problem:
        remedy = "give the axial T2-weighted series of this patient"
        raise CaseError(
            f"is {problem}, expected axial T2-weighted MRI", remedy=remedy, where=folder, code="other-sequence"
        )


def _problem(head: Slice) -> str:
    return series_problem(head.modality, head.description, tuple(head.orientation))


@dataclass(frozen=True)
class Choice:
    """The series that was chosen.

    Args:
        folder: its folder.
        files: its files.
        others: folders of the patient that were not chosen.
    """

    folder: Path
    files: list[Path]
    others: tuple[Path, ...] = ()

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was not chosen, in words."""
        if not self.others:
            return ()
        names = ", ".join(redacted(folder.name) for folder in self.others)
        return (f"other series of the patient, not used: {names}",)


@dataclass(frozen=True)
class _Candidate:
    """A folder of DICOM files and the header of the first one."""

    folder: Path
    files: list[Path]
    head: Slice

    @property
    def is_possible(self) -> bool:
        """Whether it is an MR series whose slices lie across the body, and is called by no other sequence."""
        return self.head.located and not _problem(self.head) and not other_sequence(self.folder.name)

    @property
    def is_t2(self) -> bool:
        """Whether description or folder say T2."""
        return says_t2(self.head.description) or "t2" in self.folder.name.lower()

    @property
    def shape(self) -> tuple[int, ...]:
        """Columns, rows and slices."""
        return (*self.head.pixels.T.shape, len(self.files))

    def __str__(self) -> str:
        # Its description is free text, and this line is stored.
        return f"{self.folder.name} {self.head.series_uid} ({len(self.files)} files)"


def choose_series(roots: Sequence[Path], label_shape: Sequence[int] | None) -> Choice:
    """Return the one series to take.

    A patient with one folder of DICOM files has no choice. Among several, axial MR series of no other sequence are kept,
    of those the ones whose description or folder says T2, then those of the label's size; one must be left.

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
        return Choice(*next(iter(files_of.items())))
    candidates = [_Candidate(folder, files, read_slice(files[0])) for folder, files in files_of.items()]
    left = _likely(candidates, label_shape)
    if len({candidate.head.series_uid for candidate in left}) != 1:
        raise _no_choice(left, roots[0].name)
    # The same series may have been downloaded twice.
    chosen = left[0]
    others = tuple(folder for folder in files_of if folder != chosen.folder)
    return Choice(chosen.folder, chosen.files, others)


def _files_by_folder(roots: Sequence[Path]) -> dict[Path, list[Path]]:
    folders: dict[Path, list[Path]] = {}
    for root in roots:
        for path in dicom_files(root):
            folders.setdefault(path.parent, []).append(path)
    return folders


def _likely(candidates: Sequence[_Candidate], label_shape: Sequence[int] | None) -> list[_Candidate]:
    """Return the possible candidates, of those the T2-weighted ones, of those the ones of the label's size."""
    left = [candidate for candidate in candidates if candidate.is_possible]
    left = _preferred(left, lambda candidate: candidate.is_t2)
    if len(left) > 1 and label_shape is not None:
        left = _preferred(left, lambda candidate: candidate.shape == tuple(label_shape))
    return left


def _preferred(candidates: list[_Candidate], wanted: Callable[[_Candidate], bool]) -> list[_Candidate]:
    """Return the candidates that are wanted, or all if none is."""
    return [candidate for candidate in candidates if wanted(candidate)] or candidates


def _no_choice(left: Sequence[_Candidate], patient: str) -> CaseError:
    what = "no axial T2-weighted MR series"
    if left:
        listed = "; ".join(map(str, left))
        what = f"{len(left)} series could be the axial T2-weighted one: {listed}"
    remedy = "keep only the series that the data set's manifest names"
    return CaseError(what, remedy=remedy, where=patient, code="several-series")
