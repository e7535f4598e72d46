# SPDX-License-Identifier: Apache-2.0
"""Volume files that are damaged."""

from __future__ import annotations

import gzip

import numpy as np
import pytest
from prepare_tools import LPS, grey, save

from akd_monai.prostate.prepare._sources.base import CaseError
from akd_monai.prostate.prepare._sources.files import read_volume


def test_damaged_nrrd_is_refused_although_its_library_reads_it(tmp_path):
    values = grey(shape=(20, 20, 20))
    header = (
        b"NRRD0004\ntype: short\ndimension: 3\nspace: left-posterior-superior\nsizes: 20 20 20\n"
        b"space directions: (1,0,0) (0,1,0) (0,0,3)\nendian: little\nencoding: gzip\nspace origin: (0,0,0)\n\n"
    )
    data = gzip.compress(values.tobytes(order="F"))
    path = tmp_path / "a.nrrd"
    path.write_bytes(header + data)
    np.testing.assert_array_equal(read_volume(path).array, values)
    broken = bytearray(data)
    broken[len(data) // 2] ^= 1
    path.write_bytes(header + bytes(broken))
    with pytest.raises(CaseError, match=r"a\.nrrd: the gzip stream is damaged"):
        read_volume(path)
    path.write_bytes(header + data[:-30])
    with pytest.raises(CaseError, match=r"a\.nrrd: the gzip stream ends too early"):
        read_volume(path)


@pytest.mark.parametrize(
    ("content", "code", "message"),
    [
        (b"", "empty-file", r"a\.nii\.gz: the file has 0 bytes; copy or download the file again\."),
        (b"<html>", "not-an-image", r"a\.nii\.gz: is no NIfTI file \(.*\); replace the file\."),
        (None, "missing-file", r"a\.nii\.gz: cannot be opened \(No such file or directory\); check .*\."),
    ],
)
def test_nifti_faults_name_the_file_without_its_folder(tmp_path, content, code, message):
    path = tmp_path / "DOE_JOHN" / "a.nii.gz"
    path.parent.mkdir()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CaseError, match=f"^{message}$") as caught:
        read_volume(path)
    assert (caught.value.where, caught.value.code) == ("a.nii.gz", code)


def test_a_volume_of_two_axes_and_a_file_of_no_geometry_are_named(tmp_path):
    save(tmp_path / "flat.nii.gz", np.zeros((4, 4), dtype=np.int16))
    with pytest.raises(CaseError, match=r"^flat\.nii\.gz: has shape \[4, 4\], expected three axes; ex"):
        read_volume(tmp_path / "flat.nii.gz")
    flat = LPS.copy()
    flat[:3, 1] = flat[:3, 0]
    save(tmp_path / "bent.nii.gz", grey(), flat)
    with pytest.raises(
        CaseError, match=r"^bent\.nii\.gz: the affine is singular: two of its axes are parallel; export"
    ):
        read_volume(tmp_path / "bent.nii.gz")
