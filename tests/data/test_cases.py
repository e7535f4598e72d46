# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from akd_monai.data import fingerprint, read_cases
from akd_monai.errors import InputError, UnknownNameError
from akd_monai.keys import random_key

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
    with pytest.raises(
        UnknownNameError, match=r"unknown site 'RUMNC' in '.*'\. Did you mean 'RUNMC'\? Known: RUNMC, Own\."
    ):
        read_cases(tmp_path, ["RUMNC"])
    with pytest.raises(InputError, match="sites is empty"):
        read_cases(tmp_path, "")


def test_an_image_without_mask_is_an_error_unless_masks_are_not_needed(tmp_path):
    touch(tmp_path, "HK/Case13.nii.gz", "HK/Case13_segmentation.nii.gz", "HK/Case14.nii.gz")
    with pytest.raises(InputError, match=r"image '.*Case14.nii.gz' has no mask; add 'Case14_segmentation.nii.gz'"):
        read_cases(tmp_path)
    cases = read_cases(tmp_path, require_label=False)
    assert ["label" in case for case in cases] == [True, False]


@pytest.mark.parametrize("require_label", [True, False])
@pytest.mark.parametrize("name", ["Case00_pred", "Case00_seg", "mask", "Case00_ROI"])
def test_masks_of_another_name_and_predictions_are_no_images(tmp_path, name, require_label):
    for stem in ("Case00", "Case00_segmentation", name):
        (tmp_path / "HK").mkdir(exist_ok=True)
        (tmp_path / "HK" / f"{stem}.nii.gz").touch()
    with pytest.raises(InputError, match=rf"{name}\.nii\.gz' is a mask or a prediction by its name"):
        read_cases(tmp_path, require_label=require_label)
    # with a mask beside it, it is an image, whatever its name
    (tmp_path / "HK" / f"{name}_segmentation.nii.gz").touch()
    assert len(read_cases(tmp_path, require_label=require_label)) == 2


def test_a_mask_without_image_is_an_error(tmp_path):
    touch(tmp_path, "HK/Case13.nii.gz", "HK/Case13_segmentation.nii.gz", "HK/Case15_segmentation.nii.gz")
    for require_label in (True, False):
        with pytest.raises(InputError, match=r"mask '.*Case15_segmentation.nii.gz' has no image; add 'Case15.nii.gz'"):
            read_cases(tmp_path, require_label=require_label)


@pytest.mark.fault(
    "Preparing and verifying data",
    "two files for one case",
    injected="`Case00.nii` beside `Case00.nii.gz`",
    outcome="an error names both",
)
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
    content = {"format": "akd_monai.prepared", "version": 1, "cases": records}
    (tmp_path / "manifest.json").write_text(json.dumps(content))
    assert [case.get("patient_id") for case in read_cases(tmp_path)] == ["a", None, "a"]


@pytest.mark.fault(
    "Preparing and verifying data",
    "the manifest of a data set is damaged",
    injected="broken JSON, odd records",
    outcome="an error: patients would be mixed over splits",
)
@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{half", r"is no valid JSON .*; delete it and prepare again\."),
        ('{"format": "akd_monai.prepared", "version": 1}', "is damaged: 'cases' must be a list of records"),
        ('{"format": "akd_monai.prepared", "version": 1, "cases": [{"case_id": "HK/Case13"}]}', "and patient_id"),
        ('{"format": "akd_monai.prepared", "version": 2, "cases": []}', r"version 2, expected .* version 1"),
    ],
    ids=["json", "no cases", "no patient", "version"],
)
def test_a_damaged_manifest_is_an_error_because_patients_would_be_mixed(tmp_path, content, message):
    touch(tmp_path, "HK/Case13.nii.gz", "HK/Case13_segmentation.nii.gz")
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(InputError, match=message) as caught:
        read_cases(tmp_path)
    assert str(tmp_path / "manifest.json") in str(caught.value)


@pytest.mark.parametrize("content", ["[]", "3", "{}", '{"format": "other", "cases": 5}'])
def test_a_manifest_of_another_program_says_nothing(tmp_path, content):
    touch(tmp_path, "HK/Case13.nii.gz", "HK/Case13_segmentation.nii.gz")
    (tmp_path / "manifest.json").write_text(content)
    assert ids(read_cases(tmp_path)) == ["HK/Case13"]


def test_folders_that_differ_by_case_alone_are_two_sites(tmp_path):
    for name in ("HK", "hk"):
        touch(tmp_path, f"{name}/{name}.nii.gz", f"{name}/{name}_segmentation.nii.gz")
    if len(list(tmp_path.iterdir())) < 2:
        pytest.skip("the file system does not tell upper from lower case")
    assert [ids(read_cases(tmp_path, name)) for name in ("hk", "HK")] == [["hk/hk"], ["HK/HK"]]


def test_a_number_is_no_folder():
    with pytest.raises(InputError, match="dataset_dir must be a path, got 5"):
        read_cases(5)


def test_a_fingerprint_knows_names_and_contents_and_no_order(tmp_path):
    touch(tmp_path, *(f"HK/Case{n}{end}.nii.gz" for n in (13, 14) for end in ("", "_segmentation")))
    cases = read_cases(tmp_path)
    empty, one, two = (hashlib.sha256(content).hexdigest() for content in (b"", b"1", b"2"))
    first, second = ("HK/Case13", empty, empty), ("HK/Case14", empty, empty)
    assert fingerprint(cases) == random_key(first, second) == fingerprint(cases[::-1])
    assert fingerprint(cases) != fingerprint(cases[:1])
    for content, digest in ((b"1", one), (b"2", two)):
        Path(cases[0]["label"]).write_bytes(content)
        assert fingerprint(cases) == random_key(("HK/Case13", empty, digest), second)
    assert fingerprint([{"image": "a/x.nii.gz"}]) == random_key(("x.nii.gz", ""))


def test_real_folder():
    if not REAL.is_dir():
        pytest.skip("skipped: ../shared/data is not here")
    assert ids(read_cases(REAL)) == [*(f"RUNMC/Case0{n}" for n in range(5)), "I2CVB/Case00", "I2CVB/Case01"]
