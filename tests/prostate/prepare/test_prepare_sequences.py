# SPDX-License-Identifier: Apache-2.0
"""Only axial T2-weighted images and masks of the gland are prepared; everything else is skipped with a word, or fails."""

from __future__ import annotations

import dicom_files as dcm
import numpy as np
import pytest
from source_tools import SHAPE, grey, label, run, save, voxels

from akd_monai.prostate.prepare._sources.dicom_header import SeriesHeader, read_header
from akd_monai.prostate.prepare._sources.dicom_slice import read_slice
from akd_monai.prostate.prepare._sources.sequences import other_sequence

CORONAL = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)
SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
NO_T2 = "by its name no axial T2-weighted series"


def skipped(result):
    return dict(entry.split(": ", 1) for entry in result.skipped)


def test_dicom_folders_of_other_sequences_are_skipped_by_name(tmp_path):
    folders = {"t2_tse_tra": 1, "ep2d_diff_ADC": 2, "t2_tse_sag": 3, "t2_tse_cor": 4, "DCE": 5, "localizer": 6}
    for name, number in folders.items():
        dcm.write_series(tmp_path / "raw/pat" / name, dcm.grey(number), series=str(number), description="")
    result = run("folder", tmp_path / "raw", tmp_path / "out")
    assert result.done == ["LOCAL/Case00"]
    assert skipped(result) == {
        "pat/ep2d_diff_ADC": f"{NO_T2} (diffusion)",
        "pat/t2_tse_sag": f"{NO_T2} (sagittal)",
        "pat/t2_tse_cor": f"{NO_T2} (coronal)",
        "pat/DCE": f"{NO_T2} (perfusion)",
        "pat/localizer": f"{NO_T2} (localizer)",
    }
    np.testing.assert_array_equal(voxels(tmp_path / "out/unlabelled/LOCAL/Case00.nii.gz"), dcm.grey(1))


@pytest.mark.fault(
    "Preparing and verifying data",
    "other sequences among T2",
    injected="ADC and sagittal series by their headers",
    outcome="skipped, named",
)
@pytest.mark.parametrize(
    ("header", "why"),
    [
        ({"description": "ep2d_diff_tra_ADC"}, "by its header another sequence or plane (diffusion)"),
        ({"description": "Ax T1"}, "by its header another sequence or plane (T1)"),
        ({"description": "T2 SAG"}, "by its header another sequence or plane (sagittal)"),
        ({"orientation": SAGITTAL}, "by its header not axial"),
        ({"orientation": CORONAL, "description": ""}, "by its header not axial"),
        ({"modality": "CT"}, "by its header no MRI"),
        ({"modality": "SEG"}, "by its header no MRI"),
    ],
)
def test_dicom_folders_of_other_sequences_are_skipped_by_header(tmp_path, header, why):
    dcm.write_series(tmp_path / "raw/pat/1", dcm.grey(1), series="1")
    dcm.write_series(tmp_path / "raw/pat/2", dcm.grey(2), series="2", **header)
    result = run("folder", tmp_path / "raw", tmp_path / "out")
    assert result.done == ["LOCAL/Case00"]
    assert skipped(result) == {"pat/2": why}
    np.testing.assert_array_equal(voxels(tmp_path / "out/unlabelled/LOCAL/Case00.nii.gz"), dcm.grey(1))
    assert result.exit_code == 0


def test_two_axial_t2_series_of_one_study_are_an_error_that_names_them(tmp_path):
    for number in (1, 2):
        dcm.write_series(tmp_path / f"raw/pat/t2_tra_{number}", dcm.grey(number), series=str(number))
    dcm.write_series(tmp_path / "raw/other/t2_tra", dcm.grey(3), series="3")
    result = run("folder", tmp_path / "raw", tmp_path / "out")
    assert len(result.done) == 1
    (failure,) = result.failed
    assert failure.code == "several-series"
    words = (
        "2 series of one study could be the axial T2-weighted one: t2_tra_1 (6 files); t2_tra_2 (6 files); keep the one"
    )
    assert words in str(failure)


def test_a_folder_that_holds_nothing_but_other_sequences_says_so(tmp_path):
    dcm.write_series(tmp_path / "raw/pat/scan", dcm.grey(), orientation=SAGITTAL)
    with pytest.raises(
        ValueError, match=r"no case of source 'folder' .*; skipped 1, first pat/scan: by its header not ax"
    ):
        run("folder", tmp_path / "raw", tmp_path / "out")


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ({"description": "ep2d_diff_ADC"}, "by its header another sequence or plane (diffusion)"),
        ({"orientation": CORONAL}, "by its header not axial"),
        ({"modality": "CT"}, "by its header no MRI"),
    ],
)
@pytest.mark.parametrize("source", ["nci-isbi-2013", "i2cvb"])
def test_the_only_series_of_a_public_patient_must_be_axial_t2_too(tmp_path, source, header, words):
    folder = "Prostate-3T/Prostate3T-01-0007/study" if source == "nci-isbi-2013" else "Siemens/Patient 1/T2W"
    dcm.write_series(tmp_path / "raw" / folder, dcm.grey(), **header)
    (failure,) = run(source, tmp_path / "raw", tmp_path / "out").failed
    assert failure.code == "other-sequence"
    assert f"is {words}, expected axial T2-weighted MRI" in str(failure)


def test_series_of_a_public_patient_that_were_not_chosen_are_named(tmp_path):
    study = tmp_path / "raw/PROSTATE-DIAGNOSIS/ProstateDx-01-0001/study"
    dcm.write_series(study / "a", dcm.grey(1), description="ADC", series="11")
    dcm.write_series(study / "b", dcm.grey(2), description="axial", series="12")
    result = run("nci-isbi-2013", tmp_path / "raw", tmp_path / "out")
    assert "other series of the patient, not used: a" in result.warnings["BMC/Case00"]
    np.testing.assert_array_equal(voxels(tmp_path / "out/unlabelled/BMC/Case00.nii.gz"), dcm.grey(2))
    # An only other sequence is not taken for want of a better one.
    dcm.write_series(study / "b", dcm.grey(2), description="DWI", series="12")
    (failure,) = run("nci-isbi-2013", tmp_path / "raw", tmp_path / "out2").failed
    assert "no axial T2-weighted MR series" in str(failure)


@pytest.mark.parametrize("orientation", [dcm.STRAIGHT, dcm.TILTED, CORONAL])
def test_the_header_is_read_as_the_library_reads_it(tmp_path, orientation):
    path = tmp_path / "a.dcm"
    path.write_bytes(dcm.dicom(dcm.grey()[:, :, 0].T, position=(0, 0, 0), orientation=orientation, series="7"))
    header = read_header(path)
    known = read_slice(path)
    assert (header.modality, header.description, header.series_uid) == ("MR", "t2_tse_tra", known.series_uid)
    assert header.study_uid == f"{dcm.UID}.9"
    np.testing.assert_allclose(header.orientation, known.orientation)


def test_fields_within_sequences_are_passed_over(tmp_path):
    inner = dcm.element(8, 0x60, "CS", b"CT")
    item = b"\xfe\xff\x00\xe0\xff\xff\xff\xff" + inner + b"\xfe\xff\x0d\xe0\0\0\0\0"
    sequence = b"\x08\x00\x06\x00SQ\0\0\xff\xff\xff\xff" + item + b"\xfe\xff\xdd\xe0\0\0\0\0"
    whole = dcm.dicom(dcm.grey()[:, :, 0].T, position=(0, 0, 0))
    mark = dcm.element(8, 0x60, "CS", b"MR")
    path = tmp_path / "a.dcm"
    path.write_bytes(whole.replace(mark, sequence + mark))
    assert (read_header(path).modality, read_header(path).description) == ("MR", "t2_tse_tra")


def test_a_damaged_header_says_nothing_and_ends_nothing(tmp_path):
    path = tmp_path / "a.dcm"
    whole = dcm.dicom(dcm.grey()[:, :, 0].T, position=(0, 0, 0))
    random = np.random.default_rng(0)
    for trial in range(300):
        data = bytearray(whole[: int(random.integers(0, len(whole)))] if trial % 2 else whole)
        for place in random.integers(132, 700, 8):
            if place < len(data):
                data[place] = int(random.integers(0, 256))
        path.write_bytes(data)
        assert isinstance(read_header(path), SeriesHeader)
    assert read_header(tmp_path / "missing.dcm") == SeriesHeader()


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("t2_tse_tra_320_p2", ""),
        ("Ax T2 FRFSE", ""),
        ("t2tsetra", ""),
        ("b12_t2", ""),
        ("t2tsesag", "sagittal"),
        ("Cor T2", "coronal"),
        ("DOE_JOHN_adc", "ADC"),
        ("johnadc", "ADC"),
        ("b1000", "diffusion"),
        ("t1_vibe", "T1"),
        ("3Plane Loc", "localizer"),
    ],
)
def test_words_of_other_sequences(text, kind):
    assert other_sequence(text) == kind


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("x.nii.gz", "x_ROI.nii.gz"),
        ("x.nii.gz", "x_WG.nii.gz"),
        ("a/t2.nii.gz", "a/t2_seg_reader1.nii.gz"),
        ("a/t2.nii.gz", "a/t2_anatomy_reader1.nii.gz"),
        ("x.nii.gz", "x_reader2.nii.gz"),
        ("x_t2.nii.gz", "x_seg_final.nii.gz"),
        ("x.nii.gz", "seg_x.nii.gz"),
        ("img_01.nii.gz", "mask_01.nii.gz"),
        ("x.nii.gz", "x_prostate_mask.nii.gz"),
        ("x.nii.gz", "x_contour.nii.gz"),
        ("b12.t2.nii.gz", "b12_seg.nii.gz"),
    ],
)
def test_masks_of_many_names_become_masks(tmp_path, image, mask):
    save(tmp_path / "raw" / image, grey())
    save(tmp_path / "raw" / mask, label())
    result = run("folder", tmp_path / "raw", tmp_path / "out")
    assert result.done == ["LOCAL/Case00"]
    assert not result.skipped
    np.testing.assert_array_equal(voxels(tmp_path / "out/LOCAL/Case00_segmentation.nii.gz")[::-1, ::-1], label() > 0)


@pytest.mark.fault(
    "Preparing and verifying data",
    "masks of other structures beside images",
    injected="names of many kinds",
    outcome="skipped with a word",
)
@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("x_tumor_seg.nii.gz", "by its name a mask of something else than the gland"),
        ("x_lesion.nii.gz", "by its name a mask of something else than the gland"),
        ("x_PZ.nii.gz", "by its name a mask of something else than the gland"),
        ("t2_tumor_reader1.nii.gz", "by its name a mask of something else than the gland"),
        ("x_pred.nii.gz", "by its name a prediction, no mask drawn by an expert"),
        ("y_ROI.nii.gz", "a mask without image"),
        ("x_adc_seg.nii.gz", "by its name no axial T2-weighted volume (ADC)"),
        ("ADC/y.nii.gz", "by its name no axial T2-weighted volume (ADC)"),
        ("x.mgz", "of a format that is not read"),
        ("x.zip", "of a format that is not read"),
    ],
)
def test_what_is_neither_image_nor_mask_of_the_gland_is_skipped_with_a_word(tmp_path, name, why):
    save(tmp_path / "raw/x.nii.gz", grey())
    save(tmp_path / "raw/x_seg.nii.gz", label())
    (tmp_path / "raw" / name).parent.mkdir(exist_ok=True)
    (tmp_path / "raw" / name).write_bytes(b"never read")
    result = run("folder", tmp_path / "raw", tmp_path / "out")
    assert result.done == ["LOCAL/Case00"]
    assert result.skipped == [f"{name}: {why}"]
    assert f"skipped: {name}: {why}" in str(result).splitlines()


@pytest.mark.fault(
    "Preparing and verifying data",
    "a mask is taken for an image",
    injected="a file of few values under an image's name",
    outcome="refused by its content",
)
@pytest.mark.parametrize("values", [(0, 1), (0, 255), (0, 1, 2, 3), tuple(range(16)), (0.0, 0.5, 1.0)])
def test_a_mask_in_the_place_of_an_image_fails_by_its_content(tmp_path, values):
    save(tmp_path / "raw/a.nii.gz", grey())
    save(tmp_path / "raw/b.nii.gz", np.resize(np.array(values, dtype=np.float32), SHAPE))
    save(tmp_path / "six/HK/Case00.nii.gz", np.resize(np.array(values, dtype=np.float32), SHAPE))
    result = run("folder", tmp_path / "raw", tmp_path / "out")
    assert result.done == ["LOCAL/Case00"]
    (failure,) = result.failed
    assert failure.code == "mask-as-image"
    assert f"the image holds {len(values)} different values only (0, " in str(failure)
    assert [f.code for f in run("six-site", tmp_path / "six", tmp_path / "out2").failed] == ["mask-as-image"]


def test_an_image_of_seventeen_values_is_an_image(tmp_path):
    save(tmp_path / "raw/a.nii.gz", np.resize(np.arange(17, dtype=np.int16), SHAPE))
    assert run("folder", tmp_path / "raw", tmp_path / "out").done == ["LOCAL/Case00"]


def test_the_mask_of_one_patient_is_not_taken_for_another(tmp_path):
    save(tmp_path / "raw/ann/scan1.nii.gz", grey())
    save(tmp_path / "raw/bob/scan1_seg.nii.gz", label())
    result = run("folder", tmp_path / "raw", tmp_path / "out")
    assert result.skipped == ["bob/scan1_seg.nii.gz: a mask without image"]
    assert result.warnings == {"LOCAL/Case00": ["no label: image only"]}


def test_a_mask_of_another_tree_is_paired_by_its_end_and_said(tmp_path):
    save(tmp_path / "raw/fold0/10/10_99_t2w.nii.gz", grey())
    save(tmp_path / "raw/labels/AI/10_99.nii.gz", label())
    result = run("folder", tmp_path / "raw", tmp_path / "out")
    assert result.done == ["LOCAL/Case00"]
    assert "paired by the end of its name: check the case" in result.warnings["LOCAL/Case00"][0]


@pytest.mark.fault(
    "Preparing and verifying data",
    "a label or image of several channels",
    injected="four-dimensional files",
    outcome="refused; no channel is chosen in silence",
)
@pytest.mark.parametrize("channels", [2, 3])
@pytest.mark.parametrize("kind", ["image", "label"])
@pytest.mark.parametrize("source", ["folder", "six-site", "prostate158", "decathlon"])
def test_a_volume_of_several_channels_is_never_cut_to_the_first(tmp_path, source, kind, channels):
    names = {
        "folder": ("a.nii.gz", "a_seg.nii.gz"),
        "six-site": ("HK/Case00.nii.gz", "HK/Case00_segmentation.nii.gz"),
        "prostate158": ("train/020/t2.nii.gz", "train/020/t2_anatomy_reader1.nii.gz"),
        "decathlon": ("imagesTr/prostate_00.nii.gz", "labelsTr/prostate_00.nii.gz"),
    }[source]
    drawn = (label() > 0).astype(np.uint8)
    # Background first, as one channel a class has it.
    one_hot = np.stack([1 - drawn, *[drawn] * (channels - 1)], axis=-1)
    series = np.stack([grey(seed) for seed in range(channels)], axis=-1)
    save(tmp_path / "raw" / names[0], series if kind == "image" else grey())
    save(tmp_path / "raw" / names[1], one_hot if kind == "label" else drawn)
    result = run(source, tmp_path / "raw", tmp_path / "out")
    if source == "decathlon" and kind == "image":
        # The one source whose images have channels.
        assert not result.failed
        return
    (failure,) = result.failed
    assert failure.code == "dimensions"
    assert failure.where == names[0 if kind == "image" else 1].split("/")[-1]
    assert f"has shape [9, 8, 7, {channels}], expected three axes; keep one volume a file" in str(failure)
    assert not result.done


def test_a_fourth_axis_of_one_volume_is_no_channel(tmp_path):
    save(tmp_path / "raw/a.nii.gz", grey()[..., None])
    save(tmp_path / "raw/a_seg.nii.gz", label()[..., None])
    assert run("folder", tmp_path / "raw", tmp_path / "out").done == ["LOCAL/Case00"]
