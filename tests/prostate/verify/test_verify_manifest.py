# SPDX-License-Identifier: Apache-2.0
"""Manifests that were edited, damaged, or written by another program: verify reports them and checks the files."""

from __future__ import annotations

import hashlib
import json

import nibabel as nib
import numpy as np
import pytest
from verify_tools import CASES, IMAGE, MASK, check, codes, field

from akd_monai.errors import InputError
from akd_monai.prostate import make_phantom, verify_dataset

GOOD = {
    "case_id": "HK/Case14",
    "patient_id": "p1",
    "source": "folder",
    "image": IMAGE,
    "label": MASK,
    "sha256": {"image": None, "label": None},
}


def write(folder, *records, **other):
    content = {"format": "akd_monai.prepared", "version": 1, "cases": list(records), "failed": [], **other}
    (folder / "manifest.json").write_text(json.dumps(content))


def without(name):
    return {key: value for key, value in GOOD.items() if key != name}


ODD = {
    "no checksums": (without("sha256"), "has no 'sha256'"),
    "checksums of another type": ({**GOOD, "sha256": "abc"}, "has 'sha256' of type str, expected an object"),
    "a checksum missing": ({**GOOD, "sha256": {"image": None}}, "has no 'sha256.label'"),
    "a checksum of another type": (
        {**GOOD, "sha256": {"image": 5, "label": None}},
        "has 'sha256.image' of type int, expected a string",
    ),
    "no image": (without("image"), "has no 'image'"),
    "an image without name": ({**GOOD, "image": None}, "has 'image' of type NoneType, expected a string"),
    "a list of images": ({**GOOD, "image": [IMAGE]}, "has 'image' of type list, expected a string"),
    "no label": (without("label"), "has no 'label'"),
    "a number as label": ({**GOOD, "label": 3}, "has 'label' of type int, expected a string"),
    "no patient": (without("patient_id"), "has no 'patient_id'"),
    "a list of patients": ({**GOOD, "patient_id": ["p1"]}, "has 'patient_id' of type list, expected a string"),
    "no source": (without("source"), "has no 'source'"),
    "a number as source": ({**GOOD, "source": 7}, "has 'source' of type int, expected a string"),
}


@pytest.mark.fault(
    "Preparing and verifying data",
    "a manifest with a missing or odd field",
    injected="each field removed or of another type",
    outcome="one finding",
)
@pytest.mark.parametrize("fault", ODD)
def test_each_odd_field_of_a_record_is_one_finding(folder, fault):
    record, words = ODD[fault]
    write(folder, record)
    (finding,) = check(folder).findings
    assert (finding.case, finding.file, finding.code) == ("HK/Case14", "manifest.json", "manifest-record")
    assert finding.message == f"the record of HK/Case14 {words}"
    assert finding.severity == "error"
    assert finding.remedy == "run prepare again, or correct the record"


def test_the_files_of_an_odd_record_are_checked_and_fixed(folder):
    field("descrip", b"DOE^JOHN")(folder)
    write(folder, without("sha256"))
    assert [code for _, code, _ in codes(check(folder))] == ["personal-data", "manifest-record"]
    report = check(folder, fix=True)
    assert [code for _, code, _ in codes(report)] == ["manifest-record"]
    assert len(report.fixed) == 1
    assert len(report.cases) == len(CASES)


@pytest.mark.parametrize(
    "cases",
    [5, {"HK/Case14": GOOD}, "HK/Case14", ["HK/Case14"], [without("case_id")], None]
    + [[{**GOOD, "case_id": value}] for value in (14, None, ["HK"])],
)
def test_cases_that_are_no_list_of_records_end_in_one_line(folder, cases):
    write(folder, cases=cases)
    with pytest.raises(InputError, match=r"manifest\.json: is damaged: 'cases' must be a list") as caught:
        check(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.fault(
    "Preparing and verifying data",
    "the manifest is no manifest",
    injected="lists, numbers, broken JSON",
    outcome="one line",
)
@pytest.mark.parametrize("text", ["{", "[]", "[" * 100_000, "\xff", '{"format": 3}'])
def test_a_file_that_is_no_manifest_ends_in_one_line(folder, text):
    (folder / "manifest.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=r"manifest\.json: ") as caught:
        check(folder)
    assert "\n" not in str(caught.value)


def test_fixing_a_synthetic_set_keeps_what_makes_it_synthetic(tmp_path):
    options = {"sites": "HK", "size": 48, "slices": 6, "progress": False}
    root = make_phantom(tmp_path / "set", cases_per_site=1, **options)
    before = json.loads((root / "manifest.json").read_text())
    path = root / "HK/Case00_segmentation.nii.gz"
    checksum = before["cases"][0]["sha256"]["label"]
    make_float(path)
    manifest = json.loads((root / "manifest.json").read_text())
    manifest["cases"][0]["sha256"]["label"] = sha256(path)
    (root / "manifest.json").write_text(json.dumps(manifest))
    report = verify_dataset(root, fix=True, workers=1, progress=False)
    assert report.findings == []
    assert report.fixed == ["HK/Case00_segmentation.nii.gz: stored integers as uint8"]
    after = json.loads((root / "manifest.json").read_text())
    assert {name: after[name] for name in before if name != "cases"} == {
        name: value for name, value in before.items() if name != "cases"
    }
    assert after["cases"][0]["sha256"]["label"] == checksum
    # An extension of the set finds it as it was made.
    make_phantom(root, cases_per_site=2, **options)
    assert verify_dataset(root, workers=1, progress=False).findings == []


def make_float(path):
    image = nib.load(path)
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj, dtype=np.float32), image.affine), path)


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()
