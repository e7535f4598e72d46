# SPDX-License-Identifier: Apache-2.0
"""DICOM series become the volumes that they are, or are refused with the file and the reason."""

from __future__ import annotations

import re
import shutil

import nibabel as nib
import numpy as np
import pydicom
import pytest
from deploy_tools import AS_IT_IS, write_model
from pydicom.uid import EnhancedMRImageStorage, JPEG2000Lossless
from series_tools import AXIAL, CORONAL, OBLIQUE, ORIGIN, SPACING, affine_of, grey, write_nifti, write_series

from akd_monai.deploy import segment
from akd_monai.deploy._dicom_files import find_series
from akd_monai.deploy._dicom_slices import read_series
from akd_monai.errors import InputError

VOLUME, MARKED = grey()


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("model") / "by_hand.onnx", modality='"MR"', **AS_IT_IS)


def mask_of(path):
    return np.asarray(nib.load(path).dataobj)


def read(folder):
    (series,) = find_series(folder, None).series
    return read_series(series, folder.name)[0]


def changed(path, **fields):
    """Write a file again with other fields."""
    data = pydicom.dcmread(path)
    for name, value in fields.items():
        setattr(data, name, value)
    data.save_as(path)


@pytest.mark.parametrize("orientation", [OBLIQUE, AXIAL], ids=["oblique", "axial"])
@pytest.mark.parametrize("suffix", ["", ".dcm", ".1.2"])
def test_a_series_has_the_mask_of_the_same_volume_as_nifti(model, tmp_path, orientation, suffix):
    write_series(tmp_path / "in" / "T2", VOLUME, orientation=orientation, suffix=suffix)
    write_nifti(tmp_path / "in" / "file.nii.gz", VOLUME, affine_of(orientation))
    volume, series = segment(tmp_path / "in", tmp_path / "out", model=model, engine="onnxruntime")
    np.testing.assert_array_equal(mask_of(volume.mask), mask_of(series.mask))
    np.testing.assert_array_equal(mask_of(series.mask), MARKED)
    np.testing.assert_allclose(nib.load(series.mask).affine, affine_of(orientation), atol=1e-4)
    assert series.figures == volume.figures
    assert series.mask == tmp_path / "out" / "T2_pred.nii.gz"
    assert series.warnings == ()


def test_values_are_rescaled_slice_by_slice(tmp_path):
    write_series(
        tmp_path / "T2", VOLUME, RescaleSlope=lambda k: 0.5 + k, RescaleIntercept=-3, RescaleType="US", BitsStored=16
    )
    expected = VOLUME * (0.5 + np.arange(6)) - 3
    np.testing.assert_allclose(read(tmp_path / "T2").array, expected)


@pytest.mark.parametrize("signed", [0, 1])
def test_bits_beside_the_pixels_are_no_part_of_them(tmp_path, signed):
    values = VOLUME.astype(np.int32) - 50 * signed
    overlaid = (values & 0x0FFF) | 0x3000
    write_series(tmp_path / "T2", overlaid.astype(np.uint16), BitsStored=12, HighBit=11, PixelRepresentation=signed)
    np.testing.assert_array_equal(read(tmp_path / "T2").array, values)


def test_a_file_without_preamble_is_known_by_its_first_element(tmp_path):
    for path in write_series(tmp_path / "T2", VOLUME):
        data = pydicom.dcmread(path)
        data.preamble = None
        data.file_meta = pydicom.dataset.FileMetaDataset()
        pydicom.dcmwrite(path, data, implicit_vr=True, little_endian=True)
        assert path.read_bytes()[:2] == b"\x08\x00"
    np.testing.assert_array_equal(read(tmp_path / "T2").array, VOLUME)


def test_other_files_of_the_folder_cost_nothing(model, tmp_path, caplog):
    write_series(tmp_path / "T2", VOLUME)
    for name in ("notes.txt", "LICENSE", ".DS_Store", "Thumbs.db"):
        (tmp_path / "T2" / name).write_bytes(b"no DICOM at all, but a line that is as long as a header" * 4)
    (done,) = segment(tmp_path / "T2", tmp_path / "out", model=model)
    np.testing.assert_array_equal(mask_of(done.mask), MARKED)
    assert [record.message for record in caplog.records if record.levelname == "WARNING"] == []


def a_gap(folder, paths):
    paths[2].unlink()


def a_copy(folder, paths):
    shutil.copy(paths[2], folder / "copy")


def a_tilted_gantry(folder, paths):
    for k, path in enumerate(paths):
        position = np.array(pydicom.dcmread(path).ImagePositionPatient, float)
        changed(path, ImagePositionPatient=list(position + k * np.array([0, 1.0, 0])))


def another_size(folder, paths):
    changed(paths[3], Rows=10, PixelData=VOLUME[:, :10, 3].T.tobytes())


def another_spacing(folder, paths):
    changed(paths[3], PixelSpacing=[0.7, 0.9])


def another_direction(folder, paths):
    changed(paths[3], ImageOrientationPatient=list(AXIAL))


def no_position(folder, paths):
    changed(paths[3], ImagePositionPatient=None)


def truncated(folder, paths):
    paths[4].write_bytes(paths[4].read_bytes()[:-100])


def cut_in_the_header(folder, paths):
    paths[5].write_bytes(paths[5].read_bytes()[:200])


def empty(folder, paths):
    paths[5].write_bytes(b"")


def zeros(folder, paths):
    paths[0].write_bytes(bytes(5000))


def garbage(folder, paths):
    paths[5].unlink()
    (folder / "last.dcm").write_bytes(b"<html>not found</html>" * 20)


def colours(folder, paths):
    for path in paths:
        pixels = np.zeros((20, 24, 3), np.uint8).tobytes()
        changed(
            path, SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=0,
            BitsAllocated=8, BitsStored=8, HighBit=7, PixelData=pixels,
        )  # fmt: skip


def a_palette(folder, paths):
    for path in paths:
        changed(path, PhotometricInterpretation="PALETTE COLOR")


def inverted(folder, paths):
    for path in paths:
        changed(path, PhotometricInterpretation="MONOCHROME1")


def enhanced(folder, paths):
    for path in paths[1:]:
        path.unlink()
    changed(paths[0], SOPClassUID=EnhancedMRImageStorage, NumberOfFrames=6, PixelData=VOLUME.T.tobytes())


def multi_frame(folder, paths):
    for path in paths:
        changed(path, NumberOfFrames=2, PixelData=np.zeros((2, 20, 24), np.uint16).tobytes())


def compressed(folder, paths):
    for path in paths:
        data = pydicom.dcmread(path)
        data.PixelData = pydicom.encaps.encapsulate([b"\xff\x4f\xff\x51" + bytes(60)])
        data["PixelData"].VR = "OB"
        data.file_meta.TransferSyntaxUID = JPEG2000Lossless
        data.save_as(path)


def two_echoes(folder, paths):
    for k, path in enumerate(paths):
        changed(path, EchoTime=90 if k % 2 else 30)
        place = pydicom.dcmread(paths[k - k % 2]).ImagePositionPatient
        changed(path, ImagePositionPatient=place)


def no_scaling(folder, paths):
    for path in paths:
        changed(path, RescaleSlope=0, RescaleIntercept=0)


def not_a_slice(folder, paths):
    del_pixels = pydicom.dcmread(paths[0])
    del del_pixels.PixelData
    del_pixels.save_as(paths[0])


SPOILT = [
    (a_gap, r"T2: a gap: 1 slice\(s\) missing at .* \(step 6\.00 mm, usually 3\.00 mm\); fetch"),
    (a_copy, r"T2: IM\d+ and copy lie at one position|T2: copy and IM\d+ lie at one position"),
    (a_tilted_gantry, r"T2: slices slip sideways by 4\.\d mm over 14\.0 mm; resample"),
    (another_size, r"T2: slices IM\d+ and IM\d+ differ in size; keep the slices of one series only"),
    (another_spacing, r"T2: slices IM\d+ and IM\d+ differ in pixel spacing"),
    (another_direction, r"T2: slices IM\d+ and IM\d+ differ in direction"),
    (no_position, r"T2: 1 of 6 slices have no position, direction or pixel spacing"),
    (truncated, r"T2/IM\d+: is truncated or damaged: one of its elements states 960 bytes, 860 are left; copy the"),
    (cut_in_the_header, r"T2: IM\d+ .*, so that a slice may be missing; copy it again, or move it elsewhere"),
    (empty, r"T2: IM\d+ is no DICOM file by its content, so that a slice may be missing"),
    (zeros, r"T2: IM\d+ is no DICOM file by its content, so that a slice may be missing"),
    (garbage, r"T2: last\.dcm is no DICOM file by its content, so that a slice may be missing"),
    (colours, r"T2/IM\d+: holds colours, not grey values; give the original slices, no screenshots"),
    (a_palette, r"T2/IM\d+: holds colours, not grey values"),
    (inverted, r"T2/IM\d+: holds inverted grey values \(MONOCHROME1\)"),
    (enhanced, r"T2/IM\d+: is one file of several frames \(Enhanced MR Image Storage, 6 frames\).*dcm2niix"),
    (multi_frame, r"T2/IM\d+: holds 2 frames in one file; convert it to NIfTI"),
    (two_echoes, r"T2: holds 2 images of one place, which differ in EchoTime; export those"),
    (no_scaling, r"T2/IM\d+: has a RescaleSlope of 0"),
    (not_a_slice, r"T2/IM\d+: holds no pixels of an image"),
]  # fmt: skip


@pytest.mark.fault(
    "Masks that are written",
    "damaged or mixed DICOM series, segmented without PyTorch",
    injected="gap, copy, tilt, other sizes, truncation, an empty file, colours, several frames or echoes, and more",
    outcome="no mask; exit code 2; file or series is named with the remedy",
)
@pytest.mark.parametrize(("spoil", "message"), SPOILT, ids=[spoil.__name__ for spoil, _ in SPOILT])
def test_what_makes_no_volume_is_refused_by_name(model, tmp_path, caplog, spoil, message):
    paths = write_series(tmp_path / "T2", VOLUME)
    spoil(tmp_path / "T2", paths)
    with pytest.raises(InputError, match=r"^0 of 1 volumes segmented; failed: T2 \("):
        segment(tmp_path / "T2", tmp_path / "out", model=model, engine="onnxruntime")
    (told,) = [record.message for record in caplog.records if record.levelname == "ERROR"]
    assert re.search(message, told), told
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.fault(
    "Masks that are written",
    "a folder of patients, in which all slices of one are damaged",
    injected="every slice of the second patient was copied as zeros, and has no suffix",
    outcome="the others are segmented; a warning names the folder",
)
def test_a_patient_of_damaged_slices_alone_is_named(model, tmp_path, caplog):
    write_series(tmp_path / "in" / "p1", VOLUME)
    for path in write_series(tmp_path / "in" / "p2", VOLUME, prefix="IM"):
        path.write_bytes(bytes(5000))
    (done,) = segment(tmp_path / "in", tmp_path / "out", model=model)
    np.testing.assert_array_equal(mask_of(done.mask), MARKED)
    (told,) = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert re.search(r"p2: not used: 6 files that may be damaged slices, such as IM\d+, IM\d+, IM\d+$", told), told


def test_pixels_without_a_decoder(tmp_path, monkeypatch):
    paths = write_series(tmp_path / "T2", VOLUME)
    compressed(tmp_path / "T2", paths)
    monkeypatch.setattr("pydicom.pixels.get_decoder", lambda syntax: type("None", (), {"is_available": False}))
    with pytest.raises(InputError, match=r"is compressed \(JPEG 2000 .*\), and no decoder for that is installed; inst"):
        read(tmp_path / "T2")


def test_pixels_that_a_decoder_refuses(tmp_path):
    paths = write_series(tmp_path / "T2", VOLUME)
    compressed(tmp_path / "T2", paths)
    with pytest.raises(InputError, match=r"T2/IM\d+: (is truncated or damaged|is compressed)"):
        read(tmp_path / "T2")


def test_one_file_of_a_series_is_not_taken_for_it(model, tmp_path):
    path = write_series(tmp_path / "T2", VOLUME)[0]
    with pytest.raises(InputError, match=r"is one file of a DICOM series; give its folder with -i"):
        segment(path, tmp_path / "out", model=model)


def test_one_slice_is_a_volume_with_a_warning(model, tmp_path):
    write_series(tmp_path / "T2", VOLUME[:, :, 2:3], SliceThickness=4)
    (done,) = segment(tmp_path / "T2", tmp_path / "out", model=model)
    assert "one slice only: its distance to the next is taken from SliceThickness" in done.warnings
    assert nib.load(done.mask).header.get_zooms()[2] == pytest.approx(4)


@pytest.mark.parametrize("thickness", [None, 0, -4])
def test_one_slice_without_a_thickness_says_what_is_assumed(model, tmp_path, thickness):
    write_series(tmp_path / "T2", VOLUME[:, :, 2:3], SliceThickness=thickness)
    (done,) = segment(tmp_path / "T2", tmp_path / "out", model=model)
    assert [warning for warning in done.warnings if "one slice only, without SliceThickness: " in warning]
    assert nib.load(done.mask).header.get_zooms()[2] == pytest.approx(1)
    normal = np.cross(OBLIQUE[:3], OBLIQUE[3:]) * [-1, -1, 1]
    np.testing.assert_allclose(nib.load(done.mask).affine[:3, 2], normal, atol=1e-4)


def test_what_is_odd_is_a_warning(model, tmp_path):
    write_series(tmp_path / "T2", np.full((16, 16, 4), 7, np.uint16), ImageType=["DERIVED", "PRIMARY"])
    (done,) = segment(tmp_path / "T2", tmp_path / "out", model=model)
    assert done.warnings == (
        "was computed from other images (ImageType DERIVED): is it the right series?",
        "is constant: every voxel is 7",
        "the mask is empty, no voxel is marked",
    )


def test_slices_of_another_plane(model, tmp_path):
    write_series(tmp_path / "in" / "cor", VOLUME, orientation=CORONAL)
    with pytest.raises(InputError, match=r"cor \(its slices are coronal, and the network sees axial ones\)"):
        segment(tmp_path / "in", tmp_path / "out", model=model)
    # a volume in a file may have been turned for a reason
    write_nifti(tmp_path / "cor.nii.gz", VOLUME, affine_of(CORONAL))
    (done,) = segment(tmp_path / "cor.nii.gz", tmp_path / "out", model=model)
    assert done.warnings == ("its slices are coronal, and the network sees axial ones",)


def test_fine_voxels_have_no_plane(model, tmp_path):
    write_series(tmp_path / "cor", VOLUME, orientation=CORONAL, spacing=(0.8, 0.8, 1.1), origin=ORIGIN)
    assert len(segment(tmp_path / "cor", tmp_path / "out", model=model)) == 1


def test_a_model_without_modality_says_so(tmp_path):
    write_series(tmp_path / "T2", VOLUME, Modality="CT")
    model = write_model(tmp_path / "m.onnx", **AS_IT_IS)
    (done,) = segment(tmp_path / "T2", tmp_path / "out", model=model)
    assert done.warnings == ("the model does not say for which modality it was made; this series is CT",)


def test_the_slice_distance_is_that_of_the_positions(tmp_path):
    write_series(tmp_path / "T2", VOLUME, SliceThickness=9, SpacingBetweenSlices=1)
    np.testing.assert_allclose(nib.affines.voxel_sizes(read(tmp_path / "T2").affine), SPACING, atol=1e-4)
