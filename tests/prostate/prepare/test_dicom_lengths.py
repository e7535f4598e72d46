# SPDX-License-Identifier: Apache-2.0
"""A DICOM file that promises more bytes than it holds is refused before a library allocates them; others pass."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from prostate.prepare.dicom_files import UID, dicom, element

from akd_monai.data._dicom_lengths import check_lengths
from akd_monai.data._streams import FileError
from akd_monai.prostate.prepare._sources.base import CaseError
from akd_monai.prostate.prepare._sources.dicom_slice import read_slice

PIXELS = np.arange(12).reshape(3, 4)
IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
BIG = "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
UNDEFINED = 0xFFFFFFFF


def head(syntax: str) -> bytes:
    return b"\0" * 128 + b"DICM" + element(2, 0x10, "UI", syntax.encode())


def implicit(group: int, number: int, value: bytes, length: int | None = None) -> bytes:
    return struct.pack("<HHI", group, number, len(value) if length is None else length) + value


def sequence(content: bytes, kind: bytes = b"SQ") -> bytes:
    """Return an open sequence of one open item."""
    item = implicit(0xFFFE, 0xE000, content, UNDEFINED) + implicit(0xFFFE, 0xE00D, b"")
    return struct.pack("<HH2sHI", 8, 0x1140, kind, 0, UNDEFINED) + item + implicit(0xFFFE, 0xE0DD, b"")


def checked(path, data: bytes) -> None:
    path.write_bytes(data)
    check_lengths(path)


def test_an_undamaged_slice_is_read(tmp_path):
    checked(tmp_path / "a.dcm", dicom(PIXELS, position=(0, 0, 0)))
    np.testing.assert_array_equal(read_slice(tmp_path / "a.dcm").pixels, PIXELS)


MODALITY = element(8, 0x60, "CS", b"MR")
ITEM = implicit(0xFFFE, 0xE000, MODALITY)
OPEN = struct.pack("<HH2sHI", 8, 0x1140, b"SQ", 0, UNDEFINED)
VALID = {
    "empty": b"",
    "shorter than a header": b"DICM",
    "implicit": head(IMPLICIT) + implicit(8, 0x60, b"MR") + implicit(0x28, 0x10, b"\4\0"),
    "without preamble": implicit(8, 0x60, b"MR") + implicit(0x28, 0x10, b"\4\0"),
    "big endian": head(BIG) + struct.pack(">HH2sH", 0x28, 0x10, b"US", 2) + b"\0\4",
    "open sequence": head(EXPLICIT) + sequence(element(8, 0x1150, "UI", UID.encode())) + MODALITY,
    "closed sequence": head(EXPLICIT) + struct.pack("<HH2sHI", 8, 0x1140, b"SQ", 0, len(ITEM)) + ITEM,
    "open sequence of no kind": head(EXPLICIT) + sequence(implicit(8, 0x1150, UID.encode()), b"UN"),
    "compressed pixels": head(EXPLICIT)
    + struct.pack("<HH2sHI", 0x7FE0, 0x10, b"OB", 0, UNDEFINED)
    + implicit(0xFFFE, 0xE000, b"")
    + implicit(0xFFFE, 0xE000, b"\xff" * 64)
    + implicit(0xFFFE, 0xE0DD, b""),
    "padding": head(EXPLICIT) + MODALITY + bytes(100),
}


@pytest.mark.parametrize("name", VALID)
def test_what_is_complete_passes(tmp_path, name):
    checked(tmp_path / "a.dcm", VALID[name])


HUGE = struct.pack("<I", 0xE0000000)
DAMAGED = {
    "long kind": head(EXPLICIT) + struct.pack("<HH2sH", 0x7FE0, 0x10, b"OW", 0) + HUGE,
    "short kind": head(EXPLICIT) + struct.pack("<HH2sH", 0x28, 0x10, b"US", 60_000),
    "no kind": head(EXPLICIT) + struct.pack("<HH", 0x9D61, 0xA4D6) + HUGE,
    "implicit": head(IMPLICIT) + struct.pack("<HH", 0x28, 0x10) + HUGE,
    "big endian": head(BIG) + struct.pack(">HH2sHI", 0x7FE0, 0x10, b"OW", 0, 0xE0000000),
    "inside an open sequence": head(EXPLICIT) + sequence(struct.pack("<HH2sH", 8, 0x1150, b"UN", 0) + HUGE),
    "an item": head(EXPLICIT) + OPEN + struct.pack("<HH", 0xFFFE, 0xE000) + HUGE,
    "before the syntax": b"\0" * 128 + b"DICM" + struct.pack("<HH2sH", 2, 1, b"OB", 0) + HUGE,
    "without preamble": struct.pack("<HH", 8, 0x60) + HUGE,
}


@pytest.mark.fault(
    "Preparing and verifying data",
    "a DICOM file promises more than it holds",
    injected="lengths of 3.7 GB in nine kinds of elements",
    outcome="refused by name before anything is allocated",
)
@pytest.mark.parametrize("name", DAMAGED)
def test_a_length_beyond_the_file_is_refused_before_itk_sees_it(tmp_path, name, monkeypatch):
    path = tmp_path / "a.dcm"
    path.write_bytes(DAMAGED[name])
    monkeypatch.setattr("itk.GDCMImageIO", None)
    with pytest.raises(CaseError, match=r"^a\.dcm: is truncated or damaged: .* states \d+ bytes, \d+ are left; copy"):
        read_slice(path)


def test_a_deflated_file_is_refused(tmp_path):
    with pytest.raises(FileError, match=r"is stored deflated, .* export it uncompressed"):
        checked(tmp_path / "a.dcm", head(DEFLATED) + b"\x78\x9c")


def test_a_missing_file_is_left_to_the_library(tmp_path):
    check_lengths(tmp_path / "missing.dcm")


def test_inverted_grey_values_are_refused(tmp_path):
    data = dicom(PIXELS, position=(0, 0, 0)).replace(b"MONOCHROME2", b"MONOCHROME1")
    (tmp_path / "a.dcm").write_bytes(data)
    with pytest.raises(CaseError, match=r"^a\.dcm: holds inverted grey values \(MONOCHROME1\)"):
        read_slice(tmp_path / "a.dcm")
