# SPDX-License-Identifier: Apache-2.0
"""Find the cases of a folder in the six-site layout and pair each image with its mask by name, never by position."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from akd_monai.data.manifest import FORMAT, MANIFEST
from akd_monai.data.sites import SITES
from akd_monai.errors import InputError, UnknownNameError, near_matches

_SUFFIXES = (".nii.gz", ".nii")
_MASK = "_segmentation"

Case = dict[str, Any]


def read_cases(
    dataset_dir: str | os.PathLike[str], sites: str | Iterable[str] | None = None, *, require_label: bool = True
) -> list[Case]:
    """List the cases below ``dataset_dir/SITE/``: ``CaseNN.nii.gz`` with ``CaseNN_segmentation.nii.gz``.

    The mask's suffix is matched without regard to case, ``.nii`` is accepted too, and a name that ends in
    ``_segmentation`` is never an image. Any folder name is a site. Sites come in the order of
    :data:`~akd_monai.data.sites.SITES`, others after them by name; cases are sorted by name.

    Args:
        dataset_dir: the folder that holds one folder a site.
        sites: folder names, or codes (S1 to S6), upper or lower case; a text may hold several, split by commas.
            ``None`` takes every folder that holds cases.
        require_label: if false, images without a mask are listed too, without the entry ``"label"``.

    Returns:
        ``{"image", "label", "site", "case_id"}`` for each case: absolute paths and names, all text. Where the manifest
        of a prepared folder says that a patient has several cases, these also hold ``"patient_id"``.

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
    root = Path(os.path.abspath(Path(dataset_dir).expanduser()))
    if not root.is_dir():
        what = "is a file, not a folder" if root.exists() else "does not exist"
        raise InputError(f"dataset_dir {str(root)!r} {what}; give the folder that holds one folder a site.")
    folders = {f.name: f for f in root.iterdir() if f.is_dir() and not f.name.startswith(".")}
    if sites is None:
        wanted = [name for name, folder in folders.items() if _volumes(folder)]
    else:
        wanted = [_folder_name(name, folders, root) for name in _names(sites)]
    cases = [case for name in sorted(set(wanted), key=_rank) for case in _site_cases(folders[name], require_label)]
    if not cases:
        raise InputError(_nothing_found(root, wanted))
    return _with_patients(cases, root / MANIFEST)


def _names(sites: str | Iterable[str]) -> list[str]:
    parts = sites.split(",") if isinstance(sites, str) else [str(s) for s in sites]
    names = [part.strip() for part in parts if part.strip()]
    if not names:
        raise InputError("sites is empty; name at least one site, or leave it out to take all.")
    return names


def _rank(name: str) -> tuple[int, str]:
    known = [s.name for s in SITES]
    return (known.index(name.upper()) if name.upper() in known else len(known), name)


def _folder_name(wanted: str, folders: Iterable[str], root: Path) -> str:
    by_name = {name.upper(): name for name in sorted(folders, reverse=True)}
    codes = {s.code: s.name for s in SITES}
    for candidate in (wanted.upper(), codes.get(wanted.upper(), "")):
        if candidate in by_name:
            return wanted if wanted in by_name.values() else by_name[candidate]
    there = sorted(by_name.values(), key=_rank)
    listed = ", ".join(there) if there else "no folder"
    raise UnknownNameError(
        f"site {wanted!r} has no folder in {str(root)!r}; there is {listed}.{near_matches(wanted, there)}"
    )


def _volumes(folder: Path) -> list[Path]:
    files = (f for f in folder.iterdir() if f.name.lower().endswith(_SUFFIXES) and not f.name.startswith("."))
    return sorted(f for f in files if f.is_file())


def _stem(path: Path) -> str:
    name = path.name
    return next(name[: -len(suffix)] for suffix in _SUFFIXES if name.lower().endswith(suffix))


def _site_cases(folder: Path, require_label: bool) -> list[Case]:
    images: dict[str, Path] = {}
    masks: dict[str, Path] = {}
    for path in _volumes(folder):
        stem = _stem(path)
        is_mask = stem.lower().endswith(_MASK)
        group, key = (masks, stem[: -len(_MASK)].lower()) if is_mask else (images, stem.lower())
        if key in group:
            raise InputError(f"{str(path)!r} and {group[key].name!r} are the same case; remove one of the two files.")
        group[key] = path
    for key, path in masks.items():
        if key not in images:
            name = _stem(path)[: -len(_MASK)]
            raise InputError(f"mask {str(path)!r} has no image; add '{name}.nii.gz' beside it or remove the mask.")
    return [_case(folder.name, path, masks.get(key), require_label) for key, path in sorted(images.items())]


def _case(site_name: str, image: Path, mask: Path | None, require_label: bool) -> Case:
    stem = _stem(image)
    if mask is None and require_label:
        wanted = f"{stem}{_MASK}.nii.gz"
        raise InputError(f"image {str(image)!r} has no mask; add {wanted!r} beside it or remove the image.")
    label = {} if mask is None else {"label": str(mask)}
    return {"image": str(image), **label, "site": site_name, "case_id": f"{site_name}/{stem}"}


def _with_patients(cases: list[Case], manifest: Path) -> list[Case]:
    """Name the patient of cases that share one, so that a split can keep them together."""
    if not manifest.is_file():
        return cases
    try:
        content = json.loads(manifest.read_text(encoding="utf-8"))
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            return cases
        patients = {record["case_id"]: record["patient_id"] for record in content["cases"]}
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{str(manifest)!r} is damaged ({type(error).__name__}), so nobody knows which cases belong to one patient;"
            " prepare the folder again, or delete the file if each case is another patient."
        ) from error
    known = [patients.get(case["case_id"]) for case in cases]
    shared = Counter(known)
    return [
        {**case, "patient_id": str(patient)} if patient is not None and shared[patient] > 1 else case
        for case, patient in zip(cases, known, strict=True)
    ]


def _nothing_found(root: Path, wanted: list[str]) -> str:
    if _volumes(root):
        return f"{str(root)!r} holds volumes itself; put them into a folder a site and give the folder above it."
    where = f"site {', '.join(wanted)} in {str(root)!r}" if wanted else f"{str(root)!r}"
    return f"{where} holds no case; expected SITE/CaseNN.nii.gz with SITE/CaseNN_segmentation.nii.gz."
