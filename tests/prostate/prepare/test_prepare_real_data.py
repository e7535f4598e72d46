# SPDX-License-Identifier: Apache-2.0
"""Prepare and verify on real prostate MRI, where it is at hand."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nibabel.processing import resample_from_to

from akd_monai.prostate import prepare_dataset, verify_dataset
from akd_monai.prostate.flip_evidence import flip_evidence
from akd_monai.prostate.prepare._sources.files import read_volume

DATA = Path(__file__).resolve().parents[4] / "shared" / "data"


def real(name):
    path = DATA / name
    if not path.exists():
        pytest.skip(f"skipped: {name} of the real data is not here")
    return path


def voxels(path):
    return np.asanyarray(nib.load(path).dataobj)


def run(source, root, out, **other):
    return prepare_dataset(source, root, out, workers=0, progress=False, **other)


def overlap(prepared, known):
    """Return the Dice overlap of a prepared mask with one of the same scan that was converted by somebody else."""
    ours, theirs = nib.load(prepared), nib.load(known)
    moved = np.asanyarray(
        resample_from_to(nib.Nifti1Image(voxels(known) * 1.0, theirs.affine), ours, order=1, mode="nearest").dataobj
    )
    first, second = np.asanyarray(ours.dataobj) > 0, moved >= 0.5
    return 2 * (first & second).sum() / (first.sum() + second.sum())


def test_nci_isbi_three_slices_of_a_full_label(tmp_path):
    raw = real("raw/nci-isbi-2013")
    result = run("nci-isbi-2013", raw, tmp_path)
    assert sorted(result.done) == ["RUNMC/Case12", "RUNMC/Case201"]
    assert not result.failed
    assert len(result.skipped) == 49
    line = "skipped: Training/Prostate3T-01-0001.nrrd and 48 more: a label without images"
    assert line in str(result).splitlines()
    image, mask = voxels(tmp_path / "RUNMC/Case12.nii.gz"), voxels(tmp_path / "RUNMC/Case12_segmentation.nii.gz")
    # The label's origin is -33.89 mm, half a voxel below its first slice; the image starts at -15.91: slice 4.
    full = read_volume(raw / "Training/Prostate3T-01-0013.nrrd").array
    np.testing.assert_array_equal(mask, full[:, :, 4:7] > 0)
    assert image.shape == (320, 320, 3)
    assert image.max() == 1437
    known = real("six-site-mini384/RUNMC/Case00_segmentation.nii.gz")
    assert overlap(tmp_path / "RUNMC/Case12_segmentation.nii.gz", known) > 0.98
    record = next(r for r in json.loads((tmp_path / "manifest.json").read_text())["cases"] if r["labelled"])
    assert record["scanner"] == {"manufacturer": "SIEMENS", "model": "TrioTim", "field_strength_t": 3.0}
    text = (tmp_path / "manifest.json").read_text()
    assert "2003" not in text
    assert "072Y" not in text
    assert "1155020115944883" not in text


def test_nci_isbi_test_patient_is_in_order_of_position(tmp_path):
    run("nci-isbi-2013", real("raw/nci-isbi-2013"), tmp_path)
    prepared, known = tmp_path / "unlabelled/RUNMC/Case201.nii.gz", real("six-site-full/RUNMC/Case01.nii.gz")
    # The same scan, converted by somebody else.
    np.testing.assert_array_equal(voxels(prepared), voxels(known))
    np.testing.assert_allclose(nib.load(prepared).affine, nib.load(known).affine, atol=1e-2)


def test_i2cvb_gland_lies_on_the_image(tmp_path):
    raw = real("raw/i2cvb")
    result = run("i2cvb", raw, tmp_path)
    assert result.done == ["I2CVB/Case00"]
    assert not result.warnings
    image, mask = nib.load(tmp_path / "I2CVB/Case00.nii.gz"), nib.load(tmp_path / "I2CVB/Case00_segmentation.nii.gz")
    assert image.shape == (384, 308, 5)
    assert set(np.unique(np.asanyarray(mask.dataobj))) == {0, 1}
    known = real("six-site-mini384/I2CVB/Case00_segmentation.nii.gz")
    assert overlap(tmp_path / "I2CVB/Case00_segmentation.nii.gz", known) > 0.97
    # Positions are 1.25 mm apart although the header says 1.
    np.testing.assert_allclose(image.header.get_zooms(), (0.789, 0.789, 1.25), atol=1e-3)


@pytest.mark.parametrize("size", [None, 192])
def test_six_site_prepared_is_found_good(tmp_path, size):
    run("six-site", real("six-site-mini192"), tmp_path, size=size)
    report = verify_dataset(tmp_path, workers=1, progress=False)
    assert report.findings == []
    assert len(report.cases) == 7
    volumes = {case["case"]: case["gland_cm3"] for case in report.cases}
    assert volumes["RUNMC/Case03"] == pytest.approx(66.6, abs=0.1)


@pytest.mark.parametrize("name", ["six-site-mini192", "six-site-mini384", "six-site-full"])
def test_the_public_layout_is_found_good_zones_included(name):
    assert verify_dataset(real(name), workers=1, progress=False).findings == []


def test_zones_are_refused_where_they_were_not_asked_for():
    report = verify_dataset(real("six-site-mini192"), workers=1, progress=False, label_values=(0, 1))
    assert [(f.case, f.code) for f in report.findings] == [("RUNMC/Case00", "label-values")]


def test_one_scan_in_two_public_sets_is_found(tmp_path):
    run("nci-isbi-2013", real("raw/nci-isbi-2013"), tmp_path)
    run("six-site", real("six-site-full"), tmp_path)
    report = verify_dataset(tmp_path, workers=1, progress=False)
    (finding,) = report.findings
    assert finding.code == "duplicate"
    assert "RUNMC/Case01 and RUNMC/Case201 hold the same voxels" in finding.message


def test_whole_site_upside_down_is_noticed(tmp_path):
    source = real("six-site-full/RUNMC")
    for path in source.glob("*.nii.gz"):
        image = nib.load(path)
        array = np.asanyarray(image.dataobj)
        target = tmp_path / "RUNMC" / path.name
        target.parent.mkdir(exist_ok=True)
        nib.save(nib.Nifti1Image(array[:, :, ::-1] if "_seg" in path.name else array, image.affine), target)
    codes = {finding.code for finding in verify_dataset(tmp_path, workers=1, progress=False).findings}
    assert codes == {"site-upside-down"}


def test_flip_evidence_is_right_on_real_glands():
    for path in sorted(real("six-site-mini192").glob("*/*_segmentation.nii.gz")):
        image = nib.load(str(path).replace("_segmentation", ""))
        grey, mask = np.asanyarray(image.dataobj), voxels(path)
        if mask.shape[2] >= 7:
            assert flip_evidence(grey, mask, image.affine)["P"] > 3
            assert flip_evidence(grey, mask[:, ::-1], image.affine)["P"] < -3
