# SPDX-License-Identifier: Apache-2.0
"""Find the cases of a folder in the six-site layout and pair each image with its mask by name, never by position."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from akd_monai.data.manifest import patient_ids
from akd_monai.data.sites import SITES
from akd_monai.errors import InputError, unknown_name
from akd_monai.files import as_path, sha256_of
from akd_monai.keys import random_key
from akd_monai.names import MASK_SUFFIX, is_mask_name, is_nifti, stem_of, suggests_mask, visible

__all__ = ["Case", "fingerprint", "read_cases"]

Case = dict[str, Any]
"""One case: paths under ``"image"`` and ``"label"``, ``"site"`` and ``"case_id"``."""

_ORDER = [site.name for site in SITES]
_FOLDER_OF_CODE = {site.code: site.name for site in SITES}


def read_cases(
    dataset_dir: str | os.PathLike[str], sites: str | Iterable[str] | None = None, *, require_label: bool = True
) -> list[Case]:
    """List the cases below ``dataset_dir/SITE/``: ``CaseNN.nii.gz`` with ``CaseNN_segmentation.nii.gz``.

    The mask's suffix is matched without regard to case, ``.nii`` is accepted too, and a name that ends in
    ``_segmentation`` is never an image. Any folder name is a site. Sites come in the order of
    :data:`~akd_monai.data.SITES`, others after them by name; cases are sorted by name.

    Args:
        dataset_dir: the folder that holds one folder a site.
        sites: folder names, or codes (S1 to S6), upper or lower case; a string may hold several, split by commas.
            ``None`` takes every folder that holds cases.
        require_label: if false, images without a mask are listed too, without the entry ``"label"``.

    Returns:
        ``{"image", "label", "site", "case_id"}`` for each case: absolute paths and names, all strings. Where the
        manifest of a prepared folder says that a patient has several cases, these also hold ``"patient_id"``.

    Raises:
        InputError: if the folder is missing or holds no case, or an image or a mask stands alone.
        UnknownNameError: if a wanted site has no folder.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as root:
        ...     (Path(root) / "BMC").mkdir()
        ...     _ = (Path(root) / "BMC" / "Case00.nii.gz").write_bytes(b"")
        ...     _ = (Path(root) / "BMC" / "Case00_Segmentation.nii.gz").write_bytes(b"")
        ...     [case["case_id"] for case in read_cases(root, sites="S2")]
        ['BMC/Case00']
    """
    root = Path(os.path.abspath(as_path(dataset_dir, "dataset_dir")))
    if not root.is_dir():
        what = "is a file, not a folder" if root.exists() else "does not exist"
        raise InputError(f"dataset_dir {str(root)!r} {what}; give the folder that holds one folder a site.")
    folders = {path.name: path for path in visible(root) if path.is_dir()}
    if sites is None:
        wanted = [name for name, folder in folders.items() if _volumes(folder)]
    else:
        wanted = [_folder_name(name, folders, root) for name in _names(sites)]
    cases: list[Case] = []
    for name in sorted(set(wanted), key=_rank):
        cases += _site_cases(folders[name], require_label)
    if not cases:
        raise InputError(_nothing_found(root, wanted))
    return _with_patients(cases, root)


def fingerprint(cases: Sequence[Mapping[str, Any]]) -> int:
    """Return a number that changes when a training run is given other cases: their names or the content of their files.

    Every file is read. :class:`akd_monai.handlers.ResumableCheckpoint` compares the data by itself, and says in words
    which case differs.

    Args:
        cases: entries with the paths ``"image"`` and, if there is one, ``"label"``.

    Example:
        >>> one, other = {"case_id": "RUNMC/Case00", "image": "a"}, {"case_id": "BMC/Case00", "image": "a"}
        >>> fingerprint([one]) == fingerprint([other])
        False
    """
    facts = []
    for case in cases:
        files = [Path(str(case[key])) for key in ("image", "label") if key in case]
        name = str(case.get("case_id") or files[0].name)
        contents = [sha256_of(file) if file.is_file() else "" for file in files]
        facts.append((name, *contents))
    return random_key(*sorted(facts))


def _names(sites: str | Iterable[str]) -> list[str]:
    parts = sites.split(",") if isinstance(sites, str) else [str(name) for name in sites]
    names = [part.strip() for part in parts if part.strip()]
    if not names:
        raise InputError("sites is empty; name at least one site, or leave it out to take all.")
    return names


def _rank(name: str) -> tuple[int, str]:
    known = name.upper() in _ORDER
    return (_ORDER.index(name.upper()) if known else len(_ORDER), name)


def _folder_name(wanted: str, folders: Iterable[str], root: Path) -> str:
    names = sorted(folders, reverse=True)
    if wanted in names:
        return wanted
    by_upper = {name.upper(): name for name in names}
    for candidate in (wanted.upper(), _FOLDER_OF_CODE.get(wanted.upper(), "")):
        if candidate in by_upper:
            return by_upper[candidate]
    raise unknown_name("site", wanted, sorted(by_upper.values(), key=_rank), where=f"in {str(root)!r}")


def _volumes(folder: Path) -> list[Path]:
    return [path for path in visible(folder) if is_nifti(path) and path.is_file()]


def _site_cases(folder: Path, require_label: bool) -> list[Case]:
    images: dict[str, Path] = {}
    masks: dict[str, Path] = {}
    for path in _volumes(folder):
        group = masks if is_mask_name(path) else images
        name = _name_of(path).lower()
        if name in group:
            raise InputError(f"{str(path)!r} and {group[name].name!r} are the same case; remove one of the two files.")
        group[name] = path
    for name, path in masks.items():
        if name not in images:
            wanted = f"{_name_of(path)}.nii.gz"
            raise InputError(f"mask {str(path)!r} has no image; add {wanted!r} beside it or remove the mask.")
    return [_case(folder.name, path, masks.get(name), require_label) for name, path in sorted(images.items())]


def _name_of(path: Path) -> str:
    """Return the name that an image and its mask share."""
    stem = stem_of(path)
    return stem[: -len(MASK_SUFFIX)] if is_mask_name(path) else stem


def _case(site_name: str, image: Path, mask: Path | None, require_label: bool) -> Case:
    stem = stem_of(image)
    case = {"image": str(image)}
    if mask is not None:
        case["label"] = str(mask)
    elif suggests_mask(image.name):
        raise InputError(
            f"{str(image)!r} is a mask or a prediction by its name, and no mask lies beside it that makes it an image; "
            f"call it {MASK_SUFFIX!r} after its image's name, or remove it."
        )
    elif require_label:
        wanted = f"{stem}{MASK_SUFFIX}.nii.gz"
        raise InputError(f"image {str(image)!r} has no mask; add {wanted!r} beside it or remove the image.")
    return {**case, "site": site_name, "case_id": f"{site_name}/{stem}"}


def _with_patients(cases: list[Case], root: Path) -> list[Case]:
    """Name the patient of cases that share one, so that a split can keep them together."""
    patients = patient_ids(root)
    known = [patients.get(case["case_id"]) for case in cases]
    shared = Counter(known)
    named = []
    for case, patient in zip(cases, known, strict=True):
        several = patient is not None and shared[patient] > 1
        named.append({**case, "patient_id": str(patient)} if several else case)
    return named


def _nothing_found(root: Path, wanted: list[str]) -> str:
    if _volumes(root):
        return f"{str(root)!r} holds volumes itself; put them into a folder a site and give the folder above it."
    where = f"site {', '.join(wanted)} in {str(root)!r}" if wanted else f"{str(root)!r}"
    return f"{where} holds no case; expected SITE/CaseNN.nii.gz with SITE/CaseNN_segmentation.nii.gz."
