# SPDX-License-Identifier: Apache-2.0
"""Several DICOM series: one is taken where one fits, else all are listed and one must be chosen."""

from __future__ import annotations

import re

import nibabel as nib
import numpy as np
import pytest
from deploy_tools import AS_IT_IS, write_model
from pydicom.uid import generate_uid
from series_tools import AXIAL, PERSON, grey, write_nifti, write_series

from akd_monai.deploy import segment
from akd_monai.deploy._dicom_files import find_series
from akd_monai.errors import InputError

VOLUME, MARKED = grey()
OTHER, OTHER_MARKED = grey(box=((2, 8), (8, 18), (1, 3)))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("model") / "by_hand.onnx", modality='"MR"', **AS_IT_IS)


def mask_of(path):
    return np.asarray(nib.load(path).dataobj)


def warned(caplog):
    return [record.message for record in caplog.records if record.levelname == "WARNING"]


def two_series(folder, *, apart=False, **second):
    """Write two series of one study, into one folder or a folder each, and return the UID of the second."""
    study = generate_uid()
    write_series(folder / "a" if apart else folder, VOLUME, study=study, SeriesNumber=3, SeriesDescription="t2 tra")
    paths = write_series(
        folder / "b" if apart else folder,
        OTHER,
        prefix="other",
        **{"study": study, "SeriesNumber": 5, "SeriesDescription": "t2 tra repeated", **second},
    )
    return next(one.uid for one in find_series(folder, None).series if paths[0] in one.files)


@pytest.mark.parametrize("apart", [False, True], ids=["one folder", "two folders"])
def test_several_series_of_a_study_are_listed_and_none_is_taken(model, tmp_path, apart):
    uid = two_series(tmp_path / "in", apart=apart)
    with pytest.raises(InputError) as raised:
        segment(tmp_path / "in", tmp_path / "out", model=model)
    message = str(raised.value)
    assert message.startswith(f"{tmp_path / 'in'}: 2 series could be meant: 3 't2 tra' (MR, 6 slices, UID ")
    place = " in b" if apart else ""
    assert f"; 5 't2 tra repeated' (MR, 6 slices, UID {uid}){place}; choose one with --series NUMBER, or its" in message
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("apart", [False, True], ids=["one folder", "two folders"])
def test_one_is_chosen_by_number_or_uid(model, tmp_path, apart):
    uid = two_series(tmp_path / "in", apart=apart)
    for wanted, marked in ((3, MARKED), ("5", OTHER_MARKED), (uid, OTHER_MARKED)):
        (done,) = segment(tmp_path / "in", tmp_path / "out", model=model, series=wanted)
        np.testing.assert_array_equal(mask_of(done.mask), marked)
    names = sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.gz"))
    # the name of a folder that two share does not tell whose mask it is
    assert names == (
        ["a_pred.nii.gz", "b_pred.nii.gz"] if apart else ["in_series3_pred.nii.gz", "in_series5_pred.nii.gz"]
    )


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (4, r"no series has the number 4: 3 't2 tra' \(MR, 6 slices, UID .*; 5 't2 tra repeated'"),
        ("1.2.3", r"no series has the number or UID '1\.2\.3': 3 't2 tra'.*give --series a number"),
        # a digit that is no decimal number
        ("\u00b2", r"no series has the number or UID '\u00b2': 3 't2 tra'"),
    ],
)
def test_one_that_is_not_there(model, tmp_path, wanted, message):
    two_series(tmp_path / "in")
    with pytest.raises(InputError, match=message):
        segment(tmp_path / "in", tmp_path / "out", model=model, series=wanted)


def test_two_series_of_one_number(model, tmp_path):
    uid = two_series(tmp_path / "in", SeriesNumber=3)
    with pytest.raises(InputError, match=r"2 series have the number 3: .*; give --series one of the UIDs\."):
        segment(tmp_path / "in", tmp_path / "out", model=model, series=3)
    (done,) = segment(tmp_path / "in", tmp_path / "out", model=model, series=uid)
    np.testing.assert_array_equal(mask_of(done.mask), OTHER_MARKED)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"], "orientation": AXIAL}, "a localiser"),
        ({"ImageType": ["DERIVED", "SECONDARY"]}, r"no original image \(ImageType SECONDARY\)"),
        ({"Modality": "CT"}, r"CT, and the model was trained on MR \(by its metadata\)"),
        ({"Modality": "SEG"}, "no image"),
    ],
    ids=["localiser", "secondary", "CT", "segmentation"],
)
def test_what_does_not_fit_is_told_and_not_used(model, tmp_path, caplog, fields, reason):
    two_series(tmp_path / "in", **fields)
    (done,) = segment(tmp_path / "in", tmp_path / "out", model=model)
    np.testing.assert_array_equal(mask_of(done.mask), MARKED)
    (told,) = warned(caplog)
    assert re.search(rf"in: not used: 5 't2 tra repeated' \(.*\) is {reason}$", told), told


def test_another_modality_alone_is_refused(model, tmp_path):
    write_series(tmp_path / "ct", VOLUME, Modality="CT")
    message = r"ct: holds no series to segment: .* is CT, and the model was trained on MR \(by its metadata\); give ano"
    with pytest.raises(InputError, match=message):
        segment(tmp_path / "ct", tmp_path / "out", model=model)
    # also where it was chosen
    with pytest.raises(InputError, match=r"failed: ct \(is CT, and the model was trained on MR"):
        segment(tmp_path / "ct", tmp_path / "out", model=model, series=3)


def test_a_folder_of_patients_is_a_batch(model, tmp_path, caplog):
    folder = tmp_path / "in"
    write_series(folder / "p1" / "study" / "T2", VOLUME)
    two_series(folder / "p2")
    write_series(folder / "p3", OTHER)
    write_nifti(folder / "p4" / "t2.nii.gz", VOLUME)
    caplog.set_level("INFO")
    with pytest.raises(
        InputError, match=r"^3 of 4 volumes segmented; failed: p2 \(2 series could be meant: 3 't2 tra'"
    ):
        segment(folder, tmp_path / "out", model=model)
    names = sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.gz"))
    assert names == ["p1/study/T2_pred.nii.gz", "p3_pred.nii.gz", "p4/t2_pred.nii.gz"]
    np.testing.assert_array_equal(mask_of(tmp_path / "out" / "p3_pred.nii.gz"), OTHER_MARKED)
    lines = [record.message for record in caplog.records if re.match(r"\d/4 ", record.message)]
    assert len(lines) == 4
    assert any(line.startswith("2/4 p1/study/T2: prostate ") for line in lines)
    # the list is complete, to its last words
    refused = next(line for line in lines if "not segmented" in line)
    assert "5 't2 tra repeated'" in refused
    assert refused.endswith("choose one with --series NUMBER, or its UID.")


def test_a_series_in_several_folders_is_one(model, tmp_path):
    paths = write_series(tmp_path / "in" / "first", VOLUME)
    (tmp_path / "in" / "second").mkdir()
    for path in paths[3:]:
        path.rename(tmp_path / "in" / "second" / path.name)
    (done,) = segment(tmp_path / "in", tmp_path / "out", model=model)
    np.testing.assert_array_equal(mask_of(done.mask), MARKED)


def test_names_with_dots_and_of_files(model, tmp_path):
    write_series(tmp_path / "in" / "1.2.840", VOLUME)
    write_series(tmp_path / "in" / "1.2.841", VOLUME)
    write_series(tmp_path / "in" / "t2", VOLUME)
    write_nifti(tmp_path / "in" / "t2.nii.gz", OTHER)
    done = segment(tmp_path / "in", tmp_path / "out", model=model)
    assert sorted(each.mask.name for each in done) == [
        "1.2.840_pred.nii.gz",
        "1.2.841_pred.nii.gz",
        "t2.dicom_pred.nii.gz",
        "t2.nii.gz_pred.nii.gz",
    ]
    np.testing.assert_array_equal(mask_of(tmp_path / "out" / "t2.nii.gz_pred.nii.gz"), OTHER_MARKED)


def test_the_current_folder_has_a_name(model, tmp_path, monkeypatch):
    write_series(tmp_path / "T2", VOLUME)
    monkeypatch.chdir(tmp_path / "T2")
    (done,) = segment(".", tmp_path / "out", model=model)
    assert done.mask.name == "T2_pred.nii.gz"


def test_series_is_for_dicom(model, tmp_path):
    write_nifti(tmp_path / "t2.nii.gz", VOLUME)
    with pytest.raises(InputError, match=r"--series 3 chooses among DICOM series, and '.*' holds none"):
        segment(tmp_path / "t2.nii.gz", tmp_path / "out", model=model, series=3)


def test_words_of_the_patient_in_a_description_are_not_told(model, tmp_path):
    name = PERSON["PatientName"].split("^")[0]
    two_series(tmp_path / "in", SeriesDescription=f"t2 of {name.upper()} {PERSON['PatientID']}")
    with pytest.raises(InputError, match=r"5 't2 of \*\*\* \*\*\*' \(MR"):
        segment(tmp_path / "in", tmp_path / "out", model=model)


def test_dicom_without_an_image(model, tmp_path):
    write_series(tmp_path / "in", VOLUME, Modality="SEG")
    with pytest.raises(InputError, match=r"holds no image, only other DICOM files; give a series with -i"):
        segment(tmp_path / "in", tmp_path / "out", model=model)


def test_without_the_packages(model, tmp_path, monkeypatch):
    write_series(tmp_path / "T2", VOLUME)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(
        InputError, match=r"DICOM needs pydicom, which is not installed; pip install 'akd_monai\[segment"
    ):
        segment(tmp_path / "T2", tmp_path / "out", model=model)
