# SPDX-License-Identifier: Apache-2.0
"""Which DICOM series to segment: the only one that fits, or the one that was chosen."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from akd_monai.data._modality import modality_of
from akd_monai.deploy._dicom_files import Series
from akd_monai.errors import InputError

__all__ = ["Choice", "chosen_series", "wrong_modality"]

logger = logging.getLogger(__name__)

_KNOWN_TYPES = {"LOCALIZER": "a localiser", "SECONDARY": "no original image (ImageType SECONDARY)"}


@dataclass(frozen=True)
class Choice:
    """The series of one study or folder.

    Args:
        folder: where it lies.
        series: the one to segment.
        error: why there is none.
        has_neighbours: whether other images lie in its folder, so that the folder's name does not tell which it is.
    """

    folder: Path
    series: Series | None = None
    error: InputError | None = None
    has_neighbours: bool = False


def chosen_series(found: Sequence[Series], wanted: str | None, modality: str) -> list[Choice]:
    """Return a choice for each study; series that share a folder are alternatives as well.

    Without ``wanted`` the one series is taken that is an image of the modality, no localiser and no screenshot. If several
    are, one must be named.

    Args:
        found: all series.
        wanted: number or UID of the one to take.
        modality: of the images that the model was trained on; empty if it does not say.

    Raises:
        InputError: if ``wanted`` is the UID of no series.
    """
    groups = _alternatives(found)
    if wanted is not None and not wanted.isdecimal():
        groups = [group for group in groups if wanted in {one.uid for one in group}]
        if not groups:
            what = f"no series has the number or UID {wanted!r}: {_listed(found)}"
            raise InputError(what, remedy="give --series a number or a UID of these", code="no-series")
    choices = []
    for group in groups:
        images = [one for one in group if one.is_image]
        if images or wanted is not None:
            choices.append(_choice(group, images, wanted, modality))
        else:
            logger.warning("not used: %s", _listed(group, modality))
    return choices


def _alternatives(found: Sequence[Series]) -> list[list[Series]]:
    groups: list[list[Series]] = []
    for one in found:
        same = [group for group in groups if any(_belong_together(one, other) for other in group)]
        groups = [group for group in groups if group not in same]
        groups.append([*(other for group in same for other in group), one])
    return groups


def _belong_together(one: Series, other: Series) -> bool:
    return bool(one.folders & other.folders) or (one.study_uid != "" and one.study_uid == other.study_uid)


def _choice(group: Sequence[Series], images: Sequence[Series], wanted: str | None, modality: str) -> Choice:
    folder = Path(os.path.commonpath([one.folder for one in group]))
    if wanted is not None:
        left = [one for one in images if wanted == one.uid or (wanted.isdecimal() and int(wanted) == one.number)]
    else:
        left = [one for one in images if not _why_not(one, modality)]
    if len(left) != 1:
        return Choice(folder, error=_no_choice(folder, group, left, wanted, modality))
    (series,) = left
    others = [one for one in group if one is not series]
    if wanted is None and others:
        logger.warning("%s: not used: %s", folder, _listed(others, modality))
    near = any(one.folders & series.folders for one in images if one is not series)
    return Choice(series.folder, series, has_neighbours=near)


def _no_choice(
    folder: Path, group: Sequence[Series], left: Sequence[Series], wanted: str | None, modality: str
) -> InputError:
    remedy = "choose one with --series NUMBER, or its UID"
    if wanted is not None:
        what = f"{len(left) or 'no'} series {'have' if len(left) > 1 else 'has'} the number {wanted}: {_listed(group)}"
        return InputError(what, where=str(folder), remedy="give --series one of the UIDs", code="no-series")
    if left:
        what = f"{len(left)} series could be meant: {_listed(left)}"
        return InputError(what, where=str(folder), remedy=remedy, code="several-series")
    what = f"holds no series to segment: {_listed(group, modality)}"
    return InputError(what, where=str(folder), remedy="give another series", code="no-series")


def _listed(series: Sequence[Series], modality: str | None = None) -> str:
    """Return series to choose from or, if the modality of the model is given, why each is not used."""
    common = os.path.commonpath([one.folder for one in series])
    return "; ".join(_described(one, common, modality) for one in series)


def _described(one: Series, common: str, modality: str | None) -> str:
    below = os.path.relpath(one.folder, common)
    place = "" if below == "." else f" in {below}"
    if modality is None:
        return f"{one.described(with_uid=True)}{place}"
    return f"{one.described(with_uid=False)}{place} is {_why_not(one, modality) or 'another one'}"


def _why_not(one: Series, modality: str) -> str:
    """Return why a series is not what the model was trained on, in words; empty if nothing says so."""
    return next(_reasons(one, modality), "")


def _reasons(one: Series, modality: str) -> Iterator[str]:
    if not one.is_image:
        yield "no image"
    for word, why in _KNOWN_TYPES.items():
        if word in one.image_type:
            yield why
    wrong = wrong_modality(one, modality)
    if wrong:
        yield wrong


def wrong_modality(one: Series, modality: str) -> str:
    """Return what is wrong with the modality of a series, in words.

    Args:
        one: the series.
        modality: as the metadata of the model's bundle name it, such as ``"MR"``.
    """
    wanted = modality_of(modality)
    if not wanted or modality_of(one.modality) == wanted:
        return ""
    return f"{one.modality or 'of no modality'}, and the model was trained on {modality} (by its metadata)"
