# SPDX-License-Identifier: Apache-2.0
"""What the names in a hospital's own folder say: image, mask of the gland, something else; and of which case.

The names of images make the identity of a case, which prepared folders keep, so :func:`case_name` must not change for them.
"""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

from akd_monai.names import stem_of
from akd_monai.prostate.prepare._sources.sequences import is_other_folder, other_sequence, words_of

__all__ = ["bare_name", "case_name", "in_label_folder", "is_label", "why_skipped"]

_LABEL_END = re.compile(
    r"(?:(?P<case>.+?)[ _.-])?(?:segmentation|seg|label|labels|labelmap|mask|gland|prostate|gt|truth)", re.IGNORECASE
)
# Words that only masks are called by, wherever they stand, with a number or without. At the end of a name, prostate and
# gland are masks as well, but prostate_01 is an image.
_LABEL_WORD = re.compile(
    r"(?:\w*segmentations?|segm?|labels?|\w*labelmap|\w*masks?|rois?|wg|wholegland|contours?|annotations?|anatomy"
    r"|delineations?|readers?|raters?|observers?|gt|groundtruth|truth|zones)\d*"
)
_OTHER_STRUCTURE = re.compile(
    r"(?:lesions?|tumou?rs?|cspca|cancer|pz|tz|cz|cg|afs|urethra|rectum|bladder|sv|vesicles?)\d*"
)
_PREDICTION = re.compile(r"preds?|predictions?|predicted")
# What may stand between the name of a case and the word for its mask.
_LABEL_ATTRIBUTE = re.compile(r"prostate|gland|whole|manual|expert")

_LABEL_FOLDER = re.compile(
    r"(?:label|mask|seg|segmentation|gt|truth|ground_?truth|annotation|(?:anatomical_)?delineation|roi|contour)s?"
    r"(?:tr|ts|val|train|test|\d*)(?:[ _.-].*)?",
    re.IGNORECASE,
)
_IMAGE_FOLDER = re.compile(r"(?:image|img)\w*", re.IGNORECASE)
_IMAGE_NAME = re.compile(r"(?:image|img|t2|t2w|t2_tse|scan|volume|mri)", re.IGNORECASE)
_IMAGE_START = re.compile(r"(?:image|img|t2|t2w|scan|volume|mri)[ _.-]", re.IGNORECASE)
_IMAGE_END = re.compile(r"[ _.-](?:image|img|t2|t2w|0000)$", re.IGNORECASE)


def is_label(relative: Path) -> bool:
    """Return whether a file is a mask by its name, or by the name of a folder it lies in.

    Example:
        >>> [is_label(Path(name)) for name in ("a_WG.nii", "t2_seg_reader1.nii", "labelsTr/a.nii", "prostate_01.nii")]
        [True, True, True, False]
    """
    stem = stem_of(relative)
    return bool(_LABEL_END.fullmatch(stem)) or _has_label_word(stem) or in_label_folder(relative)


def _has_label_word(name: str) -> bool:
    return any(_LABEL_WORD.fullmatch(word) for word in words_of(name))


def in_label_folder(relative: Path) -> bool:
    """Return whether a file lies in a folder of masks, such as ``labelsTr``."""
    return any(_LABEL_FOLDER.fullmatch(part) for part in relative.parts[:-1])


def why_skipped(relative: Path, *, is_folder: bool = False) -> str:
    """Return why a volume, or a folder of DICOM files, is neither image nor mask by its names; empty if it may be one.

    Example:
        >>> why_skipped(Path("a_adc.nii.gz")), why_skipped(Path("a_lesion_mask.nii.gz")), why_skipped(Path("a/t2.nii.gz"))
        ('by its name no axial T2-weighted volume (ADC)', 'by its name a mask of something else than the gland', '')
    """
    if is_folder:
        return _why_folder_skipped(relative)
    stem = stem_of(relative)
    words = words_of(stem)
    if words and _PREDICTION.fullmatch(words[-1]):
        return "by its name a prediction, no mask drawn by an expert"
    labelled = is_label(relative)
    alone = len(words) == 1 and len(relative.parts) == 1
    if _is_other_structure(words, labelled) and not (alone and not labelled):
        return "by its name a mask of something else than the gland"
    # Numbers such as b12 count less for a mask, as they do in the name of a T2-weighted volume.
    kind = other_sequence(f"t2 {stem}" if labelled else stem) or _sequence_of_folders(relative.parts[:-1])
    return f"by its name no axial T2-weighted volume ({kind})" if kind else ""


def _why_folder_skipped(relative: Path) -> str:
    if _has_label_word(relative.name) or in_label_folder(relative / "files"):
        return "by its name a mask as DICOM files, which is not read; convert it to NIfTI"
    kind = other_sequence(relative.name) or _sequence_of_folders(relative.parts[:-1])
    return f"by its name no axial T2-weighted series ({kind})" if kind else ""


def _is_other_structure(words: list[str], labelled: bool) -> bool:
    found = [word for word in words if _OTHER_STRUCTURE.fullmatch(word)]
    # A tumour may also be in the name of an image.
    return bool(found) and (labelled or words[-1] in found)


def _sequence_of_folders(folders: tuple[str, ...]) -> str:
    # The first folder may be called like a patient, so nothing but the name of a sequence counts there.
    for depth, folder in enumerate(folders):
        if depth or is_other_folder(folder):
            kind = other_sequence(folder)
            if kind:
                return kind
    return ""


def case_name(relative: Path, *, is_folder: bool = False) -> str:
    """Return what image and mask of one case have in common: folders without ``images``/``labels``, and the stem.

    Example:
        >>> case_name(Path("images/a.nii.gz")) == case_name(Path("labels/a_seg.nii.gz")) == "a"
        True
        >>> case_name(Path("a/t2.nii.gz")) == case_name(Path("a/t2_anatomy_reader1.nii.gz")) == "a"
        True
    """
    # macOS writes an accent as a sign of its own: the same name, in other bytes
    relative = Path(unicodedata.normalize("NFC", str(relative)))
    folders = [part for part in relative.parts[:-1] if not _LABEL_FOLDER.fullmatch(part) and not _is_images(part)]
    if is_folder:
        return "/".join([*folders, relative.name])
    stem = _without_label(stem_of(relative))
    if _IMAGE_NAME.fullmatch(stem):
        stem = ""
    stem = _IMAGE_END.sub("", stem)
    return "/".join([*folders, stem]) if stem else "/".join(folders)


def _is_images(part: str) -> bool:
    return bool(_IMAGE_FOLDER.fullmatch(part))


def _without_label(stem: str) -> str:
    """Return the part of a stem before the word for its mask; what follows a leading word is the case."""
    end = _LABEL_END.fullmatch(stem)
    if end:
        stem = end["case"] or ""
    words = list(re.finditer(r"[^\W_]+", stem))
    first = next((n for n, word in enumerate(words) if _LABEL_WORD.fullmatch(word[0].lower())), None)
    if first is None:
        return stem
    if first == 0:
        return stem[words[1].start() :] if len(words) > 1 else ""
    return stem[: words[first - 1].end()]


def bare_name(name: str) -> str:
    """Return the name of a case without words that stand in the name of its image or its mask alone.

    Example:
        >>> bare_name("a/img_01"), bare_name("a/01_prostate")
        ('a/01', 'a/01')
    """
    folder, separator, stem = name.rpartition("/")
    stem = _IMAGE_START.sub("", stem)
    words = list(re.finditer(r"[^\W_]+", stem))
    while len(words) > 1 and _LABEL_ATTRIBUTE.fullmatch(words[-1][0].lower()):
        words.pop()
    stem = stem[: words[-1].end()] if words else stem
    return f"{folder}{separator}{stem}".lower()
