# SPDX-License-Identifier: Apache-2.0
"""Read a few fields of a DICOM header without a library, so that series can be told apart before one is read.

A library that crashes on a damaged file would end the run, which has no process of its own for the listing of cases.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from akd_monai.prostate.prepare._sources.sequences import series_problem

__all__ = ["SeriesHeader", "read_header"]

# The fields that are needed stand in the first groups; private groups and pixels come after them.
_MOST_BYTES = 1 << 20
_START = 132
_LAST_TAG = (0x0020, 0x0037)
_IMPLICIT = "1.2.840.10008.1.2"
# Deflated and big-endian files, which need another reading; MRI scanners write neither.
_OTHER_SYNTAXES = ("1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2")
_LONG_KINDS = (b"OB", b"OW", b"OF", b"OD", b"OL", b"SQ", b"UC", b"UN", b"UR", b"UT")
_UNDEFINED = 0xFFFFFFFF
_ITEM = (0xFFFE, 0xE000)
_SEQUENCE_END = (0xFFFE, 0xE0DD)

_Tag = tuple[int, int]


@dataclass(frozen=True)
class SeriesHeader:
    """What the header of one DICOM file says of its series; empty where it says nothing that can be read.

    Args:
        modality: ``"MR"`` for MRI.
        description: SeriesDescription, which may hold anything and is stored nowhere.
        study_uid: StudyInstanceUID.
        series_uid: SeriesInstanceUID.
        orientation: direction of a row (3 numbers) and of a column (3), LPS.
    """

    modality: str = ""
    description: str = ""
    study_uid: str = ""
    series_uid: str = ""
    orientation: tuple[float, ...] = ()

    @property
    def problem(self) -> str:
        """Why this is no axial T2-weighted MRI, in words; empty where nothing speaks against it."""
        return series_problem(self.modality, self.description, self.orientation)


def read_header(path: Path) -> SeriesHeader:
    """Return what the header of a DICOM file says of its series, as far as it can be read; never raises for content."""
    try:
        with path.open("rb") as stream:
            data = stream.read(_MOST_BYTES)
    except OSError:
        return SeriesHeader()
    found = _fields(data)
    return SeriesHeader(
        modality=found.get((0x0008, 0x0060), ""),
        description=found.get((0x0008, 0x103E), ""),
        study_uid=found.get((0x0020, 0x000D), ""),
        series_uid=found.get((0x0020, 0x000E), ""),
        orientation=_numbers(found.get((0x0020, 0x0037), "")),
    )


def _numbers(text: str) -> tuple[float, ...]:
    try:
        numbers = tuple(float(part) for part in text.split("\\"))
    except ValueError:
        return ()
    return numbers if np.isfinite(numbers).all() else ()


def _fields(data: bytes) -> dict[_Tag, str]:
    """Return the fields up to ImageOrientationPatient that stand in no sequence, as text."""
    found: dict[_Tag, str] = {}
    if data[128:_START] != b"DICM":
        return found
    place = _START
    depth = 0
    while place + 8 <= len(data):
        group = int.from_bytes(data[place : place + 2], "little")
        syntax = found.get((0x0002, 0x0010), "")
        if group != 2 and syntax in _OTHER_SYNTAXES:
            return found
        element = _element(data, place, implicit=group != 2 and syntax == _IMPLICIT)
        if element is None or (depth == 0 and element.tag > _LAST_TAG):
            return found
        if element.tag == _SEQUENCE_END:
            depth -= 1
        elif element.length == _UNDEFINED:
            # The parts of an open sequence are passed one by one; of an item nothing but its own end must be known.
            depth += element.tag != _ITEM
        else:
            if depth == 0:
                value = data[element.start : element.start + element.length]
                found[element.tag] = value.decode("latin-1").strip(" \0")
            place = element.start + element.length
            continue
        place = element.start
    return found


@dataclass(frozen=True)
class _Element:
    tag: _Tag
    start: int
    length: int


def _element(data: bytes, place: int, *, implicit: bool) -> _Element | None:
    """Return tag, place and length of the value of the element at ``place``; ``None`` for the end of the bytes."""
    try:
        tag = struct.unpack_from("<HH", data, place)
        kind = data[place + 4 : place + 6]
        if implicit or tag[0] == _ITEM[0]:
            return _Element(tag, place + 8, *struct.unpack_from("<I", data, place + 4))
        if kind in _LONG_KINDS:
            return _Element(tag, place + 12, *struct.unpack_from("<I", data, place + 8))
        return _Element(tag, place + 8, *struct.unpack_from("<H", data, place + 6))
    except struct.error:
        return None
