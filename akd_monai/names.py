# SPDX-License-Identifier: Apache-2.0
"""Names of files and of cases: suffixes, stems, masks, and what a case is called in tables and messages."""

from __future__ import annotations

import os
import re
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
    "suggests_mask",
    "visible",
]

NIFTI_SUFFIXES = (".nii.gz", ".nii")
ITK_SUFFIXES = (".nrrd", ".nhdr", ".mhd", ".mha")
VOLUME_SUFFIXES = NIFTI_SUFFIXES + ITK_SUFFIXES
MASK_SUFFIX = "_segmentation"

# What a mask is called, drawn by hand or predicted; and what may follow that word, such as labelsTr, mask_2, seg_reader1.
_MASK_WORDS = (
    r"(?:d|prob)?seg(?:s|mentations?)?|labels?|labelmaps?|masks?|rois?|pred(?:s|ictions?)?|gt|(?:ground)?truth"
    r"|annotations?|contours?|delineations?"
)
_AFTER_MASK = r"\d+|(?:r|v|reader|rater|observer|expert|annotator)\d*|final|manual|auto|corrected|consensus|tr|ts|va"
_MASK_FOLDER = re.compile(rf"(?:{_MASK_WORDS})(?:[ _.-]?(?:tr|ts|va))?")
_MASK_FILE = re.compile(
    rf"(?:.*_)?(?:(?:{_MASK_WORDS}|wg|pz|tz|gland|lesions?)\d*(?:_(?:{_AFTER_MASK}))*|(?:reader|rater|observer)_?\d+)"
)
_WORD_END = re.compile(r"[\W_]+|(?<=[a-z0-9])(?=[A-Z])")


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


def suggests_mask(path: str | os.PathLike[str]) -> bool:
    """Return whether a name suggests a mask, drawn or predicted, and no image; of any layout, upper or lower case.

    The last words of the file's name decide, such as ``_seg``, ``_label``, ``_mask``, ``_roi``, ``_pred``,
    ``_seg_reader1``; so do the names of its folders, such as ``labelsTr`` and ``masks``.

    Args:
        path: relative to the folder that was searched, so that folders above it do not count.

    Example:
        >>> names = ["a_pred.nii.gz", "b/mask.nii.gz", "labelsTr/c.nii.gz", "t2_seg_reader1.mha", "t2.nii.gz"]
        >>> [suggests_mask(name) for name in names]
        [True, True, True, True, False]
    """
    words = _WORD_END.sub("_", stem_of(path)).strip("_").lower()
    if _MASK_FILE.fullmatch(words):
        return True
    return any(_MASK_FOLDER.fullmatch(part.lower()) for part in Path(path).parts[:-1])


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
