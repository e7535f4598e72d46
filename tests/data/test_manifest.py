# SPDX-License-Identifier: Apache-2.0
"""The manifest of a prepared folder has one reader and one writer."""

from __future__ import annotations

import json

import pytest

from akd_monai.data.manifest import MANIFEST, Manifest, patient_ids, read_manifest
from akd_monai.errors import InputError


def test_records_are_kept_by_case_and_written_in_order(tmp_path):
    manifest = Manifest(tmp_path)
    assert (manifest.records, manifest.failed, manifest.path.exists()) == ({}, [], False)
    for name, patient in (("HK/Case14", "b"), ("HK/Case13", "a"), ("HK/Case14", "c")):
        manifest.add({"case_id": name, "patient_id": patient})
    manifest.failed = [{"case": "HK/Case15"}]
    manifest.write()
    assert json.loads((tmp_path / MANIFEST).read_text()) == {
        "format": "akd_monai.prepared",
        "version": 1,
        "cases": [{"case_id": "HK/Case13", "patient_id": "a"}, {"case_id": "HK/Case14", "patient_id": "c"}],
        "failed": [{"case": "HK/Case15"}],
    }
    again = Manifest(tmp_path)
    assert (again.records, again.failed) == (manifest.records, manifest.failed)
    assert patient_ids(tmp_path) == {"HK/Case13": "a", "HK/Case14": "c"}


def test_a_record_that_json_cannot_hold_leaves_the_old_file(tmp_path):
    manifest = Manifest(tmp_path)
    manifest.add({"case_id": "HK/Case13"})
    before = manifest.path.read_bytes()
    with pytest.raises(ValueError, match="not JSON compliant"):
        manifest.add({"case_id": "HK/Case14", "gland_cm3": float("nan")})
    assert manifest.path.read_bytes() == before


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", r"is no valid JSON .*; delete it and prepare again\."),
        ("[]", r"must hold an object at its top level, got list; delete it"),
        ("{}", r"is a manifest of format None version None, expected 'akd_monai\.prepared' version 1; use another"),
        ('{"format": "other", "version": 3}', r"of format 'other' version 3"),
        ('{"format": "akd_monai.prepared", "version": 2, "cases": []}', r"version 2, expected"),
        ('{"format": "akd_monai.prepared", "version": 1}', r"is damaged: 'cases' must be .*; delete it"),
        ('{"format": "akd_monai.prepared", "version": 1, "cases": {}}', r"is damaged: 'cases' must be"),
        ('{"format": "akd_monai.prepared", "version": 1, "cases": [3]}', r"is damaged: 'cases' must be"),
        ('{"format": "akd_monai.prepared", "version": 1, "cases": [{}]}', r"list of records with case_id;"),
    ],
)
def test_a_manifest_that_cannot_be_used(tmp_path, content, message):
    path = tmp_path / MANIFEST
    path.write_text(content)
    for read in (lambda: Manifest(tmp_path), lambda: read_manifest(path)):
        with pytest.raises(InputError, match=message) as caught:
            read()
        assert str(caught.value).startswith(f"{path}: ")


def test_patients_are_known_from_a_manifest_of_this_program_alone(tmp_path):
    assert patient_ids(tmp_path) == {}
    (tmp_path / MANIFEST).write_text('{"format": "other"}')
    assert patient_ids(tmp_path) == {}
