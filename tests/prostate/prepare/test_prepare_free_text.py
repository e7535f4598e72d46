# SPDX-License-Identifier: Apache-2.0
"""Free text in any tag of a DICOM header is written nowhere, whatever the tag is meant for."""

from __future__ import annotations

import re
import struct

import dicom_files as dcm
import nibabel as nib
import numpy as np
import pytest
from test_prepare_privacy import everything_written

from akd_monai.prostate import prepare_dataset, verify_dataset

TAGS = {
    (0x08, 0x0050): "SH",
    (0x08, 0x0080): "LO",
    (0x08, 0x0081): "ST",
    (0x08, 0x0090): "PN",
    (0x08, 0x0092): "ST",
    (0x08, 0x0094): "SH",
    (0x08, 0x1010): "SH",
    (0x08, 0x1030): "LO",
    (0x08, 0x1040): "LO",
    (0x08, 0x1048): "PN",
    (0x08, 0x1050): "PN",
    (0x08, 0x1060): "PN",
    (0x08, 0x1070): "PN",
    (0x08, 0x1080): "LO",
    (0x08, 0x1090): "LO",
    (0x08, 0x2111): "ST",
    (0x09, 0x0010): "LO",
    (0x09, 0x1001): "LO",
    (0x10, 0x0021): "LO",
    (0x10, 0x1000): "LO",
    (0x10, 0x1001): "PN",
    (0x10, 0x1005): "PN",
    (0x10, 0x1040): "LO",
    (0x10, 0x2000): "LO",
    (0x10, 0x2154): "SH",
    (0x10, 0x2160): "SH",
    (0x10, 0x2180): "SH",
    (0x10, 0x21B0): "LT",
    (0x10, 0x4000): "LT",
    (0x18, 0x0010): "LO",
    (0x18, 0x0015): "CS",
    (0x18, 0x0024): "SH",
    (0x18, 0x1000): "LO",
    (0x18, 0x1020): "LO",
    (0x18, 0x1030): "LO",
    (0x18, 0x1251): "SH",
    (0x20, 0x0010): "SH",
    (0x20, 0x4000): "LT",
    (0x28, 0x1055): "LO",
    (0x32, 0x1060): "LO",
    (0x32, 0x4000): "LT",
    (0x40, 0x0253): "SH",
    (0x40, 0x0254): "LO",
    (0x40, 0x1400): "LT",
    (0x40, 0xA160): "LO",
}
START = re.compile(rb"\x08\x00\x16\x00UI")


def with_texts(data: bytes, texts: dict[tuple[int, int], bytes]) -> bytes:
    """Return a DICOM file with further elements, in ascending order of their tags."""
    start = START.search(data).start()
    head, rest = data[:start], data[start:]
    elements = {}
    while rest:
        group, number, kind, length = struct.unpack("<HH2sH", rest[:8])
        end = 12 + struct.unpack("<I", rest[8:12])[0] if kind in (b"OB", b"OW") else 8 + length
        elements[group, number] = rest[:end]
        rest = rest[end:]
    for (group, number), text in texts.items():
        elements[group, number] = dcm.element(group, number, TAGS[group, number], text)
    return head + b"".join(elements[tag] for tag in sorted(elements))


@pytest.mark.fault(
    "Privacy",
    "free text in DICOM headers",
    injected="a canary in each of 45 tags, three sources",
    outcome="in no byte that is written or logged",
)
@pytest.mark.parametrize("source", ["folder", "i2cvb", "nci-isbi-2013"])
def test_no_free_text_of_forty_tags_is_written(tmp_path, caplog, source):
    caplog.set_level("DEBUG")
    place = {"folder": "a/scan", "i2cvb": "Siemens/Patient 1/T2W", "nci-isbi-2013": "Prostate3T-01-0001/x"}[source]
    dcm.write_series(tmp_path / "raw" / place, dcm.grey())
    texts = {tag: f"Q{number:02}XYLANDER".encode() for number, tag in enumerate(TAGS)}
    for path in (tmp_path / "raw" / place).glob("*.dcm"):
        path.write_bytes(with_texts(path.read_bytes(), texts))
    result = prepare_dataset(source, tmp_path / "raw", tmp_path / "out", workers=0, progress=False)
    assert len(result.done) == 1
    verify_dataset(tmp_path / "out", output_dir=tmp_path / "report", workers=0, progress=False)
    written = everything_written(tmp_path / "out", tmp_path / "report") + caplog.text.encode() + str(result).encode()
    assert {text for text in texts.values() if text in written} == set()
    # the file was read, not refused for its texts
    (image,) = [p for p in (tmp_path / "out").rglob("*.nii.gz") if "segmentation" not in p.name]
    np.testing.assert_array_equal(np.sort(nib.load(image).get_fdata(), axis=None), np.sort(dcm.grey(), axis=None))
