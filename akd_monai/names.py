# SPDX-License-Identifier: Apache-2.0
"""Names of files and of cases: suffixes, stems, masks, and what a case is called in tables and messages."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

__all__ = [
    "ITK_SUFFIXES",
    "MASK_SUFFIX",
    "NIFTI_SUFFIXES",
    "VOLUME_SUFFIXES",
    "case_name",
    "case_names",
    "is_mask_name",
    "is_nifti",
    "is_volume",
    "stem_of",
    "visible",
]

NIFTI_SUFFIXES = (".nii.gz", ".nii")
ITK_SUFFIXES = (".nrrd", ".nhdr", ".mhd", ".mha")
VOLUME_SUFFIXES = NIFTI_SUFFIXES + ITK_SUFFIXES
MASK_SUFFIX = "_segmentation"


def is_nifti(path: str | os.PathLike[str]) -> bool:
    """Return whether a file is NIfTI by its name."""
    return Path(path).name.lower().endswith(NIFTI_SUFFIXES)


def is_volume(path: str | os.PathLike[str]) -> bool:
    """Return whether a file is a volume by its name: NIfTI, NRRD or MetaImage."""
    return Path(path).name.lower().endswith(VOLUME_SUFFIXES)


def stem_of(path: str | os.PathLike[str]) -> str:
    """Return a file's name without ``.nii.gz`` or its last suffix.

    Example:
        >>> stem_of("RUNMC/Case00.nii.gz"), stem_of("t2.axial.mha")
        ('Case00', 't2.axial')
    """
    name = Path(path).name
    for suffix in VOLUME_SUFFIXES:
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return Path(name).stem


def is_mask_name(path: str | os.PathLike[str]) -> bool:
    """Return whether a file is a mask of the six-site layout by its name, upper or lower case.

    Example:
        >>> is_mask_name("RUNMC/Case00_Segmentation.nii.gz"), is_mask_name("RUNMC/Case00.nii.gz")
        (True, False)
    """
    return stem_of(path).lower().endswith(MASK_SUFFIX)


def visible(folder: Path, pattern: str = "*") -> Iterator[Path]:
    """Yield what matches ``pattern`` below ``folder``, sorted, without hidden and macOS ``._*`` files."""
    for path in sorted(folder.glob(pattern)):
        if not any(part.startswith(".") for part in path.relative_to(folder).parts):
            yield path


def case_name(case: Mapping[str, Any], fallback: str = "without a name") -> str:
    """Return a case's ``"case_id"``, else the folder and name of its image or label, else ``fallback``.

    The folder belongs to the name, because cases of different sites and patients share file names.

    Args:
        case: an entry of a datalist, or an item with MONAI's ``MetaTensor``.
        fallback: for a case that names no file.

    Example:
        >>> case_name({"case_id": "HK/Case13"}), case_name({"image": "/data/HK/Case13.nii.gz"})
        ('HK/Case13', 'HK/Case13')
    """
    if "case_id" in case:
        value = case["case_id"]
        return str(value.item() if hasattr(value, "item") else value)
    for key in ("image", "label"):
        file = _file_of(case.get(key))
        if file:
            return _name_of_file(file)
    return fallback


def case_names(batch: Any) -> list[str]:
    """Return the names of the cases of a collated batch; empty where it does not say.

    Example:
        >>> case_names({"case_id": ["BMC/Case00", "BMC/Case01"]}), case_names([1])
        (['BMC/Case00', 'BMC/Case01'], [])
    """
    if not isinstance(batch, Mapping):
        return []
    if "case_id" in batch:
        return [str(name) for name in _listed(batch["case_id"])]
    files = getattr(batch.get("image"), "meta", {}).get("filename_or_obj", [])
    return [_name_of_file(str(file)) for file in _listed(files)]


def _file_of(value: Any) -> str:
    if isinstance(value, (str, os.PathLike)):
        return os.fspath(value)
    # MONAI's MetaTensor, known by its attribute so that torch need not be imported to name a file
    file = getattr(value, "meta", {}).get("filename_or_obj")
    return file if isinstance(file, str) else ""


def _name_of_file(file: str) -> str:
    path = Path(file)
    stem = stem_of(path)
    return f"{path.parent.name}/{stem}" if path.parent.name else stem


def _listed(value: Any) -> list[Any]:
    if isinstance(value, str):
        return [value]
    return value.tolist() if hasattr(value, "tolist") else list(value)
