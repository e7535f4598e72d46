# SPDX-License-Identifier: Apache-2.0
"""Tell which volumes are no axial T2-weighted ones: by names of files and folders, and by headers of series."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

__all__ = ["is_other_folder", "other_sequence", "says_t2", "series_problem", "words_of"]

# What decides whatever else a name says: coronal and sagittal series are T2-weighted as well, and so is diffusion.
_NEVER_AXIAL_T2 = {
    "ADC": r"\w*adc",
    "diffusion": r"dwi\w*|diff|diffusion|\w*ep2d\w*|hbv|\w*bval\w*|tracew?",
    "perfusion": r"dce\w*|perf|perfusion|ktrans|tfl\w*",
    "spectroscopy": r"csi|mrsi|spectroscopy",
    "coronal": r"(?:t2\w*)?cor|coronal",
    "sagittal": r"(?:t2\w*)?sag|sagittal",
    "localizer": r"loc|locali[sz]er|scout|survey",
}
# b1000 and t1 are also numbers of patients and of visits, so they count only where nothing says T2.
_NOT_T2 = {"T1": r"t1[a-z]*", "diffusion": r"b\d{2,4}"}

# Cosine of the largest tilt of an axial series against the body's long axis, about 45 degrees.
_AXIAL = 0.7


def words_of(text: str) -> list[str]:
    """Return the words of a name in lower case: runs of letters and digits.

    Example:
        >>> words_of("ep2d_diff-b50.TRACEW")
        ['ep2d', 'diff', 'b50', 'tracew']
    """
    return re.findall(r"[^\W_]+", text.lower())


def says_t2(text: str) -> bool:
    """Return whether a name or description says T2.

    Example:
        >>> says_t2("t2tsetra"), says_t2("patient12")
        (True, False)
    """
    return any(word.startswith("t2") for word in words_of(text))


def other_sequence(text: str) -> str:
    """Return what other sequence or plane a name or description tells of, or an empty string; never a part of the text.

    Example:
        >>> other_sequence("ep2d_diff_ADC"), other_sequence("t2_tse_sag"), other_sequence("t2_tse_tra_320")
        ('diffusion', 'sagittal', '')
    """
    kinds = [_kind(word, _NEVER_AXIAL_T2) for word in words_of(text)]
    if not says_t2(text):
        kinds += [_kind(word, _NOT_T2) for word in words_of(text)]
    return next((kind for kind in kinds if kind), "")


def _kind(word: str, patterns: dict[str, str]) -> str:
    return next((kind for kind, pattern in patterns.items() if re.fullmatch(pattern, word)), "")


def is_other_folder(name: str) -> bool:
    """Return whether a folder is called by another sequence and nothing else, so that it names no patient.

    Example:
        >>> is_other_folder("ADC"), is_other_folder("adc van dyke")
        (True, False)
    """
    words = words_of(name)
    return bool(words) and all(_kind(word, _NEVER_AXIAL_T2) or _kind(word, _NOT_T2) for word in words)


def series_problem(modality: str, description: str, orientation: Sequence[float]) -> str:
    """Return why a series is no axial T2-weighted MRI by its header, in words; empty where nothing speaks against it.

    Args:
        modality: ``"MR"`` for MRI, empty where it is not known.
        description: SeriesDescription.
        orientation: direction of a row (3 numbers) and of a column (3), LPS; empty or NaN where it is not known.

    Example:
        >>> series_problem("MR", "t2_tse_tra", (1, 0, 0, 0, 0, -1))
        'by its header not axial'
    """
    if modality not in ("MR", ""):
        return "by its header no MRI"
    kind = other_sequence(description)
    if kind:
        return f"by its header another sequence or plane ({kind})"
    if len(orientation) == 6 and abs(np.cross(orientation[:3], orientation[3:])[2]) <= _AXIAL:
        return "by its header not axial"
    return ""
