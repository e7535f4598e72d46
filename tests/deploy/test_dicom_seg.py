# SPDX-License-Identifier: Apache-2.0
"""DICOM segmentations: the mask in three readers, what they refer to, and what they say of themselves."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import highdicom
import nibabel as nib
import numpy as np
import pydicom
import pytest
from deploy_tools import AS_IT_IS, write_model
from pydicom.sr.codedict import codes as known_codes
from series_tools import AXIAL, OBLIQUE, PERSON, affine_of, grey, write_nifti, write_series

import akd_monai
from akd_monai.deploy import segment
from akd_monai.deploy._segment_codes import KNOWN_CODES, codes_of
from akd_monai.errors import InputError

VOLUME, MARKED = grey()
THREE = {"class_names": '["background", "prostate", "lesion"]'}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    changes = {"modality": '"MR"', "weights_sha256": '"abc123"', "bundle_version": '"1.4.2"', **AS_IT_IS}
    return write_model(tmp_path_factory.mktemp("model") / "by_hand.onnx", **changes)


@pytest.fixture(scope="module", params=[OBLIQUE, AXIAL], ids=["oblique", "axial"])
def case(request, model, tmp_path_factory):
    """Return the folder of a series and what was made of it."""
    folder = tmp_path_factory.mktemp("case")
    paths = write_series(folder / "T2", VOLUME, orientation=request.param)
    (done,) = segment(folder / "T2", folder / "out", model=model, output_type=("nifti", "dicom_seg"))
    return paths, done, affine_of(request.param)


def voxels_of(path):
    return np.asarray(nib.load(path).dataobj)


def test_highdicom_places_the_segment_on_the_voxels_of_the_mask(case):
    _, done, affine = case
    volume = highdicom.seg.segread(done.dicom_seg).get_volume(combine_segments=True)
    to_ras = np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume.affine
    places = nib.affines.apply_affine(np.linalg.inv(affine) @ to_ras, np.argwhere(volume.array > 0))
    again = np.zeros(MARKED.shape, np.uint8)
    again[tuple(np.rint(places).astype(int).T)] = 1
    assert np.abs(places - np.rint(places)).max() < 1e-3
    np.testing.assert_array_equal(again, voxels_of(done.mask))
    np.testing.assert_array_equal(again, MARKED)


def test_pydicom_alone_finds_each_frame_on_its_source_slice(case):
    paths, done, _ = case
    seg = pydicom.dcmread(done.dicom_seg)
    slices = {pydicom.dcmread(path).SOPInstanceUID: k for k, path in enumerate(paths)}
    assert seg.NumberOfFrames == 2
    for frame, group in zip(seg.pixel_array, seg.PerFrameFunctionalGroupsSequence, strict=True):
        source = group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        k = slices[source]
        np.testing.assert_array_equal(frame, MARKED[:, :, k].T)
        position = pydicom.dcmread(paths[k]).ImagePositionPatient
        np.testing.assert_allclose(group.PlanePositionSequence[0].ImagePositionPatient, position, atol=1e-4)


def test_dcmqi_reads_as_many_voxels(case, tmp_path):
    dcmqi = pytest.importorskip("dcmqi")
    _, done, affine = case
    program = shutil.which("segimage2itkimage", path=str(Path(sys.executable).parent)) or shutil.which(
        "segimage2itkimage"
    )
    if program is None:
        pytest.skip(f"{dcmqi.__name__} has no segimage2itkimage")
    command = [program, "--inputDICOM", done.dicom_seg, "--outputDirectory", tmp_path, "--outputType", "nii"]
    subprocess.run(list(map(str, command)), check=True, capture_output=True)
    image = nib.load(tmp_path / "1.nii.gz")
    places = np.argwhere(np.asarray(image.dataobj) > 0)
    there = np.rint(nib.affines.apply_affine(np.linalg.inv(affine) @ image.affine, places)).astype(int)
    again = np.zeros(MARKED.shape, bool)
    again[tuple(there.T)] = True
    np.testing.assert_array_equal(again, MARKED)


def test_dciodvfy_finds_no_error(case):
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy (Debian: dicom3tools) is not installed")
    _, done, _ = case
    told = subprocess.run(["dciodvfy", str(done.dicom_seg)], capture_output=True, text=True, check=False)
    lines = (told.stdout + told.stderr).splitlines()
    assert "Segmentation" in lines
    assert [line for line in lines if line.startswith("Error")] == []


def test_what_it_says_of_itself(case):
    paths, done, _ = case
    seg = pydicom.dcmread(done.dicom_seg)
    source = pydicom.dcmread(paths[0])
    assert seg.SegmentationType == "BINARY"
    (segment_item,) = seg.SegmentSequence
    assert segment_item.SegmentLabel == "prostate"
    assert segment_item.SegmentAlgorithmType == "AUTOMATIC"
    kind = segment_item.SegmentedPropertyTypeCodeSequence[0]
    assert (kind.CodeValue, kind.CodingSchemeDesignator, kind.CodeMeaning) == ("41216001", "SCT", "Prostate")
    assert segment_item.SegmentedPropertyCategoryCodeSequence[0].CodeValue == "91723000"
    algorithm = segment_item.SegmentationAlgorithmIdentificationSequence[0]
    assert algorithm.AlgorithmName == "akd_monai by_hand"
    assert algorithm.AlgorithmVersion == "1.4.2"
    assert algorithm.AlgorithmFamilyCodeSequence[0].CodeMeaning == "Artificial Intelligence"
    assert "weights_sha256=abc123" in algorithm.AlgorithmParameters
    assert seg.SeriesDescription == "akd_monai mask: research only, not for clinical use"
    assert (seg.Manufacturer, seg.ManufacturerModelName) == ("akd_monai", "by_hand")
    assert seg.SoftwareVersions == akd_monai.__version__
    assert seg.SeriesNumber == 1003
    # it joins the study, in a series of its own
    for name in ("StudyInstanceUID", "FrameOfReferenceUID", "PatientName", "PatientID", "PatientBirthDate"):
        assert seg[name].value == source[name].value
    assert seg.SeriesInstanceUID != source.SeriesInstanceUID
    (reference,) = seg.ReferencedSeriesSequence
    assert reference.SeriesInstanceUID == source.SeriesInstanceUID
    assert len(reference.ReferencedInstanceSequence) == len(paths)


def without_what_must_differ(path):
    text = str(pydicom.dcmread(path))
    lines = [line for line in text.splitlines() if not re.search(r" (UI|DT|DA|TM): ", line)]
    # identifiers differ in length, and with them the group that holds them
    return [line for line in lines if "Pixel Data" not in line and "Group Length" not in line]


def test_equal_but_for_identifiers_and_times(case, model, tmp_path):
    paths, done, _ = case
    (again,) = segment(paths[0].parent, tmp_path, model=model, output_type="dicom_seg")
    assert again.mask is None
    assert [path.name for path in tmp_path.iterdir()] == ["T2_pred.seg.dcm"]
    assert without_what_must_differ(again.dicom_seg) == without_what_must_differ(done.dicom_seg)
    first, second = pydicom.dcmread(done.dicom_seg), pydicom.dcmread(again.dicom_seg)
    assert first.PixelData == second.PixelData
    assert first.SOPInstanceUID != second.SOPInstanceUID


def test_an_empty_mask_makes_no_segmentation_and_leaves_no_older_one(model, tmp_path):
    write_series(tmp_path / "T2", np.full((16, 16, 4), 7, np.uint16))
    older = tmp_path / "out" / "T2_pred.seg.dcm"
    older.parent.mkdir()
    older.write_bytes(b"of another day")
    (done,) = segment(tmp_path / "T2", tmp_path / "out", model=model, output_type="dicom_seg", statistics=True)
    assert done.dicom_seg is None
    assert done.warnings[1:] == (
        "the mask is empty, no voxel is marked",
        "no DICOM SEG was written, which cannot be empty",
        "T2_pred.seg.dcm of an earlier run was removed",
    )
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["statistics.json"]
    assert list(json.loads((tmp_path / "out" / "statistics.json").read_text())["volumes"]) == ["T2"]


def test_empty_masks_of_folders_of_one_name_are_told_apart(model, tmp_path):
    for patient in ("p1", "p2"):
        write_series(tmp_path / "in" / patient / "T2", np.full((16, 16, 4), 7, np.uint16))
    segment(tmp_path / "in", tmp_path / "out", model=model, output_type="dicom_seg", statistics=True)
    written = json.loads((tmp_path / "out" / "statistics.json").read_text())
    assert list(written["volumes"]) == ["p1/T2", "p2/T2"]


def test_several_classes_keep_their_numbers(tmp_path):
    # the logits of three classes: the brightest voxels are of class 2, and none of class 1
    model = write_model(
        tmp_path / "m.onnx", weights=(0.0, -9.0, 4.0), biases=(0.0, -9.0, -1.0), **{**AS_IT_IS, **THREE}
    )
    write_series(tmp_path / "T2", VOLUME)
    (done,) = segment(tmp_path / "T2", tmp_path / "out", model=model, output_type=["dicom_seg", "nifti"])
    assert set(np.unique(voxels_of(done.mask))) == {0, 2}
    seg = pydicom.dcmread(done.dicom_seg)
    assert [(item.SegmentNumber, item.SegmentLabel) for item in seg.SegmentSequence] == [(1, "prostate"), (2, "lesion")]
    numbers = {
        group.SegmentIdentificationSequence[0].ReferencedSegmentNumber for group in seg.PerFrameFunctionalGroupsSequence
    }
    assert numbers == {2}


def test_a_class_without_a_code(tmp_path):
    model = write_model(tmp_path / "m.onnx", **{**AS_IT_IS, "class_names": '["background", "left knob"]'})
    write_series(tmp_path / "T2", VOLUME)
    with pytest.raises(
        InputError, match=r"no code of SNOMED CT is known for 'left knob', .* --segment_codes FILE.json"
    ):
        segment(tmp_path / "T2", tmp_path / "out", model=model, output_type="dicom_seg")
    file = tmp_path / "codes.json"
    code = {"category": ["91723000", "SCT", "Anatomical Structure"], "type": ["12738006", "SCT", "Brain"]}
    file.write_text(json.dumps({"left knob": code}))
    (done,) = segment(tmp_path / "T2", tmp_path / "out", model=model, output_type="dicom_seg", segment_codes=file)
    item = pydicom.dcmread(done.dicom_seg).SegmentSequence[0]
    assert item.SegmentedPropertyTypeCodeSequence[0].CodeMeaning == "Brain"
    # a name in other letters is not passed over without a word
    file.write_text(json.dumps({"Prostate_Gland": code}))
    assert codes_of({1: "prostate"}, file)[1].type.meaning == "Brain"
    for wrong, message in (
        ("[]", "must hold an object at its top level"),
        (
            '{"left knob": {"type": ["1", "SCT", "x"]}}',
            r"category of 'left knob' must be a list of code, scheme and mean",
        ),
        ('{"left knob": {"typ": []}}', r"unknown entry 'typ' of 'left knob' of .*Did you mean 'type'"),
    ):
        file.write_text(wrong)
        with pytest.raises(InputError, match=message):
            segment(tmp_path / "T2", tmp_path / "out", model=model, output_type="dicom_seg", segment_codes=file)


def test_codes_are_those_of_the_standard():
    known = [getattr(known_codes.SCT, name) for name in known_codes.SCT.dir()]
    meanings = {(code.value, code.meaning.lower()) for code in known}
    # the zones of the prostate are in SNOMED CT, not among the codes that the standard itself uses
    own = {name: each for name, each in KNOWN_CODES.items() if not name.endswith("zone")}
    for each in own.values():
        for code in (each.category, each.type):
            assert (code.value, code.meaning.lower()) in meanings


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"output_type": "dicom_seg"}, r"output_type dicom_seg needs DICOM series, and t2.nii.gz is none; write nifti"),
        (
            {"output_type": "dicom_sge"},
            r"output_type must be one of 'nifti', 'dicom_seg', got 'dicom_sge'. Did you mean",
        ),
        ({"segment_codes": "codes.json"}, r"segment_codes are for a DICOM SEG, and none is written; add --output_type"),
        ({"output_type": []}, r"output_type must be one of 'nifti', 'dicom_seg', got None"),
    ],
)
def test_output_types_that_cannot_be(model, tmp_path, options, message):
    write_nifti(tmp_path / "t2.nii.gz", VOLUME)
    with pytest.raises(InputError, match=message):
        segment(tmp_path / "t2.nii.gz", tmp_path / "out", model=model, **options)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("missing", ["FrameOfReferenceUID", "StudyInstanceUID"])
def test_a_header_to_which_nothing_can_refer(model, tmp_path, missing):
    write_series(tmp_path / "T2", VOLUME, **{missing: None})
    with pytest.raises(InputError, match=rf"failed: T2 \(has no {missing}, by which a DICOM SEG refers to it\)"):
        segment(tmp_path / "T2", tmp_path / "out", model=model, output_type="dicom_seg")


def test_a_series_without_names_has_a_segmentation_without_names(model, tmp_path):
    write_series(tmp_path / "T2", VOLUME, **dict.fromkeys(PERSON))
    (done,) = segment(tmp_path / "T2", tmp_path / "out", model=model, output_type="dicom_seg")
    seg = pydicom.dcmread(done.dicom_seg)
    assert str(seg.PatientName) == ""
    assert seg.PatientID in (None, "")


@pytest.mark.fault(
    "Masks that are written",
    "a second run into a folder that writes fewer kinds of files",
    injected="another model and --output_type nifti, beside a DICOM SEG and a preview of the first run",
    outcome="a warning names both: they do not belong to the new mask",
)
def test_files_of_an_earlier_run_are_named(model, tmp_path):
    write_series(tmp_path / "T2", VOLUME)
    (first,) = segment(tmp_path / "T2", tmp_path / "out", model=model, output_type=["nifti", "dicom_seg"], preview=True)
    (again,) = segment(tmp_path / "T2", tmp_path / "out", model=model)
    assert [warning for warning in first.warnings if "earlier" in warning] == []
    assert [warning.split(" of an earlier run")[0] for warning in again.warnings if "does not belong" in warning] == [
        "T2_pred.seg.dcm",
        "T2_preview.png",
    ]


def test_where_the_mask_cannot_be_written_no_segmentation_is_left(model, tmp_path, caplog):
    write_series(tmp_path / "T2", VOLUME)
    (tmp_path / "out" / "T2_pred.nii.gz").mkdir(parents=True)
    with pytest.raises(InputError, match="0 of 1 volumes segmented"):
        segment(tmp_path / "T2", tmp_path / "out", model=model, output_type=["nifti", "dicom_seg"])
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["T2_pred.nii.gz"]
    assert "earlier run" not in caplog.text
