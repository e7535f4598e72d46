# SPDX-License-Identifier: Apache-2.0
"""The reader for MONAI's LoadImage: what it accepts is what MONAI would read; what it refuses no other reader gets."""

from __future__ import annotations

import gzip
import pickle

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.transforms import EnsureChannelFirst, LoadImage, LoadImaged
from volume_tools import AFFINE, gland, grey, meta_image, nifti, nrrd, put, sform

from akd_monai.data import CheckedReader
from akd_monai.data.nifti import FileError

NAME = "akd_monai.data.CheckedReader"
MIRRORED = np.diag([0.5, -0.5, 3.0, 1.0])


def scaled(**fields):
    return nifti(grey(), scl_slope=0.5, scl_inter=10, **fields)


GOOD = {
    "int16": nifti(grey()),
    "float32": nifti(grey(dtype=np.float32)),
    "mask": nifti(gland()),
    "scaled": scaled(),
    "big-endian": nib.Nifti1Image(grey(), AFFINE, nib.Nifti1Header(endianness=">")).to_bytes(),
    "NIfTI-2": nib.Nifti2Image(grey(), AFFINE).to_bytes(),
    "qform only": nifti(grey(), sform_code=0),
    "one frame": nifti(grey()[..., None]),
}


@pytest.mark.parametrize("kind", GOOD)
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_a_good_file_is_read_as_monai_reads_it(tmp_path, kind, name):
    path = put(tmp_path / name, GOOD[kind])
    first = EnsureChannelFirst()(LoadImage()(path))
    second = EnsureChannelFirst()(LoadImage(reader=NAME)(path))
    assert torch.equal(first, second)
    assert first.dtype == second.dtype
    assert set(first.meta) == set(second.meta)
    differing = {key for key in first.meta if str(first.meta[key]) != str(second.meta[key])}
    # a fourth axis of one frame is dropped, which MONAI takes for the channel
    assert differing <= ({"original_channel_dim", "dim"} if kind == "one frame" else set())


@pytest.mark.parametrize(("name", "data"), [("a.nrrd", nrrd(grey())), ("a.mha", meta_image(grey()))])
def test_other_formats_are_read_as_itk_reads_them(tmp_path, name, data):
    (tmp_path / name).write_bytes(data)
    first = EnsureChannelFirst()(LoadImage()(tmp_path / name))
    second = EnsureChannelFirst()(LoadImage(reader=CheckedReader())(tmp_path / name))
    assert torch.equal(first, second)
    torch.testing.assert_close(first.affine, second.affine)
    for key in ("spatial_shape", "space", "original_channel_dim"):
        assert str(first.meta[key]) == str(second.meta[key])


def with_value(value, dtype=np.float32):
    array = grey(dtype=dtype)
    array[0, 0, 0] = value
    return array


def bad_checksum():
    # so large that nibabel does not come to the end of the stream
    voxels = np.random.default_rng(0).integers(0, 999, (60, 60, 20))
    data = bytearray(gzip.compress(nifti(voxels.astype(np.int16))))
    data[-8] ^= 1
    return bytes(data)


NO_SPACE = nrrd(grey(), space=None, space_directions=None, space_origin=None, spacings="0.5 0.5 3")
BAD = {
    "checksum": ("a.nii.gz", bad_checksum(), "CRC check failed"),
    "cut": ("a.nii", nifti(grey())[:-1], "is truncated"),
    "longer": ("a.nii", nifti(grey()) + bytes(1000), "holds more than the 592 bytes"),
    "empty": ("a.nii", b"", "0 bytes"),
    "HTML": ("a.nii", b"<html>", "HTML, perhaps a download page"),
    "NaN": ("a.nii", nifti(with_value(np.nan)), "holds 1 voxels that are NaN or Inf; export the image again"),
    "Inf": ("a.nii", nifti(with_value(np.inf)), "holds 1 voxels that are NaN or Inf"),
    "1e38": ("a.nii", nifti(with_value(1e38)), "holds values up to 1e+38"),
    "1e300": ("a.nii", nifti(with_value(1e300, np.float64)), "holds values up to 1e+300"),
    "complex": ("a.nii", nifti(grey(dtype=np.complex64)), "holds voxels of type complex64"),
    "2-D": ("a.nii", nifti(np.zeros((6, 5), np.uint8)), "expected three axes"),
    "time": ("a.nii", nifti(np.zeros((6, 5, 4, 3), np.uint8)), "expected three axes; keep one volume a file"),
    "no affine": ("a.nii", nifti(grey(), qform_code=0, sform_code=0), "has no affine"),
    "singular": ("a.nii", nifti(grey(), **sform(np.ones((4, 4)))), "singular"),
    "pixdim": ("a.nii", nifti(grey(), pixdim=[1, -1, 1, 1, 0, 0, 0, 0]), "states voxels of -1 x 1 x 1 (pixdim)"),
    "slope": ("a.nii", nifti(grey(), scl_slope=1e37, scl_inter=0), "holds values up to 1e+39"),
    "30000^3": ("a.nii", nifti(grey(), dim=[3, 30000, 30000, 30000, 1, 1, 1, 1]), "promises 27000000000000 voxels"),
    "NDims": ("a.mha", meta_image(grey(), NDims=30000), "has 30000 axes"),
    "no space": ("a.nrrd", NO_SPACE, "states no place in a patient"),
    "picture": ("a.png", b"\x89PNG", "is no volume by its name"),
}


@pytest.mark.fault(
    "Volumes",
    "MONAI would try the next reader",
    injected="a file that was refused",
    outcome="no other reader is asked",
)
@pytest.mark.parametrize("fault", BAD)
@pytest.mark.parametrize("reader", [NAME, CheckedReader, CheckedReader()], ids=["name", "class", "instance"])
def test_what_is_refused_is_not_given_to_another_reader(tmp_path, fault, reader):
    name, data, words = BAD[fault]
    (tmp_path / name).write_bytes(data)
    with pytest.raises(FileError) as caught:
        LoadImage(reader=reader)(tmp_path / name)
    assert words in str(caught.value)
    assert str(caught.value).startswith(f"{tmp_path / name}: ")
    assert caught.value.remedy
    assert "\n" not in str(caught.value)


def test_a_plain_loader_accepts_most_of_these(tmp_path):
    """The faults above are real: without the reader they pass in silence."""
    accepted = ("checksum", "longer", "NaN", "Inf", "1e38", "complex", "2-D", "time", "no affine", "pixdim", "no space")
    for fault in accepted:
        name, data, _ = BAD[fault]
        (tmp_path / name).write_bytes(data)
        LoadImage()(tmp_path / name)


def test_of_contradicting_forms_the_sform_is_used_and_said(tmp_path, caplog):
    path = put(tmp_path / "a.nii", nifti(grey(), **sform(MIRRORED)))
    image = LoadImage(reader=NAME)(path)
    np.testing.assert_array_equal(image.affine, MIRRORED)
    assert caplog.messages == [f"{path}: qform and sform lie up to 5.0 mm apart; the sform is used."]


def test_metres_are_converted_and_the_header_is_kept(tmp_path):
    stored = AFFINE.copy()
    stored[:3] /= 1000
    image = LoadImage(reader=NAME)(put(tmp_path / "a.nii", nifti(grey(), stored, xyzt_units=1)))
    np.testing.assert_allclose(image.affine, AFFINE, rtol=1e-6)
    np.testing.assert_allclose(image.meta["original_affine"], AFFINE, rtol=1e-6)
    assert int(image.meta["xyzt_units"]) == 1
    np.testing.assert_allclose(image.meta["srow_x"], stored[0], rtol=1e-6)


def test_several_files_become_channels(tmp_path):
    paths = [put(tmp_path / f"{number}.nii.gz", nifti(grey() + number)) for number in range(2)]
    case = LoadImaged("image", reader=NAME)({"image": paths})
    assert torch.equal(case["image"], LoadImaged("image")({"image": paths})["image"])
    put(tmp_path / "1.nii.gz", nifti(with_value(np.nan)))
    with pytest.raises(FileError, match=r"1\.nii\.gz: holds 1 voxels"):
        LoadImage(reader=NAME)(paths)


def test_channels_are_those_asked_for(tmp_path):
    path = put(tmp_path / "a.nii", nifti(np.stack([grey(), grey() + 1], axis=-1)))
    image = EnsureChannelFirst()(LoadImage(reader=CheckedReader(channels=2))(path))
    assert torch.equal(image, EnsureChannelFirst()(LoadImage()(path)))
    label = put(tmp_path / "b.nii", nifti(gland()))
    assert EnsureChannelFirst()(LoadImage(reader=CheckedReader(channels=2))(label)).shape == (1, 6, 5, 4)
    with pytest.raises(FileError, match=r"a\.nii: has 2 volumes along its fourth axis, expected 3; give the sequences"):
        LoadImage(reader=CheckedReader(channels=3))(path)


def test_the_reader_can_be_sent_to_a_process():
    reader = pickle.loads(pickle.dumps(CheckedReader()))
    assert reader.verify_suffix(["a.nii.gz", "b.MHA"])
    assert not reader.verify_suffix("a.png")
