# SPDX-License-Identifier: Apache-2.0
"""Tests of the DICOM readers on tiny synthetic series, written byte by byte."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from akd_monai.data.prepare import prepare

UID = "1.2.826.0.1.3680043.10.9999"
# 12 degrees of tilt, as an axial series of the prostate has.
TILTED = (1.0, 0.0, 0.0, 0.0, np.cos(0.2), np.sin(0.2))
STRAIGHT = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
SHAPE = (10, 8, 6)
SPACING = (0.5, 0.5, 3.0)


def element(group: int, number: int, kind: str, value: bytes) -> bytes:
    """Encode one element in explicit little endian."""
    value += b" " * (len(value) % 2) if kind not in ("UI", "OB", "OW") else b"\0" * (len(value) % 2)
    head = struct.pack("<HH2s", group, number, kind.encode())
    return head + (struct.pack("<HI", 0, len(value)) if kind in ("OB", "OW") else struct.pack("<H", len(value))) + value


def decimals(values) -> bytes:
    return "\\".join(f"{v:.10g}" for v in values).encode()


def short(group: int, number: int, value: int) -> bytes:
    return element(group, number, "US", struct.pack("<H", value))


def dicom(
    pixels, *, position, orientation=STRAIGHT, series="1", instance=1, description="t2_tse_tra", **other
) -> bytes:
    """Return one DICOM file; ``pixels`` are ``[row, column]``. Personal fields are filled on purpose."""
    spacing = other.get("spacing", SPACING)
    elements = [
        element(8, 0x16, "UI", b"1.2.840.10008.5.1.4.1.1.4"),
        element(8, 0x18, "UI", f"{UID}.{series}.{instance}".encode()),
        element(8, 0x20, "DA", b"19991231"),
        element(8, 0x60, "CS", other.get("modality", "MR").encode()),
        element(8, 0x70, "LO", other.get("maker", "SIEMENS").encode()),
        element(8, 0x103E, "LO", description.encode()),
        element(0x10, 0x10, "PN", b"DOE^JOHN"),
        element(0x10, 0x20, "LO", b"HOSPITAL-4711"),
        element(0x18, 0x50, "DS", b"3"),
        element(0x18, 0x87, "DS", b"3"),
        element(0x18, 0x88, "DS", b"1"),
        element(0x18, 0x1250, "SH", b"Endorectal"),
        element(0x20, 0x0D, "UI", f"{UID}.9".encode()),
        element(0x20, 0x0E, "UI", f"{UID}.{series}".encode()),
        element(0x20, 0x13, "IS", str(instance).encode()),
        *([element(0x20, 0x32, "DS", decimals(position))] if position is not None else []),
        element(0x20, 0x37, "DS", decimals(orientation)),
        short(0x28, 2, 1),
        element(0x28, 4, "CS", b"MONOCHROME2"),
        short(0x28, 0x10, pixels.shape[0]),
        short(0x28, 0x11, pixels.shape[1]),
        element(0x28, 0x30, "DS", decimals((spacing[1], spacing[0]))),
        short(0x28, 0x100, 16),
        short(0x28, 0x101, 16),
        short(0x28, 0x102, 15),
        short(0x28, 0x103, 0),
        element(0x7FE0, 0x10, "OW", pixels.astype("<u2").tobytes()),
    ]
    meta = [
        element(2, 1, "OB", b"\0\1"),
        element(2, 2, "UI", b"1.2.840.10008.5.1.4.1.1.4"),
        element(2, 3, "UI", f"{UID}.{series}.{instance}".encode()),
        element(2, 0x10, "UI", b"1.2.840.10008.1.2.1"),
        element(2, 0x12, "UI", f"{UID}.8".encode()),
    ]
    length = element(2, 0, "UL", struct.pack("<I", sum(map(len, meta))))
    return b"\0" * 128 + b"DICM" + length + b"".join(meta) + b"".join(elements)


def places(orientation, count, origin=(-10.0, -20.0, 5.0), beside=(0.0, 0.0, 0.0)):
    """Positions of slices along the normal, each moved by ``beside`` mm."""
    normal = np.cross(orientation[:3], orientation[3:])
    return [np.array(origin) + k * SPACING[2] * normal + np.array(beside) for k in range(count)]


def write_series(folder: Path, volume, *, orientation=STRAIGHT, names=None, keep=None, **other) -> None:
    """Write ``volume[i, j, k]`` as one file a slice; ``names`` says how the slices are called."""
    folder.mkdir(parents=True, exist_ok=True)
    where = places(orientation, volume.shape[2])
    for k in keep if keep is not None else range(volume.shape[2]):
        name = names[k] if names else f"{k:06d}.dcm"
        data = dicom(volume[:, :, k].T, position=where[k], orientation=orientation, instance=k + 1, **other)
        (folder / name).write_bytes(data)


def vector(values) -> str:
    return "(" + ",".join(f"{x:.12g}" for x in values) + ")"


def write_nrrd(path: Path, label, *, orientation=STRAIGHT, origin=None, spacing=SPACING) -> None:
    """Write ``label[i, j, k]``; the origin is the corner of the first voxel of ``places``, as in NCI-ISBI 2013."""
    directions = np.stack([orientation[:3], orientation[3:], np.cross(orientation[:3], orientation[3:])], axis=1)
    steps = directions * np.array(spacing)
    corner = places(orientation, 1)[0] - steps @ [0.5, 0.5, 0.5] if origin is None else np.array(origin)
    header = (
        "NRRD0004\ntype: short\ndimension: 3\nspace: left-posterior-superior\n"
        f"sizes: {' '.join(map(str, label.shape))}\nspace directions: {' '.join(map(vector, steps.T))}\n"
        f"kinds: domain domain domain\nendian: little\nencoding: raw\nspace origin: {vector(corner)}\n\n"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(header.encode() + label.astype("<i2").tobytes(order="F"))


def grey(seed=0):
    return np.random.default_rng(seed).integers(1, 2000, SHAPE).astype(np.uint16)


def zones():
    """A label with both zones, in which no two slices and no two mirror images are alike."""
    label = np.zeros(SHAPE, dtype=np.int16)
    for k in range(1, 5):
        label[2 : 4 + k, 1:5, k] = 1
        label[3:4, 2 : 3 + k // 2, k] = 2
    return label


def nci_patient(root: Path, patient="Prostate3T-01-0007", **other) -> Path:
    folder = root / "Prostate-3T" / patient / "study" / "series"
    write_series(folder, grey(), **other)
    return folder


def run(source, root, out, **other):
    return prepare(source, root, out, workers=1, progress=False, **other)


def record_of(out, name):
    return next(r for r in json.loads((out / "manifest.json").read_text())["cases"] if r["case_id"] == name)


def voxels(path):
    return np.asanyarray(nib.load(path).dataobj)


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
    assert "is no block of the label's grid" in str(result) and result.exit_code == 2
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
    assert result.skipped == ["1 label(s) without images, first Prostate3T-01-0020"]


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


@pytest.mark.parametrize(
    ("spoil", "code", "words"),
    [
        (spoil_gap, "gap", "1 slice(s) missing at 14.00 mm along the slice normal, between 000002.dcm and 000004.dcm"),
        (spoil_same_place, "same-position", "000002.dcm and again.dcm lie at one position (11.00 mm)"),
        (spoil_two_series, "several-series", f"holds 2 series: {UID}.1 (6 files), {UID}.2 (1 files)"),
        (spoil_truncated, "unreadable", "000004.dcm: is no readable DICOM image"),
        (spoil_garbage, "unreadable", "000004.dcm: is no readable DICOM image"),
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
    assert "\n" not in str(failure) and str(failure).endswith(".")
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
    assert result.done == ["I2CVB/Case00"] and not result.warnings
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
    assert [f.code for f in result.failed] == ["affine-mismatch"] and "(1.0 mm)" in str(result)


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
    assert result.done == ["HOSPITAL/Case00"] and [f.code for f in result.failed] == ["gap"]
    np.testing.assert_array_equal(voxels(tmp_path / "out/HOSPITAL/Case00_segmentation.nii.gz"), zones() > 0)
    written = b"".join(p.read_bytes() for p in (tmp_path / "out").rglob("*") if p.is_file()) + caplog.text.encode()
    for secret in (b"DOE", b"JOHN", b"ROE", b"JANE", b"1999"):
        assert secret not in written
    assert (tmp_path / "out/.prepare-key").stat().st_mode & 0o077 == 0
