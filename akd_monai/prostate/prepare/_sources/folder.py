# SPDX-License-Identifier: Apache-2.0
"""Any folder of volumes with masks beside them: a hospital's own data. Names are replaced by pseudonyms."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from akd_monai.names import is_volume, visible
from akd_monai.prostate._privacy import pseudonym
from akd_monai.prostate.prepare._sources.base import (
    CaseError,
    Listing,
    Pair,
    RawCase,
    Skipped,
    Source,
    Volume,
    no_cases,
    problem_of,
)
from akd_monai.prostate.prepare._sources.dicom_header import SeriesHeader, read_header
from akd_monai.prostate.prepare._sources.dicom_slice import dicom_files
from akd_monai.prostate.prepare._sources.files import read_volume
from akd_monai.prostate.prepare._sources.folder_names import (
    bare_name,
    case_name,
    in_label_folder,
    is_label,
    why_skipped,
)
from akd_monai.prostate.prepare._sources.pairing import pair_on_one_grid
from akd_monai.prostate.prepare._sources.series import read_series

__all__ = ["Folder"]

_FAR_MASK = "the mask lies in other folders than its image and was paired by the end of its name: check the case"

# Files, or folders of DICOM files, by the name of their case; more than one is too many.
_ByName = dict[str, list[Path]]


class Folder(Source):
    """Reader of volumes (NIfTI, NRRD, MetaImage) or folders of DICOM slices, with masks told by their names.

    A mask is a volume with a word such as ``segmentation``, ``seg``, ``label``, ``mask``, ``ROI`` or ``reader1`` in its
    name, or one with the image's name in a folder ``labels*`` or ``masks*`` beside ``images*``. Image and mask must share
    one grid. Other sequences, planes and structures are skipped: by names, and DICOM series also by their headers.
    Patient and case get pseudonyms (HMAC with a secret kept in the output folder), because names of folders may be names
    of people.
    """

    name = "folder"
    layout = "volumes such as case1.nii.gz with case1_segmentation.nii.gz, or folders of DICOM slices"
    private_names = True

    def find_cases(self, root: Path, *, site: str | None = None, secret: bytes = b"") -> Listing:
        """List images with their masks by name; a patient is a folder right below ``root``, or a file there."""
        images, labels, skipped = _volumes(root)
        series, other_series = _series(root)
        skipped += other_series
        for name, folders in series.items():
            images.setdefault(name, []).extend(folders)
        masks = _masks_of(images, labels, root)
        used = {path for name in masks.values() for path in labels[name]}
        lonely = [path for paths in labels.values() for path in paths if path not in used]
        skipped += [Skipped(path, "a mask without image") for path in lonely]
        if not images:
            raise no_cases(self.name, root, self.layout, skipped)
        patients = _patients(list(images))
        cases = []
        for name, paths in sorted(images.items()):
            mask = masks.get(name, name)
            drawn = labels.get(mask, [])
            case = RawCase(
                source=self.name,
                site=site or "LOCAL",
                patient_id=pseudonym(patients[name], secret),
                images=tuple(paths),
                labels=tuple(drawn),
                scan_id=pseudonym(name, secret),
                warnings=(_FAR_MASK,) if _are_strangers(name, mask) else (),
                problem=_too_many_series(paths) or problem_of(paths, drawn),
            )
            cases.append(case)
        return Listing(cases, skipped)

    def read(self, case: RawCase) -> Pair:
        """Read one case; image and mask must share their grid."""
        image = self._image(case.images[0])
        if not case.labels:
            return Pair(image, None)
        return pair_on_one_grid(image, read_volume(case.labels[0]), case.labels[0].name)

    @staticmethod
    def _image(path: Path) -> Volume:
        if path.is_dir():
            return read_series(_slices_in(path), path.name)
        return read_volume(path)


def _too_many_series(paths: Sequence[Path]) -> CaseError | None:
    if len(paths) < 2 or not all(path.is_dir() for path in paths):
        return None
    listed = "; ".join(f"{path.name} ({len(_slices_in(path))} files)" for path in paths)
    what = f"{len(paths)} series of one study could be the axial T2-weighted one: {listed}"
    return CaseError(what, remedy="keep the one that the mask was drawn on", code="several-series")


def _slices_in(folder: Path) -> list[Path]:
    return [path for path in dicom_files(folder) if path.parent == folder]


def _volumes(root: Path) -> tuple[_ByName, _ByName, list[Skipped]]:
    """Return images and masks by the name of their case, and what was skipped."""
    images: _ByName = {}
    labels: _ByName = {}
    skipped = []
    for path in visible(root, "**/*"):
        if not is_volume(path) or not path.is_file():
            continue
        relative = path.relative_to(root)
        why = why_skipped(relative)
        if why:
            skipped.append(Skipped(path, why))
            continue
        group = labels if is_label(relative) else images
        group.setdefault(case_name(relative), []).append(path)
    return images, labels, skipped


def _series(root: Path) -> tuple[_ByName, list[Skipped]]:
    """Return folders of DICOM files that may be axial T2-weighted series, and what was skipped.

    Series that lie beside each other and are of one study by their headers become one case, of which one must be chosen.
    """
    found: _ByName = {}
    skipped = []
    # The name of the case of a study, by the folder and the study.
    names: dict[tuple[Path, str], str] = {}
    seen: dict[tuple[Path, str], set[str]] = {}
    first_files = {path.parent: path for path in reversed(dicom_files(root))}
    for folder, file in sorted(first_files.items()):
        header = read_header(file)
        why = _why_series_skipped(folder, root, header)
        if why:
            skipped.append(Skipped(folder, why))
            continue
        name = case_name(folder.relative_to(root), is_folder=True) or root.name
        study = (folder.parent, header.study_uid)
        if header.study_uid and folder != root and header.series_uid not in seen.setdefault(study, set()):
            seen[study].add(header.series_uid)
            name = names.setdefault(study, name)
        found.setdefault(name, []).append(folder)
    return found, skipped


def _why_series_skipped(folder: Path, root: Path, header: SeriesHeader) -> str:
    if folder != root:
        why = why_skipped(folder.relative_to(root), is_folder=True)
        if why:
            return why
    return header.problem


def _masks_of(images: Iterable[str], labels: Mapping[str, Sequence[Path]], root: Path) -> dict[str, str]:
    """Pair by full name; else by the last part of it, by the folder, or by the bare name, where that leaves one image.

    Returns:
        the name of the mask by the name of the image.
    """
    names = list(images)
    masks = {name: name for name in names if name in labels}
    for mask in [name for name in labels if name not in masks]:
        apart = in_label_folder(labels[mask][0].relative_to(root))
        for fits in (_same_end(mask, apart), _lies_below(mask), _same_bare_name(mask)):
            candidates = [name for name in names if fits(name)]
            if len(candidates) == 1 and candidates[0] not in masks:
                masks[candidates[0]] = mask
                break
    return masks


def _same_end(mask: str, apart: bool) -> Callable[[str], bool]:
    # A mask beside images is that of an image beside it: scan1 of one patient is no scan1 of another.
    def fits(name: str) -> bool:
        return _end(name) == _end(mask) and (apart or not _are_strangers(name, mask))

    return fits


def _end(name: str) -> str:
    return name.rsplit("/", 1)[-1]


def _are_strangers(image: str, mask: str) -> bool:
    """Return whether both lie in folders, and share none of them."""
    image_folders = set(image.split("/")[:-1])
    mask_folders = set(mask.split("/")[:-1])
    return bool(image_folders and mask_folders) and not image_folders & mask_folders


def _lies_below(mask: str) -> Callable[[str], bool]:
    return lambda name: name.startswith(f"{mask}/")


def _same_bare_name(mask: str) -> Callable[[str], bool]:
    bare = bare_name(mask)
    return lambda name: bare_name(name) == bare


def _patients(names: list[str]) -> dict[str, str]:
    """Return the patient of each case name: its first part, after a folder that all cases share.

    Example:
        >>> _patients(["a/scan1", "a/scan2", "b/scan1"])
        {'a/scan1': 'a', 'a/scan2': 'a', 'b/scan1': 'b'}
        >>> _patients(["export/a", "export/b"])
        {'export/a': 'export/a', 'export/b': 'export/b'}
    """
    parts = {name: name.split("/") for name in names}
    depth = 1
    while len(names) > 1 and len({tuple(part[:depth]) for part in parts.values()}) == 1:
        depth += 1
    return {name: "/".join(part[:depth]) for name, part in parts.items()}
