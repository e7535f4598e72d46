# SPDX-License-Identifier: Apache-2.0
"""A mask means the same to verify as to training, whatever rounding or a link has done to it."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from verify_tools import CASES, MASK, check, codes, edit

from akd_monai.data import read_cases


def facts(report, case="HK/Case14"):
    return next(row for row in report.cases if row["case"] == case)


def found(report, case="HK/Case14"):
    return sorted(code for name, code, _ in codes(report) if name == case)


@pytest.mark.parametrize("change", [lambda mask: mask + 1e-4, lambda mask: mask * 0.9995], ids=["above 0", "below 1"])
def test_values_that_rounding_moved_change_no_finding_and_no_fact(folder, change):
    clean = facts(check(folder))
    edit(MASK, lambda mask: change(mask.astype(np.float64)))(folder)
    report = check(folder)
    # stored as float is all that is left to say
    assert found(report) == ["label-type"]
    for name in ("gland_slices", "label_values"):
        assert facts(report)[name] == clean[name]


def test_0_and_255_by_rounding_are_fixed_as_0_and_1(folder):
    before = np.asanyarray(nib.load(folder / MASK).dataobj)
    edit(MASK, lambda mask: mask * 254.9995 + 1e-4)(folder)
    check(folder, fix=True)
    np.testing.assert_array_equal(np.asanyarray(nib.load(folder / MASK).dataobj), before)
    assert found(check(folder)) == []


def test_a_site_keeps_the_name_of_its_link(folder, tmp_path, monkeypatch):
    for site in ("HK", "UCL"):
        (tmp_path / f"store_{site}").mkdir()
        (folder / site).rename(tmp_path / f"store_{site}" / "prostate")
        (folder / site).symlink_to(tmp_path / f"store_{site}" / "prostate")
    report = check(folder)
    assert codes(report) == []
    assert tuple(row["case"] for row in report.cases) == CASES
    assert {case["case_id"] for case in read_cases(folder)} == set(CASES)
    monkeypatch.chdir(folder / "HK")
    # a shell's working folder is the one that the link leads to
    assert {row["case"].split("/")[1] for row in check(".").cases} == {"Case13", "Case14"}
