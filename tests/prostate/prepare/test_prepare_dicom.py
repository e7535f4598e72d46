# SPDX-License-Identifier: Apache-2.0
"""Tests of the DICOM readers on tiny synthetic series, written byte by byte."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from dicom_files import (
    SHAPE,
    STRAIGHT,
    TILTED,
    UID,
    dicom,
    grey,
    places,
    record_of,
    run,
    voxels,
    write_nrrd,
    write_series,
    zones,
)


def nci_patient(root: Path, patient="Prostate3T-01-0007", **other) -> Path:
    folder = root / "Prostate-3T" / patient / "study" / "series"
    write_series(folder, grey(), **other)
    return folder


@pytest.mark.fault(
    "Preparing and verifying data",
    "files of slices in any order",
    injected="shuffled names",
    outcome="ordered by position",
)
@pytest.mark.parametrize("orientation", [STRAIGHT, TILTED], ids=["straight", "tilted"])
@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4, 5], [5, 4, 3, 2, 1, 0], [0, 2, 4, 1, 5, 3]])
def test_slices_follow_position_not_name(tmp_path, orientation, order):
    names = [f"{order.index(k):06d}.dcm" for k in range(6)]
    nci_patient(tmp_path / "raw", orientation=orientation, names=names)
    write_nrrd(tmp_path / "raw/Training/Prostate3T-01-0007.nrrd", zones(), orientation=orientation)
    result = run("nci-isbi-2013", tmp_path / "raw", tmp_path / "out")
    assert str(result).startswith("1 prepared")
    image, label = (nib.load(tmp_path / f"out/RUNMC/Case06{end}.nii.gz") for end in ("", "_segmentation"))
    np.testing.assert_array_equal(np.asanyarray(image.dataobj), grey())
    np.testing.assert_array_equal(np.asanyarray(label.dataobj), zones() > 0)
    np.testing.assert_array_equal(image.affine, label.affine)
    assert label.get_data_dtype() == np.uint8
    # Voxel (2, 3, 4) by hand: position of slice 4 plus two columns and three rows, LPS to RAS.
    lps = places(orientation, 5)[4] + 2 * 0.5 * np.array(orientation[:3]) + 3 * 0.5 * np.array(orientation[3:])
    np.testing.assert_allclose(image.affine @ [2, 3, 4, 1], [-lps[0], -lps[1], lps[2], 1], atol=1e-4)


def test_manifest_tells_the_scan_and_no_person(tmp_path, caplog):
    caplog.set_level("DEBUG")
    folder = tmp_path / "raw/Prostate-3T/Prostate3T-01-0007/12-31-1999-NA-MR prostate/2.000000-t2tsetra"
    write_series(folder, grey())
    write_nrrd(tmp_path / "raw/Training/Prostate3T-01-0007.nrrd", zones())
    run("nci-isbi-2013", tmp_path / "raw", tmp_path / "out")
    record = record_of(tmp_path / "out", "RUNMC/Case06")
    assert record["scanner"] == {"manufacturer": "SIEMENS", "receive_coil": "Endorectal", "field_strength_t": 3.0}
    assert record["original"] == {"size": [10, 8, 6], "spacing_mm": [0.5, 0.5, 3.0], "orientation": "LPS"}
    assert record["series"] == "DATE-NA-MR prostate/2.000000-t2tsetra"
    assert record["patient_id"] == "Prostate3T-01-0007"
    written = b"".join(p.read_bytes() for p in (tmp_path / "out").rglob("*") if p.is_file()) + caplog.text.encode()
    for secret in (b"DOE", b"JOHN", b"4711", b"1999", UID.encode()):
        assert secret not in written
    for path in (tmp_path / "out").rglob("*.nii.gz"):
        header = nib.load(path).header
        assert [header[name].item() for name in ("descrip", "aux_file", "intent_name", "db_name")] == [b""] * 4
        assert not header.extensions
        assert path.read_bytes()[3] & 8 == 0  # no file name in the gzip header


def test_few_slices_take_their_block_of_a_full_label(tmp_path):
    nci_patient(tmp_path / "raw", keep=[2, 3, 4], orientation=TILTED)
    write_nrrd(tmp_path / "raw/Prostate3T-01-0007.nrrd", zones(), orientation=TILTED)
    run("nci-isbi-2013", tmp_path / "raw", tmp_path / "out")
    np.testing.assert_array_equal(voxels(tmp_path / "out/RUNMC/Case06_segmentation.nii.gz"), zones()[:, :, 2:5] > 0)
    assert "paired by position" in record_of(tmp_path / "out", "RUNMC/Case06")["warnings"][0]


@pytest.mark.parametrize("shift", [0.5, 1.5], ids=["a sixth of a slice", "half a slice"])
def test_few_slices_elsewhere_are_refused(tmp_path, shift):
    nci_patient(tmp_path / "raw", keep=[2, 3, 4])
    corner = places(STRAIGHT, 1)[0] - np.array([0.25, 0.25, 1.5]) + [0, 0, shift]
    write_nrrd(tmp_path / "raw/Prostate3T-01-0007.nrrd", zones(), origin=corner)
    result = run("nci-isbi-2013", tmp_path / "raw", tmp_path / "out")
    assert [f.code for f in result.failed] == ["shape-mismatch"]
    assert "is no block of the label's grid" in str(result)
    assert result.exit_code == 2
    assert not (tmp_path / "out/RUNMC").exists()


def test_label_with_untrue_direction_pairs_by_index_and_warns(tmp_path):
    nci_patient(tmp_path / "raw", orientation=TILTED)
    write_nrrd(tmp_path / "raw/Prostate3T-01-0007.nrrd", zones(), orientation=STRAIGHT)
    run("nci-isbi-2013", tmp_path / "raw", tmp_path / "out")
    np.testing.assert_array_equal(voxels(tmp_path / "out/RUNMC/Case06_segmentation.nii.gz"), zones() > 0)
    assert "paired by index" in record_of(tmp_path / "out", "RUNMC/Case06")["warnings"][0]


def test_label_whose_header_runs_the_other_way_is_reversed(tmp_path):
    nci_patient(tmp_path / "raw")
    reversed_steps = (0.5, 0.5, -3.0)
    corner = places(STRAIGHT, 6)[5] - np.array([0.25, 0.25, -1.5])
    write_nrrd(tmp_path / "raw/Prostate3T-01-0007.nrrd", zones()[:, :, ::-1], origin=corner, spacing=reversed_steps)
    run("nci-isbi-2013", tmp_path / "raw", tmp_path / "out")
    np.testing.assert_array_equal(voxels(tmp_path / "out/RUNMC/Case06_segmentation.nii.gz"), zones() > 0)
    assert record_of(tmp_path / "out", "RUNMC/Case06")["flips"] == ["label: slices reversed, as its header says"]


def test_flip_labels_reverses_the_label_alone(tmp_path):
    nci_patient(tmp_path / "raw")
    write_nrrd(tmp_path / "raw/Prostate3T-01-0007_truth.nrrd", zones())
    run("nci-isbi-2013", tmp_path / "raw", tmp_path / "out", flip_labels=["Prostate3T-01-0007"])
    np.testing.assert_array_equal(voxels(tmp_path / "out/RUNMC/Case06_segmentation.nii.gz"), zones()[:, :, ::-1] > 0)
    np.testing.assert_array_equal(voxels(tmp_path / "out/RUNMC/Case06.nii.gz"), grey())


def test_case_numbers_corrected_labels_and_unlabelled_cases(tmp_path):
    raw = tmp_path / "raw"
    for patient in ("ProstateDx-01-0006", "Prostate3T-02-0003", "prostate3t-03-0001"):
        nci_patient(raw, patient)
    wrong = np.zeros(SHAPE)
    write_nrrd(raw / "Training/ProstateDx-01-0006.nrrd", wrong)
    write_nrrd(raw / "Training/ProstateDx-01-0006_correctedLabels.nrrd", zones())
    write_nrrd(raw / "Leaderboard/Prostate3T-02-0003_truth.nrrd", zones())
    write_nrrd(raw / "Training/Prostate3T-01-0020.nrrd", zones())
    result = run("nci-isbi-2013", raw, tmp_path / "out")
    assert sorted(result.done) == ["BMC/Case02", "RUNMC/Case103", "RUNMC/Case201"]
    assert voxels(tmp_path / "out/BMC/Case02_segmentation.nii.gz").sum() == (zones() > 0).sum()
    assert record_of(tmp_path / "out", "RUNMC/Case201")["labelled"] is False
    assert (tmp_path / "out/unlabelled/RUNMC/Case201.nii.gz").is_file()
    assert not (tmp_path / "out/RUNMC/Case201.nii.gz").exists()
    skipped = {"Training/Prostate3T-01-0020.nrrd": "a label without images"}
    # Of the patient with a corrected label, the other one is named as well.
    skipped["Training/ProstateDx-01-0006.nrrd"] = "a volume that this source does not use"
    assert dict(entry.split(": ") for entry in result.skipped) == skipped
    assert "skipped: Training/Prostate3T-01-0020.nrrd: a label without images" in str(result).splitlines()


def spoil_gap(folder):
    (folder / "000003.dcm").unlink()


def spoil_same_place(folder):
    (folder / "again.dcm").write_bytes(dicom(grey(1)[:, :, 2].T, position=places(STRAIGHT, 6)[2], instance=9))


def spoil_two_series(folder):
    where = places(STRAIGHT, 6, beside=(0, 0, 3.0))[5]
    (folder / "other.dcm").write_bytes(dicom(grey(1)[:, :, 2].T, position=where, instance=1, series="2"))


def spoil_truncated(folder):
    (folder / "000004.dcm").write_bytes((folder / "000004.dcm").read_bytes()[:-40])


def spoil_garbage(folder):
    (folder / "000004.dcm").write_bytes(b"no image at all" * 50)


def spoil_no_position(folder):
    (folder / "000004.dcm").write_bytes(dicom(grey()[:, :, 4].T, position=None, instance=5))


def spoil_uneven(folder):
    where = places(STRAIGHT, 6, beside=(0, 0, 0.8))[4]
    (folder / "000004.dcm").write_bytes(dicom(grey()[:, :, 4].T, position=where, instance=5))


def spoil_localizer(folder):
    where = places(STRAIGHT, 6, beside=(0, 0, 3.0))[5]
    (folder / "000006.dcm").write_bytes(dicom(np.ones((4, 4)), position=where, instance=7))


def spoil_sheared(folder):
    for k in range(6):
        where = places(STRAIGHT, 6, beside=(0, 0.5 * k, 0))[k]
        (folder / f"{k:06d}.dcm").write_bytes(dicom(grey()[:, :, k].T, position=where, instance=k + 1))


@pytest.mark.fault(
    "Preparing and verifying data",
    "damaged DICOM series",
    injected="missing, duplicate, oblique, slipped slices, other sizes, garbage and more",
    outcome="each is named with the remedy; the others are done",
)
@pytest.mark.parametrize(
    ("spoil", "code", "words"),
    [
        (spoil_gap, "gap", "1 slice(s) missing at 14.00 mm along the slice normal, between 000002.dcm and 000004.dcm"),
        (spoil_same_place, "same-position", "000002.dcm and again.dcm lie at one position (11.00 mm)"),
        (spoil_two_series, "several-series", f"holds 2 series: {UID}.1 (6 files), {UID}.2 (1 files)"),
        (spoil_truncated, "unreadable", "000004.dcm: is truncated or damaged"),
        (spoil_garbage, "unreadable", "000004.dcm: is truncated or damaged"),
        (spoil_no_position, "no-geometry", "1 of 6 slices have no position"),
        (spoil_uneven, "uneven", "slice distances vary from 2.20 to 3.80 mm"),
        (spoil_localizer, "mixed-slices", "differ in size"),
        (spoil_sheared, "sheared", "slices slip sideways by 2.5 mm over 15.0 mm"),
    ],
)
def test_bad_series_is_named_and_the_others_are_done(tmp_path, spoil, code, words):
    spoil(nci_patient(tmp_path / "raw"))
    nci_patient(tmp_path / "raw", "Prostate3T-01-0008")
    result = run("nci-isbi-2013", tmp_path / "raw", tmp_path / "out")
    assert result.done == ["RUNMC/Case07"]
    (failure,) = result.failed
    assert (failure.case, failure.patient_id, failure.code) == ("RUNMC/Case06", "Prostate3T-01-0007", code)
    assert words in str(failure)
    assert "\n" not in str(failure)
    assert str(failure).endswith(".")
    assert json.loads((tmp_path / "out/manifest.json").read_text())["failed"][0]["code"] == code


def test_the_axial_t2_series_is_chosen_among_several(tmp_path):
    study = tmp_path / "raw/PROSTATE-DIAGNOSIS/ProstateDx-01-0001/study"
    coronal = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)
    write_series(study / "a", grey(1), description="T1 axial", series="11")
    write_series(study / "b", grey(2), description="T2 coronal", series="12", orientation=coronal)
    write_series(study / "c", grey(3), description="T2 axial", series="13")
    run("nci-isbi-2013", tmp_path / "raw", tmp_path / "out")
    np.testing.assert_array_equal(voxels(tmp_path / "out/unlabelled/BMC/Case00.nii.gz"), grey(3))
    write_series(study / "d", grey(4), description="T2 axial again", series="14")
    result = run("nci-isbi-2013", tmp_path / "raw", tmp_path / "out2")
    assert "2 series could be the axial T2-weighted one" in str(result)
