# SPDX-License-Identifier: Apache-2.0
"""NIfTI files: read to their last byte, written without any text and with the same bytes each time."""

from __future__ import annotations

import gzip
import hashlib

import nibabel as nib
import numpy as np
import pytest

from akd_monai.data.nifti import TEXT_FIELDS, FileError, nifti_bytes, read_nifti, write_nifti

AFFINE = np.diag([-0.5, -0.5, 3.0, 1.0])
VOXELS = np.arange(60, dtype=np.int16).reshape(3, 4, 5)


def plain(array=VOXELS, kind=nib.Nifti1Image) -> bytes:
    return kind(array, AFFINE).to_bytes()


def test_what_is_written_is_read_back(tmp_path):
    path = tmp_path / "deep" / "a.nii.gz"
    sha256 = write_nifti(path, VOXELS, AFFINE)
    assert sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    file = read_nifti(path)
    np.testing.assert_array_equal(file.array(), VOXELS)
    assert file.array().dtype == np.int16
    np.testing.assert_array_equal(file.image.affine, AFFINE)
    assert file.data[file.offset :] == VOXELS.tobytes(order="F")
    assert file.data == gzip.decompress(path.read_bytes())


def test_no_text_and_no_time_are_written():
    header = nib.Nifti1Image.from_bytes(gzip.decompress(nifti_bytes(VOXELS, AFFINE))).header
    assert [header[name].tobytes().strip(b"\0") for name in TEXT_FIELDS] == [b""] * 5
    assert header.extensions == []
    assert (int(header["qform_code"]), int(header["sform_code"]), header.get_xyzt_units()[0]) == (1, 1, "mm")
    # bytes 4 to 8 of a gzip stream are its time, and flag 8 of byte 3 a file name
    assert nifti_bytes(VOXELS, AFFINE)[3:8] == bytes(5)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
def test_both_formats_and_byte_orders_are_read(tmp_path, order, kind):
    image = kind(VOXELS, AFFINE, kind.header_class(endianness=order))
    (tmp_path / "a.nii").write_bytes(image.to_bytes())
    np.testing.assert_array_equal(read_nifti(tmp_path / "a.nii").array(), VOXELS)


def scaled() -> bytes:
    image = nib.Nifti1Image(VOXELS, AFFINE)
    image.header.set_slope_inter(0.5, 10)
    data = bytearray(image.to_bytes())
    data[112:120] = np.array([0.5, 10], np.float32).tobytes()  # scl_slope and scl_inter
    return bytes(data)


def test_slope_and_intercept_are_applied(tmp_path):
    (tmp_path / "a.nii").write_bytes(scaled())
    np.testing.assert_allclose(read_nifti(tmp_path / "a.nii").array(), VOXELS * 0.5 + 10)


COLOURS = np.zeros((2, 2, 2), [("R", "u1"), ("G", "u1"), ("B", "u1")])


@pytest.mark.parametrize(
    ("content", "code", "message"),
    [
        (b"", "empty-file", "the file has 0 bytes; copy or download the file again"),
        (plain()[:-1], "truncated", "the header promises 472 bytes, the file holds 471"),
        (gzip.compress(plain())[:-9], "truncated", "the gzip stream ends too early"),
        (gzip.compress(plain())[:-8] + bytes(8), "damaged", "the gzip stream is damaged"),
        (b"<!doctype html><HTML>", "not-an-image", "starts with HTML, perhaps a download page"),
        (b"ab", "not-an-image", r"is no NIfTI file \(it starts with text\); replace the file"),
        (plain()[:100], "not-an-image", "has a damaged NIfTI header"),
        (plain(COLOURS), "voxel-type", r"holds colours .RGB., not one number a voxel"),
        (plain(VOXELS.astype(np.complex64)), "voxel-type", "holds voxels of type complex64"),
    ],
)
def test_a_file_that_cannot_be_read_says_why(tmp_path, content, code, message):
    path = tmp_path / "a.nii.gz"
    path.write_bytes(content)
    with pytest.raises(FileError, match=message) as caught:
        read_nifti(path)
    assert caught.value.code == code
    assert caught.value.remedy
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_folder(tmp_path):
    for path in (tmp_path / "none.nii", tmp_path):
        with pytest.raises(FileError, match=r"cannot be opened \(.*\); check path and permissions\.") as caught:
            read_nifti(path)
        assert caught.value.code == "missing-file"
