# SPDX-License-Identifier: Apache-2.0
"""Names of sites and folders, links, and files that hold no images: refused, or named in the report."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
from source_tools import grey, label, records, run, save

from akd_monai.errors import InputError
from akd_monai.prostate.prepare._naming import site_problem


@pytest.mark.fault(
    "Preparing and verifying data",
    "names that leave the folder or have a meaning",
    injected="`../x`, `a/b`, `unlabelled`, `con` and more as sites",
    outcome="refused",
)
@pytest.mark.parametrize(
    "name", ["unlabelled", "Unlabelled", "con", "COM1", "nul", "", "..", ".", "a/b", "../x", "a" * 101]
)
def test_names_that_cannot_be_a_site_are_refused(tmp_path, name):
    save(tmp_path / "raw/a.nii.gz", grey())
    with pytest.raises(
        InputError, match=r"the name of a site|is the folder of cases without mask|cannot be the name of a"
    ):
        run("folder", tmp_path / "raw", tmp_path / "out", site=name)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "name", ["a:b", "a\\b", "a.", " a", "a ", "aux.txt", "x\ny", "a*", "LPT9", "\0", "   ", ".hidden"]
)
def test_folder_names_that_no_site_may_have(name):
    assert site_problem(name)


@pytest.mark.parametrize("name", ["HK", "I2CVB_GE", "New Site", "Universität", "icon", "com", "A-1", "site.2"])
def test_folder_names_that_a_site_may_have(name):
    assert site_problem(name) == ""


@pytest.mark.parametrize("folder", ["unlabelled", "con", "a:b"])
def test_a_site_folder_of_a_bad_name_costs_its_cases_only(tmp_path, folder):
    for name in (f"{folder}/Case00", "HK/Case13"):
        save(tmp_path / f"raw/{name}.nii.gz", grey())
        save(tmp_path / f"raw/{name}_segmentation.nii.gz", label())
    result = run("six-site", tmp_path / "raw", tmp_path / "out")
    assert result.done == ["HK/Case13"]
    (failure,) = result.failed
    assert (failure.code, failure.remedy) == ("site-name", "rename the folder of the site")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [".lock", "HK", "manifest.json"]


@pytest.mark.fault(
    "Preparing and verifying data",
    "sites that differ in case alone",
    injected="`HK` and `hk`",
    outcome="refused",
)
def test_sites_that_differ_in_case_alone_are_refused(tmp_path):
    for site in ("New", "new"):
        save(tmp_path / f"raw/{site}/Case{len(site)}{site[0] == 'n':d}.nii.gz", grey())
    with pytest.raises(
        InputError, match=r"the sites 'New' and 'new' differ in upper and lower case alone; give them one"
    ):
        run("six-site", tmp_path / "raw", tmp_path / "out")
    # Also when the other one was prepared before.
    save(tmp_path / "one/a.nii.gz", grey())
    run("folder", tmp_path / "one", tmp_path / "out2", site="Hospital")
    with pytest.raises(InputError, match=r"the sites 'HOSPITAL' and 'Hospital' differ in upper and lower case alone"):
        run("folder", tmp_path / "one", tmp_path / "out2", site="HOSPITAL")
    assert list(records(tmp_path / "out2")) == ["Hospital/Case00"]


def test_a_patient_folder_that_is_no_number_is_named_and_not_stored(tmp_path):
    for name in ("020", "DOE_JOHN"):
        save(tmp_path / f"raw/train/{name}/t2.nii.gz", grey())
    result = run("prostate158", tmp_path / "raw", tmp_path / "out")
    assert result.done == ["PROSTATE158/Case020"]
    assert result.skipped[0].startswith("train/DOE_JOHN/t2.nii.gz: its folder is not called by a number")
    assert "DOE" not in (tmp_path / "out/manifest.json").read_text()


def test_links_are_named(tmp_path):
    save(tmp_path / "raw/a.nii.gz", grey())
    save(tmp_path / "else/b.nii.gz", grey(1))
    (tmp_path / "raw/linked").symlink_to(tmp_path / "else")
    (tmp_path / "raw/gone.nii.gz").symlink_to(tmp_path / "nothing")
    result = run("folder", tmp_path / "raw", tmp_path / "out")
    why = "a link that is not followed, or that leads nowhere"
    assert sorted(result.skipped) == [f"gone.nii.gz: {why}", f"linked: {why}"]
    # The six-site layout follows links of sites.
    save(tmp_path / "hospitals/HK/Case13.nii.gz", grey())
    (tmp_path / "six").mkdir()
    (tmp_path / "six/HK").symlink_to(tmp_path / "hospitals/HK")
    result = run("six-site", tmp_path / "six", tmp_path / "out2")
    assert (result.done, result.skipped) == (["HK/Case13"], [])


def test_cases_of_a_site_that_is_not_asked_for_are_not_called_unused(tmp_path):
    for name in ("HK/Case13", "UCL/Case25"):
        save(tmp_path / f"raw/{name}.nii.gz", grey())
    assert run("six-site", tmp_path / "raw", tmp_path / "out", site="HK").skipped == []


def test_texts_and_tables_are_no_data(tmp_path):
    save(tmp_path / "raw/a.nii.gz", grey())
    for name in ("readme.txt", "dataset.json", "table.csv", "LICENSE", ".DS_Store", "DICOMDIR"):
        (tmp_path / "raw" / name).write_text("words")
    assert run("folder", tmp_path / "raw", tmp_path / "out").skipped == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda record: record.pop("key"), "record of LOCAL/Case00 has no 'key'"),
        (lambda record: record.update(key=5), "record of LOCAL/Case00 has no 'key'"),
        (lambda record: record.pop("sha256"), ""),
        (lambda record: record.update(sha256=[]), ""),
        (lambda record: record.pop("options"), ""),
        (lambda record: record.pop("image"), ""),
        (lambda record: record.update(image=3), ""),
        (lambda record: record.pop("patient_id"), ""),
        (lambda record: record.pop("warnings"), ""),
    ],
)
def test_an_odd_record_of_the_manifest_is_an_error_or_prepared_again(tmp_path, change, words):
    save(tmp_path / "raw/a.nii.gz", grey())
    run("folder", tmp_path / "raw", tmp_path / "out")
    path = tmp_path / "out/manifest.json"
    whole = json.loads(path.read_text())
    content = json.loads(path.read_text())
    change(content["cases"][0])
    path.write_text(json.dumps(content))
    if words:
        with pytest.raises(InputError, match=words):
            run("folder", tmp_path / "raw", tmp_path / "out")
        return
    result = run("folder", tmp_path / "raw", tmp_path / "out")
    assert [*result.done, *result.kept] == ["LOCAL/Case00"]
    if result.done:
        assert json.loads(path.read_text()) == whole


@pytest.mark.fault(
    "Preparing and verifying data",
    "a file that may not be read",
    injected="no right to read",
    outcome="named",
)
def test_a_file_without_the_right_to_read_is_named(tmp_path, monkeypatch):
    save(tmp_path / "raw/a.nii.gz", grey())
    (tmp_path / "raw/IM0001").write_bytes(b"\0" * 128 + b"DICM" + struct.pack("<HH", 8, 0x60))
    opened = Path.open

    def refused(self, *args, **kwargs):
        if self.name == "IM0001":
            raise PermissionError(13, "Permission denied")
        return opened(self, *args, **kwargs)

    monkeypatch.setattr(Path, "open", refused)
    result = run("folder", tmp_path / "raw", tmp_path / "out")
    assert (result.done, result.skipped) == (["LOCAL/Case00"], ["IM0001: of a format that is not read"])
