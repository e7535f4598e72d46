# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from akd_monai.data import read_cases
from akd_monai.errors import InputError, UnknownNameError

REAL = Path(__file__).parents[3] / "shared" / "data" / "six-site-mini192"


def touch(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return root


def ids(cases) -> list[str]:
    return [case["case_id"] for case in cases]


def test_pairs_by_name_in_the_order_of_the_sites(tmp_path):
    touch(
        tmp_path,
        *("zz_own/a.nii", "zz_own/a_segmentation.nii.gz", "HK/Case13.nii.gz", "HK/Case13_segmentation.nii.gz"),
        *("BMC/Case10.nii.gz", "BMC/Case10_Segmentation.nii.gz", "BMC/Case02.nii.gz", "BMC/Case02_SEGMENTATION.nii.gz"),
        *("BMC/._Case02.nii.gz", "BMC/notes.txt", ".hidden/Case00.nii.gz", "manifest.json", "empty/readme.md"),
    )
    (tmp_path / "manifest.json").write_text("[]")
    cases = read_cases(tmp_path)
    assert ids(cases) == ["BMC/Case02", "BMC/Case10", "HK/Case13", "zz_own/a"]
    assert cases[1] == {
        "image": str(tmp_path / "BMC/Case10.nii.gz"),
        "label": str(tmp_path / "BMC/Case10_Segmentation.nii.gz"),
        "site": "BMC",
        "case_id": "BMC/Case10",
    }


def test_paths_are_absolute(tmp_path, monkeypatch):
    touch(tmp_path, "d/HK/Case13.nii.gz", "d/HK/Case13_segmentation.nii.gz")
    monkeypatch.chdir(tmp_path)
    assert all(os.path.isabs(read_cases("d")[0][key]) for key in ("image", "label"))


@pytest.mark.parametrize("sites", [["HK", "s1"], "hk,RUNMC", ("S6", "runmc", "HK")])
def test_sites_are_chosen_by_name_or_code(tmp_path, sites):
    for name in ("RUNMC", "HK", "UCL"):
        touch(tmp_path, f"{name}/Case00.nii.gz", f"{name}/Case00_segmentation.nii.gz")
    assert ids(read_cases(tmp_path, sites)) == ["RUNMC/Case00", "HK/Case00"]


def test_unknown_site_names_what_is_there(tmp_path):
    touch(tmp_path, "RUNMC/Case00.nii.gz", "RUNMC/Case00_segmentation.nii.gz", "Own/x.nii", "Own/x_segmentation.nii")
    with pytest.raises(UnknownNameError, match=r"site 'RUMNC' has no folder in .*; there is RUNMC, Own\..*'RUNMC'"):
        read_cases(tmp_path, ["RUMNC"])
    with pytest.raises(InputError, match="sites is empty"):
        read_cases(tmp_path, "")


def test_an_image_without_mask_is_an_error_unless_masks_are_not_needed(tmp_path):
    touch(tmp_path, "HK/Case13.nii.gz", "HK/Case13_segmentation.nii.gz", "HK/Case14.nii.gz")
    with pytest.raises(InputError, match=r"image '.*Case14.nii.gz' has no mask; add 'Case14_segmentation.nii.gz'"):
        read_cases(tmp_path)
    cases = read_cases(tmp_path, require_label=False)
    assert ["label" in case for case in cases] == [True, False]


def test_a_mask_without_image_is_an_error(tmp_path):
    touch(tmp_path, "HK/Case13.nii.gz", "HK/Case13_segmentation.nii.gz", "HK/Case15_segmentation.nii.gz")
    for require_label in (True, False):
        with pytest.raises(InputError, match=r"mask '.*Case15_segmentation.nii.gz' has no image; add 'Case15.nii.gz'"):
            read_cases(tmp_path, require_label=require_label)


def test_two_files_for_one_case_are_an_error(tmp_path):
    touch(tmp_path, "HK/Case13.nii.gz", "HK/Case13.nii", "HK/Case13_segmentation.nii.gz")
    with pytest.raises(InputError, match="are the same case; remove one of the two files"):
        read_cases(tmp_path)


def test_missing_and_empty_folders_say_what_to_give(tmp_path):
    with pytest.raises(InputError, match=r"nowhere' does not exist; give the folder"):
        read_cases(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"holds no case; expected SITE/CaseNN.nii.gz"):
        read_cases(tmp_path)
    touch(tmp_path, "HK/readme.txt")
    with pytest.raises(InputError, match=r"site HK in .* holds no case"):
        read_cases(tmp_path, ["HK"])
    touch(tmp_path / "flat", "Case00.nii.gz", "Case00_segmentation.nii.gz")
    with pytest.raises(InputError, match="holds volumes itself; put them into a folder a site"):
        read_cases(tmp_path / "flat")
    with pytest.raises(InputError, match="is a file, not a folder"):
        read_cases(tmp_path / "flat" / "Case00.nii.gz")


def test_cases_of_one_patient_are_known_from_the_manifest(tmp_path):
    touch(tmp_path, *(f"HK/Case{n}{end}.nii.gz" for n in (13, 14, 15) for end in ("", "_segmentation")))
    records = [{"case_id": f"HK/Case{n}", "patient_id": p} for n, p in ((13, "a"), (14, "b"), (15, "a"))]
    (tmp_path / "manifest.json").write_text(json.dumps({"format": "akd_monai.prepared", "cases": records}))
    assert [case.get("patient_id") for case in read_cases(tmp_path)] == ["a", None, "a"]
    (tmp_path / "manifest.json").write_text("{half")
    with pytest.raises(InputError, match="nobody knows which cases belong to one patient"):
        read_cases(tmp_path)


def test_real_folder():
    if not REAL.is_dir():
        pytest.skip("skipped: ../shared/data is not here")
    assert ids(read_cases(REAL)) == [*(f"RUNMC/Case0{n}" for n in range(5)), "I2CVB/Case00", "I2CVB/Case01"]
