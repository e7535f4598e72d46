# SPDX-License-Identifier: Apache-2.0
"""Each fault is planted into a good synthetic data set, and must be found, alone, in its case and file."""

from __future__ import annotations

import gzip

import nibabel as nib
import numpy as np
import pytest
from verify_tools import (
    CASES,
    ERROR,
    FAULTS,
    IMAGE,
    LPS,
    MASK,
    check,
    codes,
    save,
)


def test_a_good_set_has_no_finding(folder):
    report = check(folder, output_dir=folder.parent / "report")
    assert report.findings == []
    assert report.exit_code == 0
    assert [case["case"] for case in report.cases] == list(CASES)
    assert report.cases[0]["size"] == "60x60x14"
    assert report.cases[0]["gland_slices"] == 11
    assert not (folder.parent / "report/pictures").exists()


@pytest.mark.fault(
    "Preparing and verifying data",
    "a fault in a prepared set",
    injected="each of 63 faults in a good set",
    outcome="found alone, with case, file and remedy",
)
@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_found_alone_with_case_file_and_remedy(folder, fault):
    spoil, code, severity, words = FAULTS[fault]
    spoil(folder)
    report = check(folder)
    named = [finding for finding in report.findings if finding.code == code]
    assert codes(report)[:1] == [("HK/Case14", code, severity)], str(report)
    others = {finding.code for finding in report.findings} - {code}
    # A single slice of a gland is small, too.
    assert others <= ({"gland-volume"} if fault == "one slice" else set()), str(report)
    assert all(finding.case == "HK/Case14" for finding in report.findings)
    assert words in named[0].message
    assert named[0].remedy
    assert "\n" not in str(named[0])
    assert named[0].file.startswith("HK/Case14")
    assert report.exit_code == (2 if severity == ERROR else 0)


def test_what_is_unusual_but_right_is_no_finding(folder):
    image, mask = (np.asanyarray(nib.load(folder / name).dataobj) for name in (IMAGE, MASK))
    # Axes in another order, with the affine that says so; one frame in a fourth axis; a mask of another integer type.
    other = np.stack([LPS[:, 2], LPS[:, 0], LPS[:, 1], LPS[:, 3]], axis=1)
    save(folder / IMAGE, image.transpose(2, 0, 1)[..., None], other)
    save(folder / MASK, mask.transpose(2, 0, 1).astype(np.int16), other)
    (folder / "UCL/notes.txt").write_text("kept")
    (folder / "UCL/._Case25.nii.gz").write_bytes(b"macOS")
    (folder / "UCL/Case25_segmentation.nii.gz").rename(folder / "UCL/Case25_Segmentation.nii.gz")
    (folder / "HK/Case13.nii").write_bytes(gzip.decompress((folder / "HK/Case13.nii.gz").read_bytes()))
    (folder / "HK/Case13.nii.gz").unlink()
    assert str(check(folder)) == "3 cases: 0 errors, 0 warnings"
