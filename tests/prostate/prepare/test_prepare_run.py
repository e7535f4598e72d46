# SPDX-License-Identifier: Apache-2.0
"""Complete runs of prepare: resuming, failing well, naming, parallel work. All volumes are synthetic."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
from prepare_tools import gland, grey, run, save, six_site, state, voxels

from akd_monai.data.manifest import Manifest, patient_ids
from akd_monai.errors import UnknownNameError


def test_checksums_are_those_of_the_files(tmp_path):
    run(six_site(tmp_path / "raw", "HK/Case13"), tmp_path / "out")
    record = Manifest(tmp_path / "out").records["HK/Case13"]
    for kind in ("image", "label"):
        assert record["sha256"][kind] == hashlib.sha256((tmp_path / "out" / record[kind]).read_bytes()).hexdigest()
    assert record["gland_cm3"] == pytest.approx(4 * 4 * 3 * 0.5 * 0.5 * 3 / 1000)
    assert patient_ids(tmp_path / "out") == {"HK/Case13": "six-site-HK-13"}


def test_two_processes_write_what_one_writes(tmp_path):
    raw = six_site(tmp_path / "raw", "HK/Case13", "HK/Case14", "UCL/Case25")
    save(raw / "UCL/Case26.nii.gz", np.full((4, 4, 4), np.nan, dtype=np.float32))
    one, two = run(raw, tmp_path / "one"), run(raw, tmp_path / "two", workers=2)
    assert state(tmp_path / "one") == state(tmp_path / "two")
    assert sorted(one.done) == sorted(two.done)
    assert [f.code for f in two.failed] == ["not-finite"]


def test_the_result_tells_each_warning_once(tmp_path):
    raw = six_site(tmp_path / "raw", "HK/Case13", "HK/Case14", "UCL/Case25")
    for name in ("HK/Case13", "HK/Case14"):
        save(raw / f"{name}_segmentation.nii.gz", gland() * 0)
    doubts, empty, counts = str(run(raw, tmp_path / "out")).splitlines()
    assert doubts.startswith("warning: HK/Case13 and 2 more: field of view of 6 x 5 mm")
    assert empty == "warning: HK/Case13 and 1 more: the label is empty"
    assert counts.startswith("3 prepared, 0 done before, 0 failed, 3 with warnings: ")


def test_the_manifest_adds_what_is_published_of_the_site(tmp_path):
    raw, out = six_site(tmp_path / "raw", "BMC/Case00", "NEW/Case00"), tmp_path / "out"
    run(raw, out)
    records = Manifest(out).records
    assert records["BMC/Case00"]["site_table"] == {
        "code": "S2", "vendor": "Philips", "field_strength_t": [1.5], "coil": "endorectal",
    }  # fmt: skip
    assert records["NEW/Case00"]["site_table"] is None


def test_sites_can_be_chosen_and_sources_share_a_folder(tmp_path):
    raw, out = six_site(tmp_path / "raw", "HK/Case00", "UCL/Case25"), tmp_path / "out"
    assert run(raw, out, site="HK").done == ["HK/Case00"]
    assert run(raw, out, site="s6").kept == ["HK/Case00"]
    save(tmp_path / "own/a.nii.gz", grey(5))
    save(tmp_path / "own/a_seg.nii.gz", gland())
    # The number is taken by another source, so the next one is used, and stays.
    assert run(tmp_path / "own", out, "folder", site="HK").done == ["HK/Case01"]
    assert run(tmp_path / "own", out, "folder", site="HK").kept == ["HK/Case01"]
    np.testing.assert_array_equal(voxels(out / "HK/Case00.nii.gz"), grey(0))
    with pytest.raises(
        UnknownNameError, match=r"unknown site 'UCLL' of source 'six-site' .*Did you mean 'UCL'\? Known: HK, UCL\."
    ):
        run(raw, out, site="UCLL")


def test_the_manifest_is_readable_json_with_one_record_a_case(tmp_path):
    run(six_site(tmp_path / "raw", "HK/Case13", "BMC/Case00"), tmp_path / "out")
    content = json.loads((tmp_path / "out/manifest.json").read_text())
    assert [record["case_id"] for record in content["cases"]] == ["BMC/Case00", "HK/Case13"]
    assert str(tmp_path) not in json.dumps(content)
