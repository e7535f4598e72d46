# SPDX-License-Identifier: Apache-2.0
"""Choose the axial T2-weighted series of a patient among the DICOM folders below it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from akd_monai.prostate.prepare.sources.base import CaseError, Volume
from akd_monai.prostate.prepare.sources.dicom import one_series, stack
from akd_monai.prostate.prepare.sources.dicom_slice import Slice, dicom_files, read_slice


def read_series(files: Sequence[Path], folder: str, *, need_positions: bool = True) -> Volume:
    """Read the slices in ``files``, which must be one series, ordered by position."""
    slices = [read_slice(path) for path in files]
    one_series(slices, folder)
    return stack(slices, folder, need_positions=need_positions)


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
    folders: dict[Path, list[Path]] = {}
    for path in (path for root in roots for path in dicom_files(root)):
        folders.setdefault(path.parent, []).append(path)
    if not folders:
        remedy = "download the images of this patient, or remove the empty folder"
        raise CaseError("no DICOM file", remedy=remedy, where=roots[0].name, code="missing-file")
    if len(folders) == 1:
        return next(iter(folders.items()))
    heads = {folder: read_slice(files[0]) for folder, files in folders.items()}
    left = [folder for folder, head in heads.items() if _axial(head)]
    left = [folder for folder in left if "t2" in f"{heads[folder].description} {folder.name}".lower()] or left
    if len(left) > 1 and label_shape is not None:
        left = [f for f in left if (*heads[f].pixels.T.shape, len(folders[f])) == tuple(label_shape)] or left
    uids = {heads[folder].series_uid for folder in left}
    if left and len(uids) == 1:
        # The same series may have been downloaded twice.
        return left[0], folders[left[0]]
    listed = "; ".join(f"{heads[f].series_uid or f.name} '{heads[f].description}' ({len(folders[f])})" for f in left)
    reason = f"{len(left)} series could be the axial T2-weighted one: {listed}" if left else "no axial MR series"
    remedy = "keep only the series that the data set's manifest names"
    raise CaseError(reason, remedy=remedy, where=roots[0].name, code="several-series")


def _axial(head: Slice) -> bool:
    return head.located and abs(head.normal[2]) > 0.7 and head.modality in ("MR", "")
