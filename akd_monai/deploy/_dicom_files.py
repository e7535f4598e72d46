# SPDX-License-Identifier: Apache-2.0
"""Find DICOM series below a folder: files are told by their content, series by their headers. pydicom is imported late."""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import logging
import os
import re
import warnings
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from akd_monai.data._searched import searched
from akd_monai.errors import InputError, one_line

__all__ = ["Found", "Series", "find_series", "is_dicom", "quiet_pydicom", "require_pydicom", "without_person"]

logger = logging.getLogger(__name__)

_SUFFIXES = (".dcm", ".ima")
_START = 132
_FIRST_GROUPS = (b"\x02\x00", b"\x08\x00")
_LAST_FIRST_ELEMENT = 0x20
_KINDS = frozenset(b"CS DA LO OB SH ST TM UI UL US".split())
_LONGEST_FIRST = 256
_DIRECTORY = "1.2.840.10008.1.3.10"
_TAGS = [
    "SOPClassUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "SeriesNumber",
    "SeriesDescription",
    "Modality",
    "ImageType",
    "NumberOfFrames",
    "Rows",
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "SpecificCharacterSet",
]
_LONGEST_DESCRIPTION = 64
_MOST_NAMES = 3
# what highdicom needs
_PYDICOM = 3


@dataclass(frozen=True)
class Series:
    """A DICOM series, as its headers describe it.

    Args:
        uid: SeriesInstanceUID.
        study_uid: StudyInstanceUID, which may be empty.
        number: SeriesNumber.
        description: SeriesDescription, in which the words of the patient's name, ID and birth date are replaced.
        modality: ``"MR"`` for MRI.
        image_type: the values of ImageType.
        slices: how many there are.
        is_image: whether its files hold pixels and are no segmentation.
        files: sorted by path.
        damaged: files beside them that could belong to it and cannot be read, with the reason.
    """

    uid: str
    study_uid: str
    number: int | None
    description: str
    modality: str
    image_type: tuple[str, ...]
    slices: int
    is_image: bool
    files: tuple[Path, ...]
    damaged: tuple[tuple[Path, str], ...] = ()

    @property
    def folder(self) -> Path:
        """The folder of its first file."""
        return self.files[0].parent

    @property
    def folders(self) -> set[Path]:
        """All folders in which it has files."""
        return {path.parent for path in self.files}

    def described(self, *, with_uid: bool) -> str:
        """Return number, description, modality and slices; the UID is for those who have to choose."""
        number = "without a number" if self.number is None else f"{self.number}"
        count = f"{self.slices} slice{'s' if self.slices > 1 else ''}"
        uid = f", UID {self.uid}" if with_uid else ""
        return f"{number} {self.description!r} ({self.modality or 'no modality'}, {count}{uid})"


@dataclass(frozen=True)
class Found:
    """What DICOM lies below a folder.

    Args:
        series: all series, by number.
        files: all files of these series, and damaged ones beside them.
    """

    series: tuple[Series, ...]
    files: frozenset[Path]


def is_dicom(path: Path) -> bool:
    """Return whether a file is DICOM by its content: the letters at byte 128, or a first element without them."""
    if not path.is_file():
        return False
    try:
        with path.open("rb") as stream:
            head = stream.read(_START)
    except OSError:
        return False
    return head[128:] == b"DICM" or _begins_with_element(head)


def _begins_with_element(head: bytes) -> bool:
    if head[:2] not in _FIRST_GROUPS or int.from_bytes(head[2:4], "little") > _LAST_FIRST_ELEMENT:
        return False
    is_implicit = len(head) > 8 and int.from_bytes(head[4:8], "little") <= _LONGEST_FIRST
    return head[4:6] in _KINDS or is_implicit


@contextlib.contextmanager
def quiet_pydicom() -> Iterator[None]:
    """Keep pydicom and highdicom from telling what is odd about a header: such messages quote its values."""
    loggers = [logging.getLogger(name) for name in ("pydicom", "highdicom")]
    before = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            for logger in loggers:
                logger.setLevel(logging.CRITICAL + 1)
            yield
        finally:
            for logger, level in zip(loggers, before, strict=True):
                logger.setLevel(level)


@quiet_pydicom()
def find_series(root: Path, output_dir: str | os.PathLike[str] | None) -> Found:
    """Return the series below a folder; the folder of the masks is not searched.

    A series whose files lie in several folders is one series. A file that may be a slice and cannot be read counts for all
    series of its folder, since nobody knows whose slice it was. Where a folder has no other slices, a warning names them.
    """
    members: dict[str, list[tuple[Path, Any]]] = defaultdict(list)
    damaged: dict[Path, list[tuple[Path, str]]] = defaultdict(list)
    for path in searched(root, output_dir):
        if is_dicom(path):
            header, problem = _header(path)
            if problem:
                damaged[path.parent].append((path, problem))
            elif header.get("SOPClassUID") != _DIRECTORY:
                members[str(header.SeriesInstanceUID)].append((path, header))
        elif path.is_file() and _may_be_slice(path):
            damaged[path.parent].append((path, "is no DICOM file by its content"))
    series = [_series(uid, entries, damaged) for uid, entries in members.items()]
    files = {path for one in series for path, _ in members[one.uid]}
    files |= {path for one in series for path, _ in one.damaged}
    _warn_of_lost(damaged, files)
    series.sort(key=lambda one: (one.folder, one.number is None, one.number or 0, one.uid))
    return Found(tuple(series), frozenset(files))


def _warn_of_lost(damaged: Mapping[Path, Sequence[tuple[Path, str]]], known: Collection[Path]) -> None:
    for folder, entries in damaged.items():
        # what has a suffix of DICOM is named with all other images that are not read
        lost = [path.name for path, _ in entries if path not in known and path.suffix.lower() not in _SUFFIXES]
        if lost:
            names = ", ".join(lost[:_MOST_NAMES])
            logger.warning("%s: not used: %d files that may be damaged slices, such as %s", folder, len(lost), names)


def _may_be_slice(path: Path) -> bool:
    suffix = path.suffix.lower()
    is_bare = not re.search("[a-z]", suffix)
    return suffix in _SUFFIXES or (is_bare and _is_cut_or_zeros(path))


def _is_cut_or_zeros(path: Path) -> bool:
    """Return whether a file is too short for DICOM, or was copied as zeros."""
    try:
        with path.open("rb") as stream:
            head = stream.read(_START)
    except OSError:
        return False
    return len(head) < _START or not any(head)


def _header(path: Path) -> tuple[Any, str]:
    """Return the fields of a header, and why it cannot be used."""
    require_pydicom()
    import pydicom

    try:
        header = pydicom.dcmread(path, force=True, stop_before_pixels=True, specific_tags=_TAGS)
        # values are decoded when they are first read
        values = [header.get(name) for name in _TAGS]
    except Exception as error:  # a damaged header ends in errors of many kinds
        return None, f"cannot be read ({type(error).__name__})"
    if header.get("SOPClassUID") == _DIRECTORY or header.get("SeriesInstanceUID"):
        return header, ""
    return None, "has no SeriesInstanceUID" if any(values) else "holds no DICOM header"


def _series(uid: str, entries: Sequence[tuple[Path, Any]], damaged: dict[Path, list[tuple[Path, str]]]) -> Series:
    first = entries[0][1]
    folders = sorted({path.parent for path, _ in entries})
    return Series(
        uid=uid,
        study_uid=str(first.get("StudyInstanceUID") or ""),
        number=_integer(first.get("SeriesNumber")),
        description=without_person(first.get("SeriesDescription") or "", first)[:_LONGEST_DESCRIPTION],
        modality=str(first.get("Modality") or ""),
        image_type=_words(first.get("ImageType")),
        slices=sum(_integer(header.get("NumberOfFrames")) or 1 for _, header in entries),
        is_image="Rows" in first and first.get("Modality") != "SEG",
        files=tuple(path for path, _ in entries),
        damaged=tuple(entry for folder in folders for entry in damaged.get(folder, ())),
    )


def _integer(value: Any) -> int | None:
    try:
        return int(value)
    except (TypeError, ValueError):
        return None


def _words(value: Any) -> tuple[str, ...]:
    if value is None or isinstance(value, str):
        return (value,) if value else ()
    return tuple(map(str, value))


def without_person(text: str, header: Any) -> str:
    """Return a line in which the words of the patient's name, ID and birth date are replaced by ``***``.

    Args:
        text: free text of a header, or a message of a library.
        header: the dataset of the patient.
    """
    line = one_line(str(text))
    name = re.split(r"[\s^=,]+", str(header.get("PatientName") or ""))
    for word in _longest_first(*name, str(header.get("PatientID") or ""), *_dates(header)):
        line = re.sub(_pattern(word), "***", line, flags=re.IGNORECASE)
    return line


def _longest_first(*words: str) -> Iterable[str]:
    return sorted(filter(None, words), key=len, reverse=True)


def _pattern(word: str) -> str:
    """Return what finds a word: one or two Latin letters only where they stand alone, for others hold them by chance."""
    escaped = re.escape(word)
    return rf"(?<!\w){escaped}(?!\w)" if word.isascii() and len(word) < 3 else escaped


def _dates(header: Any) -> Iterator[str]:
    """Yield the birth date as DICOM writes it, and as people do."""
    date = str(header.get("PatientBirthDate") or "")
    yield date
    if re.fullmatch(r"\d{8}", date):
        year, month, day = date[:4], date[4:6], date[6:]
        for mark in ".-/":
            yield mark.join((day, month, year))
            yield mark.join((year, month, day))
            yield mark.join((month, day, year))


def require_pydicom() -> None:
    """Raise ``InputError`` unless DICOM can be read and written."""
    for package in ("pydicom", "highdicom"):
        if importlib.util.find_spec(package) is None:
            what = f"DICOM needs {package}, which is not installed"
            raise InputError(what, remedy="pip install 'akd_monai[segment]'", code="no-package")
    version = importlib.metadata.version("pydicom")
    if int(version.split(".")[0]) < _PYDICOM:
        what = f"DICOM needs pydicom {_PYDICOM} or newer, and {version} is installed, as MONAI Label wants it"
        raise InputError(what, remedy="give segment an environment of its own", code="no-package")
