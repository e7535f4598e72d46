# SPDX-License-Identifier: Apache-2.0
"""Compare the lengths that a DICOM file states with its size, before a library allocates what they promise."""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from pathlib import Path

from akd_monai.data._streams import FileError

__all__ = ["check_lengths"]

_MAGIC = b"DICM"
_START = 132
_LONG_KINDS = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
_SHORT_KINDS = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())
_UNDEFINED = 0xFFFFFFFF
_META_GROUP = 0x0002
_SYNTAX = (0x0002, 0x0010)
_IMPLICIT = b"1.2.840.10008.1.2"
_BIG_ENDIAN = b"1.2.840.10008.1.2.2"
_DEFLATED = b"1.2.840.10008.1.2.1.99"
_PIXELS = (0x7FE0, 0x0010)
_DELIMITERS = 0xFFFE
_ITEM = (0xFFFE, 0xE000)

_Bytes = bytes | mmap.mmap


@dataclass(frozen=True)
class _Element:
    """Tag, kind, place and length of a value."""

    tag: tuple[int, int]
    kind: bytes
    start: int
    length: int

    @property
    def is_sequence(self) -> bool:
        """Whether its value is made of elements."""
        return self.kind == b"SQ" or self.tag[0] == _DELIMITERS

    @property
    def stop(self) -> int:
        """Where the next element is, if this one is complete; those of a sequence come one by one."""
        if self.length == _UNDEFINED or self.is_sequence:
            return self.start
        return self.start + self.length


def check_lengths(path: Path) -> None:
    """Refuse a file of which an element is longer than what is left of it.

    GDCM, which ITK reads with, allocates what an element states before it reads: up to 4 GB for eight damaged bytes.

    Raises:
        FileError: for such a file, and for a deflated one, whose lengths are known only after it is decompressed.
    """
    try:
        is_empty = path.stat().st_size == 0
        stream = path.open("rb")
    except OSError:
        # what cannot be opened is told by the library
        return
    with stream:
        if not is_empty:
            with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
                _check(data, path.name)


def _check(data: _Bytes, name: str) -> None:
    has_preamble = data[128:_START] == _MAGIC
    place = _START if has_preamble else 0
    syntax = b"" if has_preamble else _guessed(data)
    in_pixels = False
    while place + 8 <= len(data):
        element = _element(data, place, syntax)
        if element is None:
            return
        end = element.start + (0 if element.length == _UNDEFINED else element.length)
        if end > len(data):
            left = max(0, len(data) - element.start)
            what = f"is truncated or damaged: one of its elements states {element.length} bytes, {left} are left"
            raise FileError(what, remedy="copy the file again", where=name, code="unreadable")
        if element.tag == _SYNTAX:
            syntax = data[element.start : end].strip(b" \0")
            _check_syntax(syntax, name)
        in_pixels = in_pixels or element.tag == _PIXELS
        # the items of compressed pixels hold no elements
        place = end if in_pixels and element.tag == _ITEM else element.stop


def _check_syntax(syntax: bytes, name: str) -> None:
    if syntax == _DEFLATED:
        what = "is stored deflated, which no MRI scanner does"
        raise FileError(what, remedy="export it uncompressed", where=name, code="unreadable")


def _guessed(data: _Bytes) -> bytes:
    return b"explicit" if data[4:6] in _LONG_KINDS | _SHORT_KINDS else _IMPLICIT


def _element(data: _Bytes, place: int, syntax: bytes) -> _Element | None:
    """Return the element at ``place``; ``None`` if no complete one is left."""
    is_meta = int.from_bytes(data[place : place + 2], "little") == _META_GROUP
    order = ">" if syntax == _BIG_ENDIAN and not is_meta else "<"
    kind = data[place + 4 : place + 6]
    try:
        tag = struct.unpack_from(f"{order}HH", data, place)
        explicit = (is_meta or syntax != _IMPLICIT) and tag[0] != _DELIMITERS
        if explicit and kind in _SHORT_KINDS:
            return _Element(tag, kind, place + 8, *struct.unpack_from(f"{order}H", data, place + 6))
        if explicit and kind in _LONG_KINDS:
            return _Element(tag, kind, place + 12, *struct.unpack_from(f"{order}I", data, place + 8))
        # also what has no kind in a file where it should; readers take it for implicit, and so do sequences of kind UN
        return _Element(tag, b"", place + 8, *struct.unpack_from(f"{order}I", data, place + 4))
    except struct.error:
        return None
