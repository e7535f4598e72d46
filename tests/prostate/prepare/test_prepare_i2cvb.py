# SPDX-License-Identifier: Apache-2.0
"""DICOM series of the I2CVB layout and of a plain folder: which label belongs to which slice."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
from dicom_files import (
    TILTED,
    dicom,
    grey,
    places,
    record_of,
    run,
    voxels,
    write_series,
    zones,
)


def i2cvb_patient(root: Path, name="Patient 383", keep=None, **other) -> Path:
    folder = root / "Siemens" / name
    write_series(folder / "T2W", grey(), orientation=TILTED, **other)
    gland = np.where(zones() > 0, 255, 0)
    write_series(
        folder / "GT/prostate",
        gland,
        orientation=TILTED,
        series="7",
        names=[f"{9 - k}.dcm" for k in range(6)],
        keep=keep,
    )
    return folder


def test_i2cvb_pairs_by_position(tmp_path):
    i2cvb_patient(tmp_path / "raw")
    result = run("i2cvb", tmp_path / "raw", tmp_path / "out")
    assert result.done == ["I2CVB/Case00"]
    assert not result.warnings
    np.testing.assert_array_equal(voxels(tmp_path / "out/I2CVB/Case00_segmentation.nii.gz"), zones() > 0)
    assert record_of(tmp_path / "out", "I2CVB/Case00")["patient_id"] == "Patient-383"


def test_i2cvb_label_that_lacks_slices(tmp_path):
    i2cvb_patient(tmp_path / "raw", keep=[1, 2, 3, 4, 5])
    i2cvb_patient(tmp_path / "raw", "Patient_400", keep=[0, 1, 2, 4, 5])
    result = run("i2cvb", tmp_path / "raw", tmp_path / "out")
    assert "lacks 1 slice(s) outside the drawn gland" in result.warnings["I2CVB/Case00"][0]
    np.testing.assert_array_equal(voxels(tmp_path / "out/I2CVB/Case00_segmentation.nii.gz"), zones() > 0)
    assert [(f.patient_id, f.code) for f in result.failed] == [("Patient-400", "gap")]


def test_i2cvb_label_without_positions_pairs_by_instance_number(tmp_path):
    folder = i2cvb_patient(tmp_path / "raw")
    for k in range(6):
        pixels = (zones()[:, :, k].T > 0) * 255
        (folder / f"GT/prostate/{9 - k}.dcm").write_bytes(dicom(pixels, position=None, instance=k + 1, series="7"))
    result = run("i2cvb", tmp_path / "raw", tmp_path / "out")
    assert result.warnings["I2CVB/Case00"] == ["the label's slices have no position: paired by InstanceNumber"]
    np.testing.assert_array_equal(voxels(tmp_path / "out/I2CVB/Case00_segmentation.nii.gz"), zones() > 0)


def test_i2cvb_label_beside_the_image_is_refused(tmp_path):
    folder = i2cvb_patient(tmp_path / "raw")
    for k, where in enumerate(places(TILTED, 6, origin=(-9.0, -20.0, 5.0))):
        pixels = (zones()[:, :, k].T > 0) * 255
        data = dicom(pixels, position=where, orientation=TILTED, instance=k + 1, series="7")
        (folder / f"GT/prostate/{9 - k}.dcm").write_bytes(data)
    result = run("i2cvb", tmp_path / "raw", tmp_path / "out")
    assert [f.code for f in result.failed] == ["affine-mismatch"]
    assert "(1.0 mm)" in str(result)


def test_ge_patients_get_a_site_of_their_own(tmp_path):
    write_series(tmp_path / "raw/GE/Patient 1/T2W", grey(), maker="GE MEDICAL SYSTEMS")
    write_series(tmp_path / "raw/Siemens/Patient 2/T2W", grey(), maker="GE MEDICAL SYSTEMS")
    result = run("i2cvb", tmp_path / "raw", tmp_path / "out")
    assert result.done == ["I2CVB_GE/Case00"]
    assert [(f.patient_id, f.code) for f in result.failed] == [("Patient-2", "site")]


def test_folder_reads_dicom_and_names_nobody(tmp_path, caplog):
    caplog.set_level("DEBUG")
    write_series(tmp_path / "raw/DOE_JOHN/scan", grey())
    write_series(tmp_path / "raw/ROE_JANE/scan", grey(1), keep=[0, 1, 3])
    affine = np.diag([-0.5, -0.5, 3.0, 1.0])
    affine[:3, 3] = [10, 20, 5]
    nib.save(nib.Nifti1Image((zones() > 0).astype(np.uint8), affine), tmp_path / "raw/DOE_JOHN/scan_seg.nii.gz")
    result = run("folder", tmp_path / "raw", tmp_path / "out", site="HOSPITAL")
    assert result.done == ["HOSPITAL/Case00"]
    assert [f.code for f in result.failed] == ["gap"]
    np.testing.assert_array_equal(voxels(tmp_path / "out/HOSPITAL/Case00_segmentation.nii.gz"), zones() > 0)
    written = b"".join(p.read_bytes() for p in (tmp_path / "out").rglob("*") if p.is_file()) + caplog.text.encode()
    for secret in (b"DOE", b"JOHN", b"ROE", b"JANE", b"1999"):
        assert secret not in written
    assert (tmp_path / "out/.prepare-key").stat().st_mode & 0o077 == 0
