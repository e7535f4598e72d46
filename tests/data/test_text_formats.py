# SPDX-License-Identifier: Apache-2.0
"""NRRD and MetaImage: read as ITK reads them, and refused where ITK guesses, crashes or looks the other way."""

from __future__ import annotations

import zlib

import itk
import numpy as np
import pytest
from volume_tools import AFFINE, SHAPE, grey, meta_image, nrrd

from akd_monai.data.geometry import affine_from_lps
from akd_monai.data.nifti import FileError
from akd_monai.data.volume_file import files_of, read_volume_file

TYPES = (np.uint8, np.int16, np.uint16, np.float32, np.float64)


def itk_file(path, dtype, compressed):
    """Write a volume by ITK, with an oblique grid, and return its voxels and affine."""
    rng = np.random.default_rng(0)
    voxels = rng.integers(0, 200, (4, 5, 6)).astype(dtype)
    image = itk.image_from_array(voxels)
    direction, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    image.SetDirection(itk.matrix_from_array(direction))
    image.SetSpacing([0.5, 0.7, 3.0])
    image.SetOrigin([-10.0, 20.0, 30.5])
    itk.imwrite(image, str(path), compression=compressed)
    back = itk.imread(str(path))
    direction = np.asarray(itk.array_from_matrix(back.GetDirection()))
    return voxels.transpose(2, 1, 0), affine_from_lps(direction, list(back.GetSpacing()), list(back.GetOrigin()))


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("suffix", [".nrrd", ".nhdr", ".mha", ".mhd"])
def test_what_itk_writes_is_read_as_itk_reads_it(tmp_path, suffix, dtype, compressed):
    path = tmp_path / f"a{suffix}"
    voxels, affine = itk_file(path, dtype, compressed)
    volume = read_volume_file(path)
    assert volume.array.dtype == dtype
    np.testing.assert_array_equal(volume.array, voxels)
    np.testing.assert_allclose(volume.affine, affine, atol=1e-6)
    assert volume.warnings == ()
    assert len(volume.files) == len(files_of(path)) == (2 if suffix in (".nhdr", ".mhd") else 1)
    assert sorted(tmp_path.iterdir()) == sorted(volume.files)


@pytest.mark.parametrize("swapped", ["big", "MSB"])
def test_the_other_byte_order(tmp_path, swapped):
    voxels = grey().astype(">i2").tobytes(order="F")
    if swapped == "big":
        path = tmp_path / "a.nrrd"
        path.write_bytes(nrrd(grey(), encoding="raw", endian="big")[: -len(voxels)] + voxels)
    else:
        path = tmp_path / "a.mha"
        path.write_bytes(meta_image(grey(), data=voxels, BinaryDataByteOrderMSB="True"))
    np.testing.assert_array_equal(read_volume_file(path).array, grey())


def test_bytes_before_the_voxels_are_skipped(tmp_path):
    voxels = grey().tobytes(order="F")
    (tmp_path / "a.raw").write_bytes(b"12345" + voxels)
    cases = {
        "a.mhd": meta_image(grey(), data_file="a.raw", HeaderSize=5),
        "b.mhd": meta_image(grey(), data_file="a.raw", HeaderSize=-1),
        "a.nhdr": nrrd(grey(), encoding="raw", data_file="a.raw", byte_skip=5),
        "b.nhdr": nrrd(grey(), encoding="raw", data_file="a.raw", byte_skip=-1),
    }
    for name, header in cases.items():
        (tmp_path / name).write_bytes(header)
        np.testing.assert_array_equal(read_volume_file(tmp_path / name).array, grey())


@pytest.mark.parametrize(("space", "signs"), [("RAS", (1, 1, 1)), ("left-anterior-superior", (-1, 1, 1))])
def test_nrrd_spaces_and_units(tmp_path, space, signs):
    (tmp_path / "a.nrrd").write_bytes(nrrd(grey(), space=space, space_units='"um" "um" "um"'))
    expected = np.diag([0.5e-3 * signs[0], 0.5e-3 * signs[1], 3e-3 * signs[2], 1.0])
    np.testing.assert_allclose(read_volume_file(tmp_path / "a.nrrd").affine, expected)


def test_a_meta_image_without_directions_is_read_with_a_warning(tmp_path):
    (tmp_path / "a.mha").write_bytes(meta_image(grey(), TransformMatrix=None))
    volume = read_volume_file(tmp_path / "a.mha")
    np.testing.assert_array_equal(volume.affine, AFFINE)
    assert volume.warnings == (
        "the header states no directions (TransformMatrix): axes are taken to run left, back and up",
    )


FLAT = np.zeros((2, 2), np.int16)
FLIPPED = bytearray(nrrd(grey()))
FLIPPED[-20] ^= 1

REFUSED = {
    "no space": ("a.nrrd", nrrd(grey(), space=None), "affine-invalid", "states no place in a patient"),
    "no directions": ("a.nrrd", nrrd(grey(), space_directions=None), "affine-invalid", "states no place"),
    "two directions": ("a.nrrd", nrrd(grey(), space_directions="(1,0,0) (0,1,0)"), "affine-invalid", "2 space dir"),
    "nrrd sheared": (
        "a.nrrd",
        nrrd(grey(), space_directions="(1,0,0) (0,1,0) (0.8,0,3)"),
        "affine-invalid",
        "sheared: two of its axes are 14.9 degrees off a right angle",
    ),
    "nrrd unit": ("a.nrrd", nrrd(grey(), space_units='"inch" "inch" "inch"'), "units", "unit 'inch'"),
    "nrrd 4-D": ("a.nrrd", nrrd(np.zeros((2, 2, 2, 2))), "dimensions", "has 4 axes, expected three"),
    "nrrd colours": ("a.nrrd", nrrd(grey(), kinds="RGB-color domain domain"), "voxel-type", "colours or vectors"),
    "nrrd block": ("a.nrrd", nrrd(grey(), type="block"), "voxel-type", "voxels of type block"),
    "nrrd text": ("a.nrrd", nrrd(grey(), encoding="ascii"), "unsupported", "encoding ascii"),
    "nrrd no endian": ("a.nrrd", nrrd(grey(), endian=None), "not-an-image", "no byte order"),
    "nrrd negative": ("a.nrrd", nrrd(grey(), sizes="-6 5 4"), "not-an-image", "shape [-6, 5, 4]"),
    "nrrd huge": ("a.nrrd", nrrd(grey(), sizes="30000 30000 30000"), "too-large", "promises 27000000000000 voxels"),
    "nrrd bomb": ("a.nrrd", nrrd(grey(), sizes="1 1 1"), "oversized", None),
    "nrrd empty": ("a.nrrd", nrrd(grey(), sizes="0 5 4"), "no-slices", "is empty"),
    "nrrd damaged": ("a.nrrd", bytes(FLIPPED), "damaged", "the gzip stream is damaged"),
    "nrrd cut": ("a.nrrd", nrrd(grey())[:-30], "truncated", "the gzip stream ends too early"),
    "nrrd raw cut": (
        "a.nrrd",
        nrrd(grey(), encoding="raw")[:-1],
        "truncated",
        "promises 240 bytes, the file holds 239",
    ),
    "nrrd no end": ("a.nrrd", b"NRRD0004\ntype: short\n", "not-an-image", "its header has no end"),
    "nrrd is text": ("a.nrrd", b"root:x:0:0", "not-an-image", "is no NRRD file (it starts with text)"),
    "nhdr missing": ("a.nhdr", nrrd(grey(), data_file="b.raw"), "missing-file", "its data file b.raw is missing"),
    "nhdr elsewhere": ("a.nhdr", nrrd(grey(), data_file="/etc/passwd"), "missing-file", "in another folder"),
    "nhdr above": ("a.nhdr", nrrd(grey(), data_file="../b.raw"), "missing-file", "in another folder"),
    "nhdr list": ("a.nhdr", nrrd(grey(), data_file="LIST"), "unsupported", "in several files"),
    "meta NDims": ("a.mhd", meta_image(grey(), NDims=30000), "dimensions", "has 30000 axes, expected three"),
    "meta 2-D": ("a.mha", meta_image(FLAT), "dimensions", "has 2 axes"),
    "meta vectors": ("a.mha", meta_image(grey(), ElementNumberOfChannels=3), "voxel-type", "colours or vectors"),
    "meta type": ("a.mha", meta_image(grey(), ElementType="MET_STRING"), "voxel-type", "type MET_STRING"),
    "meta text": ("a.mha", meta_image(grey(), BinaryData="False"), "unsupported", "stored as text"),
    "meta no spacing": ("a.mha", meta_image(grey(), ElementSpacing=None), "affine-invalid", "no voxel sizes"),
    "meta spacing 0": ("a.mha", meta_image(grey(), ElementSpacing="0 1 1"), "affine-invalid", "states voxels of 0 1 1"),
    "meta NaN": ("a.mha", meta_image(grey(), Offset="nan 0 0"), "not-an-image", "3 number(s) as 'offset'"),
    "meta far": ("a.mha", meta_image(grey(), Offset="1e30 0 0"), "affine-invalid", "1e+30 mm away"),
    "meta long axis": (
        "a.mha",
        meta_image(grey(), TransformMatrix="2 0 0 0 1 0 0 0 1"),
        "affine-invalid",
        "not of length 1",
    ),
    "meta fraction": ("a.mha", meta_image(grey(), DimSize="6 5 4.5"), "not-an-image", "3 integer(s) as 'dimsize'"),
    "meta two sizes": ("a.mha", meta_image(grey(), DimSize="6 5"), "not-an-image", "got '6 5'"),
    "meta huge": ("a.mha", meta_image(grey(), DimSize="30000 30000 30000"), "too-large", "voxels"),
    "meta short": (
        "a.mha",
        meta_image(grey(), DimSize="600 5 4"),
        "truncated",
        "promises 24000 bytes, the file holds 240",
    ),
    "meta long": ("a.mha", meta_image(np.zeros((20, 20, 20)), DimSize="6 5 4"), "oversized", "more than the 240 bytes"),
    "meta no end": ("a.mha", b"NDims = 3\n", "not-an-image", "its header has no end"),
    "meta is noise": ("a.mha", bytes(range(256)), "not-an-image", "bytes of another kind"),
    "meta elsewhere": ("a.mhd", meta_image(grey(), data_file="../x.raw"), "missing-file", "in another folder"),
    "meta pattern": ("a.mhd", meta_image(grey(), data_file="x%03d.raw 1 4 1"), "unsupported", "in several files"),
    "meta damaged": (
        "a.mha",
        meta_image(grey(), CompressedData="True", data=zlib.compress(grey().tobytes())[:-4] + bytes(4)),
        "damaged",
        "CRC check failed",
    ),
    "not a volume": ("a.png", b"\x89PNG", "not-an-image", "is no volume by its name"),
}


@pytest.mark.fault(
    "Volumes",
    "NRRD and MetaImage headers that lie",
    injected="sizes, data files elsewhere, no geometry, 30000 dimensions and more",
    outcome="refused with the remedy; the header is never given to ITK",
)
@pytest.mark.parametrize("fault", REFUSED)
def test_what_cannot_be_trusted_is_refused_with_its_remedy(tmp_path, fault):
    name, data, code, words = REFUSED[fault]
    if fault == "nrrd bomb":
        data = nrrd(np.zeros((200, 200, 50)), sizes="1 1 1")
        words = "holds more than the 2 bytes that its header promises"
    (tmp_path / name).write_bytes(data)
    with pytest.raises(FileError) as caught:
        read_volume_file(tmp_path / name)
    assert caught.value.code == code, str(caught.value)
    assert words in caught.value.what
    assert caught.value.remedy
    assert "\n" not in str(caught.value)


def test_the_shape_is_that_of_the_header(tmp_path):
    (tmp_path / "a.mha").write_bytes(meta_image(grey()))
    assert read_volume_file(tmp_path / "a.mha").array.shape == SHAPE
