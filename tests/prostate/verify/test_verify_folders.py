# SPDX-License-Identifier: Apache-2.0
"""Folders under verify: zones, manifests, reports, fixes, and paths that are no data set."""

from __future__ import annotations

import gzip
import hashlib
import json

import nibabel as nib
import numpy as np
import pytest
from verify_tools import (
    ERROR,
    FAULTS,
    IMAGE,
    LPS,
    MASK,
    SHAPE,
    check,
    codes,
    edit,
    field,
    flipped_bit,
    prepared,
    put,
    raw_header,
    save,
    scan,
)

from akd_monai.data import read_cases
from akd_monai.data.manifest import Manifest
from akd_monai.errors import InputError
from akd_monai.prostate import make_phantom, verify_dataset


def test_zone_labels_can_be_allowed(folder):
    mask = np.asanyarray(nib.load(folder / MASK).dataobj).copy()
    mask[:30] *= 2
    save(folder / MASK, mask)
    (finding,) = check(folder).findings
    assert "0: " in finding.message
    assert "map 1 and 2 to 1" in finding.remedy
    assert check(folder, label_values=(0, 1, 2)).findings == []


@pytest.mark.parametrize(("values", "found"), [((1, 2), []), ((1, 3), ["label-values"]), ((255,), ["label-values"])])
def test_the_public_set_keeps_zones_in_two_sites(folder, values, found):
    mask = np.asanyarray(nib.load(folder / MASK).dataobj)
    for path in (folder / "HK").glob("*"):
        (folder / "BMC").mkdir(exist_ok=True)
        path.rename(folder / "BMC" / path.name)
    save(folder / "BMC/Case14_Segmentation.nii.gz", mask * values[0])
    (folder / "BMC/Case14_segmentation.nii.gz").unlink()
    if len(values) > 1:
        save(folder / "BMC/Case14_Segmentation.nii.gz", np.where(np.indices(SHAPE)[0] < 30, mask * values[1], mask))
    assert [finding.code for finding in check(folder).findings] == found


def test_zones_in_a_prepared_folder_are_found(folder, tmp_path):
    (folder / "HK").rename(folder / "BMC")
    prepared(folder, tmp_path)
    path = tmp_path / "out/BMC/Case14_segmentation.nii.gz"
    save(path, np.asanyarray(nib.load(path).dataobj) * 2)
    assert [finding.code for finding in check(tmp_path / "out").findings] == ["changed", "label-values"]


def test_a_coarse_synthetic_set_is_found_good(tmp_path):
    make_phantom(tmp_path, cases_per_site=1, size=48, slices=7, progress=False)
    assert str(check(tmp_path)) == "6 cases: 0 errors, 0 warnings"


def test_report_files_and_pictures(folder, tmp_path):
    FAULTS["0 and 255"][0](folder)
    FAULTS["truncated gzip"][0](folder)
    report = check(folder, output_dir=tmp_path / "report")
    names = sorted(path.relative_to(tmp_path / "report").as_posix() for path in report.written)
    assert names == ["cases.csv", "findings.csv", "pictures/HK_Case14.png", "report.json"]
    content = json.loads((tmp_path / "report/report.json").read_text())
    assert (content["errors"], content["codes"]) == (2, {"label-values": 1, "truncated": 1})
    table = report.table
    assert list(table["code"]) == ["truncated", "label-values"]
    assert list(table["severity"]) == ["error", "error"]
    assert len((tmp_path / "report/findings.csv").read_text().splitlines()) == 3
    assert (tmp_path / "report/pictures/HK_Case14.png").read_bytes().startswith(b"\x89PNG")
    assert str(report).endswith(f"3 cases: 2 errors, 0 warnings; report in {tmp_path / 'report'}")


def test_fix_changes_what_is_safe_and_nothing_else(folder, tmp_path):
    before = {name: np.asanyarray(nib.load(folder / name).dataobj) for name in (IMAGE, MASK)}
    field("descrip", b"DOE^JOHN")(folder)
    field("", b"born 19500101", kind="comment")(folder)
    edit(MASK, lambda a: a.astype(np.float32) * 255)(folder)
    edit("HK/Case13_segmentation.nii.gz", lambda a: a.astype(np.float32))(folder)
    edit("UCL/Case25_segmentation.nii.gz", lambda a: a * 7)(folder)
    untouched = {p: p.read_bytes() for p in folder.rglob("*.gz") if p.name in ("Case13.nii.gz", "Case25.nii.gz")}
    voxels_before = gzip.decompress((folder / IMAGE).read_bytes())[-before[IMAGE].nbytes :]
    report = check(folder, fix=True)
    assert sorted(report.fixed) == [
        "HK/Case13_segmentation.nii.gz: stored integers as uint8",
        "HK/Case14.nii.gz: emptied the texts of its header",
        "HK/Case14_segmentation.nii.gz: wrote 255 as 1, stored as uint8",
    ]
    assert codes(report) == [("UCL/Case25", "label-values", ERROR)]
    image, mask = nib.load(folder / IMAGE), nib.load(folder / MASK)
    np.testing.assert_array_equal(np.asanyarray(image.dataobj), before[IMAGE])
    np.testing.assert_array_equal(np.asanyarray(mask.dataobj), before[MASK])
    np.testing.assert_array_equal(image.affine, LPS)
    np.testing.assert_array_equal(mask.affine, LPS)
    assert mask.get_data_dtype() == np.uint8
    assert image.header["descrip"].item() == b""
    assert not image.header.extensions
    data = gzip.decompress((folder / IMAGE).read_bytes())
    assert b"DOE" not in data
    assert b"1950" not in data
    assert data.endswith(voxels_before)
    assert {p: p.read_bytes() for p in untouched} == untouched
    assert not list(folder.rglob(".tmp*"))


def test_manifest_is_held_against_the_files(folder, tmp_path):
    out = prepared(folder, tmp_path)
    assert check(out).findings == []
    save(out / IMAGE, scan(9)[0])
    (out / "UCL/Case25.nii.gz").unlink()
    (out / "UCL/Case25_segmentation.nii.gz").unlink()
    report = check(out)
    found = [(f.code, f.file) for f in report.findings]
    missing = [("missing-file", "UCL/Case25.nii.gz"), ("missing-file", "UCL/Case25_segmentation.nii.gz")]
    assert found == [("changed", IMAGE), *missing]


def test_fix_keeps_the_manifest_true_but_never_hides_a_changed_file(folder, tmp_path):
    out = prepared(folder, tmp_path)
    manifest = Manifest(out)
    data = raw_header(descrip=b"DOE^JOHN")((out / IMAGE).read_bytes())
    (out / IMAGE).write_bytes(data)
    report = check(out, fix=True)
    assert [f.code for f in report.findings] == ["changed", "personal-data"]
    assert report.fixed == []
    manifest.records["HK/Case14"]["sha256"]["image"] = hashlib.sha256(data).hexdigest()
    manifest.write()
    report = check(out, fix=True)
    assert report.findings == []
    assert len(report.fixed) == 1
    assert check(out).findings == []


def test_unlabelled_cases_are_checked_without_asking_for_a_mask(folder, tmp_path):
    (folder / MASK).unlink()
    out = prepared(folder, tmp_path)
    assert check(out).findings == []
    put("unlabelled/" + IMAGE, flipped_bit)(out)
    assert [f.code for f in check(out).findings] == ["damaged"]


def test_a_date_in_a_files_name_is_found(folder):
    for end in (".nii.gz", "_segmentation.nii.gz"):
        (folder / f"HK/Case14{end}").rename(folder / f"HK/P_1956-03-12{end}")
    assert [(f.code, f.file) for f in check(folder).findings] == [
        ("personal-data", "HK/P_1956-03-12.nii.gz"),
        ("personal-data", "HK/P_1956-03-12_segmentation.nii.gz"),
    ]


def test_a_report_that_cannot_be_written_is_refused_at_once(folder):
    (folder / "notes").write_text("kept")
    with pytest.raises(InputError, match=r"folder '.*notes' cannot be written to \(File exists\)"):
        check(folder, output_dir=folder / "notes")
    with pytest.raises(InputError, match=r"dataset_dir must be a path, got 3"):
        check(3)


def test_folders_that_hold_nothing_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"the data set folder .*nothing does not exist; give a folder as prepare"):
        check(tmp_path / "nothing")
    with pytest.raises(InputError, match=r"holds no NIfTI file; expected SITE/CaseNN\.nii\.gz"):
        check(tmp_path)


def test_two_processes_find_what_one_finds(folder):
    FAULTS["0 and 255"][0](folder)
    one, two = check(folder), verify_dataset(folder, workers=2, progress=False)
    assert (one.findings, one.cases) == (two.findings, two.cases)


def test_names_that_differ_in_case_only_are_one_case_as_for_read_cases(folder):
    (folder / MASK).rename(folder / "HK/case14_SEGMENTATION.nii.gz")
    assert str(check(folder)) == "3 cases: 0 errors, 0 warnings"
    assert {case["case_id"] for case in read_cases(folder)} >= {"HK/Case14"}
    (folder / "HK/case14.nii.gz").write_bytes((folder / IMAGE).read_bytes())
    assert [(f.case, f.file, f.code) for f in check(folder).findings] == [
        ("HK/Case14", "HK/case14.nii.gz", "two-files")
    ]
    with pytest.raises(InputError, match="are the same case"):
        read_cases(folder)
    # Folders that differ in case only are two sites.
    (folder / "HK/case14.nii.gz").unlink()
    put_site(folder, "hk")
    assert {case["site"] for case in check(folder).cases} == {"HK", "hk", "UCL"}


def put_site(folder, name):
    for seed, end in enumerate((".nii.gz", "_segmentation.nii.gz")):
        save(folder / name / f"Case14{end}", scan(7)[seed])


def test_a_lock_and_leftovers_of_a_run_are_no_cases(folder):
    for place in (folder, folder / "HK"):
        (place / ".lock").write_text("1234")
        (place / ".tmp-1234-Case15.nii.gz").write_bytes(b"half")
    assert str(check(folder)) == "3 cases: 0 errors, 0 warnings"
    assert len(read_cases(folder)) == 3


def test_values_whose_sum_overflows_are_written_as_json(folder, tmp_path):
    edit(IMAGE, lambda a: np.full(a.shape, 1e308))(folder)
    report = check(folder, output_dir=tmp_path / "report")
    assert [finding.code for finding in report.findings] == ["extreme-values"]
    facts = {case["case"]: case for case in json.loads((tmp_path / "report/report.json").read_text())["facts"]}
    assert facts["HK/Case14"]["max"] == 1e308
    assert facts["HK/Case14"]["mean"] is None


def test_a_missing_data_set_leaves_no_report_folder(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        check(tmp_path / "nothing", output_dir=tmp_path / "report")
    assert not (tmp_path / "report").exists()
