# SPDX-License-Identifier: Apache-2.0
"""Any folder of volumes with masks beside them: a hospital's own data. Names are replaced by pseudonyms."""

from __future__ import annotations

import re
from pathlib import Path

from akd_monai.names import is_volume, stem_of, visible
from akd_monai.prostate._privacy import pseudonym
from akd_monai.prostate.prepare._sources.base import CaseError, Listing, Pair, RawCase, Source, Volume, no_cases
from akd_monai.prostate.prepare._sources.dicom_slice import dicom_files
from akd_monai.prostate.prepare._sources.files import read_volume
from akd_monai.prostate.prepare._sources.pairing import pair_on_one_grid
from akd_monai.prostate.prepare._sources.series import read_series

__all__ = ["Folder"]

_LABEL_NAME = re.compile(
    r"(?:(?P<case>.+?)[ _.-])?(?:segmentation|seg|label|labels|labelmap|mask|gland|prostate|gt|truth)", re.IGNORECASE
)
_LABEL_FOLDER = re.compile(r"(?:label|mask|seg|gt|truth|annotation)\w*", re.IGNORECASE)
_IMAGE_NAME = re.compile(r"(?:image|img|t2|t2w|t2_tse|scan|volume|mri)", re.IGNORECASE)
_OTHER_SEQUENCE = re.compile(r"(?:.*[ _.-])?(?:adc|dwi|hbv|dce|ktrans|t1|t1w|cor|sag|b\d{2,4})", re.IGNORECASE)
_IMAGE_END = re.compile(r"[ _.-](?:image|img|t2|t2w|0000)", re.IGNORECASE)


class Folder(Source):
    """Reader of volumes (NIfTI, NRRD, MetaImage) or folders of DICOM slices, with masks told by their names.

    A mask is a volume named ``<case>_segmentation`` (also ``_seg``, ``_label``, ``_mask``, ``_gland``), a volume of
    that name alone in the case's own folder, or one with the image's name in a folder ``labels*`` or ``masks*`` beside
    ``images*``. Image and mask must share one grid. Patient and case get pseudonyms (HMAC with a secret kept in the
    output folder), because names of folders may be names of people.
    """

    name = "folder"
    layout = "volumes such as case1.nii.gz with case1_segmentation.nii.gz, or folders of DICOM slices"
    private_names = True

    def find_cases(self, root: Path, *, site: str | None = None, secret: bytes = b"") -> Listing:
        """List images with their masks by name; a patient is a folder right below ``root``, or a file there."""
        images, labels, skipped = _volumes(root)
        for folder in _dicom_folders(root):
            images.setdefault(_case_name(folder.relative_to(root), is_folder=True) or root.name, folder)
        if not images:
            raise no_cases(self.name, root, self.layout)
        masks = _masks_of(images, labels)
        patients = _patients(list(images))
        cases = []
        for name, path in sorted(images.items()):
            mask = masks.get(name)
            case = RawCase(
                source=self.name,
                site=site or "LOCAL",
                patient_id=pseudonym(patients[name], secret),
                images=(path,),
                labels=(mask,) if mask else (),
                scan_id=pseudonym(name, secret),
            )
            cases.append(case)
        used = set(masks.values())
        skipped += [f"{path.name}: a mask without image" for path in labels.values() if path not in used]
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
            return read_series([file for file in dicom_files(path) if file.parent == path], path.name)
        return read_volume(path)


def _masks_of(images: dict[str, Path], labels: dict[str, Path]) -> dict[str, Path]:
    """Pair by full name; else by the last part of it, or by the folder, where that leaves one image and one mask."""
    masks = {name: labels[name] for name in images if name in labels}
    lonely = [name for name in labels if name not in masks]
    for mask in lonely:
        ends = [name for name in images if _last_part(name) == _last_part(mask)]
        below = [name for name in images if name.startswith(f"{mask}/")]
        for candidates in (ends, below):
            if len(candidates) == 1 and candidates[0] not in masks:
                masks[candidates[0]] = labels[mask]
                break
    return masks


def _last_part(name: str) -> str:
    return name.rsplit("/", 1)[-1]


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


def _volumes(root: Path) -> tuple[dict[str, Path], dict[str, Path], list[str]]:
    """Return images and masks by the name of their case, and what was skipped."""
    images: dict[str, Path] = {}
    labels: dict[str, Path] = {}
    skipped = []
    for path in visible(root, "**/*"):
        if not path.is_file() or not is_volume(path):
            continue
        relative = path.relative_to(root)
        if _is_label(relative):
            _add(labels, relative, path)
        elif _OTHER_SEQUENCE.fullmatch(stem_of(path)):
            skipped.append(f"{path.name}: by its name no axial T2-weighted volume")
        else:
            _add(images, relative, path)
    return images, labels, skipped


def _add(found: dict[str, Path], relative: Path, path: Path) -> None:
    name = _case_name(relative)
    if name in found:
        what = f"{found[name].name} and {path.name} both belong to one case"
        remedy = "keep one image and one mask a case, or give each scan its own folder"
        raise CaseError(what, remedy=remedy, where=relative.parent.as_posix(), code="several-files")
    found[name] = path


def _is_label(relative: Path) -> bool:
    stem = stem_of(relative)
    return bool(_LABEL_NAME.fullmatch(stem)) or any(_LABEL_FOLDER.fullmatch(part) for part in relative.parts[:-1])


def _case_name(relative: Path, *, is_folder: bool = False) -> str:
    """Return what image and mask of one case have in common: folders without ``images``/``labels``, and the stem.

    Example:
        >>> _case_name(Path("images/a.nii.gz")) == _case_name(Path("labels/a_seg.nii.gz")) == "a"
        True
        >>> _case_name(Path("a/t2.nii.gz")) == _case_name(Path("a/mask.nii.gz")) == "a"
        True
    """
    folders = [part for part in relative.parts[:-1] if not _LABEL_FOLDER.fullmatch(part) and not _is_images(part)]
    if is_folder:
        return "/".join([*folders, relative.name])
    stem = stem_of(relative)
    label = _LABEL_NAME.fullmatch(stem)
    if label:
        stem = label["case"] or ""
    if _IMAGE_NAME.fullmatch(stem):
        stem = ""
    stem = re.sub(_IMAGE_END.pattern + "$", "", stem, flags=re.IGNORECASE)
    return "/".join([*folders, stem]) if stem else "/".join(folders)


def _is_images(part: str) -> bool:
    return bool(re.fullmatch(r"(?:image|img)\w*", part, re.IGNORECASE))


def _dicom_folders(root: Path) -> list[Path]:
    return sorted({path.parent for path in dicom_files(root)})
