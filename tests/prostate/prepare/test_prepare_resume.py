# SPDX-License-Identifier: Apache-2.0
"""The same call again: only what is missing or has changed is prepared."""

from __future__ import annotations

import hashlib
import json
import os

import numpy as np
import pytest
from prepare_tools import gland, grey, run, save, six_site, state, voxels

from akd_monai.data import read_cases
from akd_monai.data.manifest import Manifest
from akd_monai.errors import InputError
from akd_monai.files import FolderLock
from akd_monai.prostate import make_phantom, verify_dataset

TINY = {"cases_per_site": 1, "sites": "HK", "size": 48, "slices": 6, "progress": False}


def test_a_second_call_changes_nothing(tmp_path):
    raw = six_site(tmp_path / "raw", "HK/Case13", "UCL/Case25")
    assert sorted(run(raw, tmp_path / "out").done) == ["HK/Case13", "UCL/Case25"]
    before = state(tmp_path / "out")
    times = [p.stat().st_mtime_ns for p in sorted((tmp_path / "out").rglob("*.gz"))]
    result = run(raw, tmp_path / "out")
    assert (result.done, sorted(result.kept)) == ([], ["HK/Case13", "UCL/Case25"])
    assert state(tmp_path / "out") == before
    assert [p.stat().st_mtime_ns for p in sorted((tmp_path / "out").rglob("*.gz"))] == times


@pytest.mark.fault(
    "Preparing and verifying data",
    "raw files change between two calls",
    injected="one file replaced",
    outcome="only its case is prepared again",
)
@pytest.mark.parametrize("what", ["input image", "input label", "output", "lost output", "option"])
def test_only_what_changed_is_done_again(tmp_path, what):
    raw, out = six_site(tmp_path / "raw", "HK/Case13", "UCL/Case25"), tmp_path / "out"
    run(raw, out)
    options = {}
    if what == "input image":
        save(raw / "HK/Case13.nii.gz", grey(7))
    elif what == "input label":
        save(raw / "HK/Case13_segmentation.nii.gz", np.roll(gland(), 1, axis=0))
    elif what == "output":
        (out / "HK/Case13_segmentation.nii.gz").write_bytes(b"half a file")
    elif what == "lost output":
        (out / "HK/Case13.nii.gz").unlink()
    else:
        options = {"crop_mm": 12}
    result = run(raw, out, **options)
    changed = ["HK/Case13", "UCL/Case25"] if what == "option" else ["HK/Case13"]
    assert sorted(result.done) == changed
    if what != "option":
        np.testing.assert_array_equal(voxels(out / "HK/Case13.nii.gz"), voxels(raw / "HK/Case13.nii.gz"))
        label = voxels(raw / "HK/Case13_segmentation.nii.gz")
        np.testing.assert_array_equal(voxels(out / "HK/Case13_segmentation.nii.gz"), label)


def test_a_repaired_case_leaves_the_list_of_failures(tmp_path):
    raw, out = six_site(tmp_path / "raw", "HK/Case13", "HK/Case14"), tmp_path / "out"
    intact = (raw / "HK/Case13.nii.gz").read_bytes()
    (raw / "HK/Case13.nii.gz").write_bytes(intact[:-20])
    result = run(raw, out)
    assert result.done == ["HK/Case14"]
    assert result.exit_code == 2
    line = "HK/Case13 (six-site-HK-13), Case13.nii.gz: the gzip stream ends too early: the file is truncated; copy or"
    assert str(result).startswith(line)
    assert [entry["case"] for entry in Manifest(out).failed] == ["HK/Case13"]
    (raw / "HK/Case13.nii.gz").write_bytes(intact)
    result = run(raw, out)
    assert (result.done, result.kept, result.exit_code) == (["HK/Case13"], ["HK/Case14"], 0)
    assert Manifest(out).failed == []


def test_a_label_that_comes_later_moves_the_case(tmp_path):
    raw, out = six_site(tmp_path / "raw", "HK/Case13"), tmp_path / "out"
    label = raw / "HK/Case13_segmentation.nii.gz"
    kept = label.read_bytes()
    label.unlink()
    run(raw, out)
    assert sorted(state(out)) == ["manifest.json", "unlabelled/HK/Case13.nii.gz"]
    label.write_bytes(kept)
    run(raw, out)
    assert sorted(state(out)) == ["HK/Case13.nii.gz", "HK/Case13_segmentation.nii.gz", "manifest.json"]


@pytest.mark.fault(
    "Preparing and verifying data",
    "two preparations into one folder",
    injected="the folder's lock is held",
    outcome="refused",
)
def test_two_runs_do_not_write_to_one_folder(tmp_path):
    raw, out = six_site(tmp_path / "raw", "HK/Case13"), tmp_path / "out"
    with FolderLock(out), pytest.raises(InputError, match=rf"out' is in use by process {os.getpid()}: wait until"):
        run(raw, out)
    (out / "HK").mkdir()
    for name in (f".tmp-{os.getpid()}-ab", f"HK/.tmp-{os.getpid()}-cd"):
        (out / name).write_bytes(b"left by a killed run")
    assert run(raw, out).done == ["HK/Case13"]
    assert sorted(state(out)) == ["HK/Case13.nii.gz", "HK/Case13_segmentation.nii.gz", "manifest.json"]


def digest_of(*paths):
    """Return the checksum of input files as the manifest holds it."""
    digests = sorted(hashlib.sha256(path.read_bytes()).hexdigest() for path in paths)
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def record_of_version_1(out, raw, name, **other):
    """A record as the first version wrote it, word by word."""
    image, label = f"{name}.nii.gz", f"{name}_segmentation.nii.gz"
    return {
        "case_id": name,
        "key": f"six-site/HK/six-site-HK-{name[-2:]}",
        "site": "HK",
        "patient_id": f"six-site-HK-{name[-2:]}",
        "source": "six-site",
        "image": image,
        "label": label,
        "sha256": {
            "label": hashlib.sha256((out / label).read_bytes()).hexdigest(),
            "image_inputs": digest_of(raw / image),
            "label_inputs": digest_of(raw / label),
            "image": hashlib.sha256((out / image).read_bytes()).hexdigest(),
        },
        "labelled": True,
        "label_rule": "gland = label > 0",
        "series": "",
        "options": {"size": None, "crop_mm": None, "flip_label": False},
        "warnings": [],
        **other,
    }


def test_a_folder_of_the_first_version_is_resumed(tmp_path):
    raw, out = six_site(tmp_path / "raw", "HK/Case13"), six_site(tmp_path / "out", "HK/Case13")
    record = record_of_version_1(out, raw, "HK/Case13")
    failed = [{"case": "UCL/Case25", "code": "gap", "reason": "a gap", "cure": "fetch it"}]
    old = {"format": "akd_monai.prepared", "version": 1, "cases": [record], "failed": failed}
    (out / "manifest.json").write_text(json.dumps(old))
    before = state(out)
    result = run(raw, out)
    assert (result.done, result.kept) == ([], ["HK/Case13"])
    assert json.loads((out / "manifest.json").read_text()) == old
    volumes = [name for name in before if name.endswith(".gz")]
    assert {name: state(out)[name] for name in volumes} == {name: before[name] for name in volumes}


def test_pseudonyms_of_the_first_version_are_found_again(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/.prepare-key").write_bytes(b"0123456789abcdef")
    save(tmp_path / "raw/ann/scan1.nii.gz", grey())
    save(tmp_path / "raw/bob/scan1.nii.gz", grey(1))
    run(tmp_path / "raw", tmp_path / "out", "folder")
    # HMAC-SHA256 of "ann" and "ann/scan1" by openssl dgst -hmac 0123456789abcdef
    record = Manifest(tmp_path / "out").records["LOCAL/Case00"]
    assert record["patient_id"] == "P-fb385915a0"
    assert record["key"] == "folder/LOCAL/P-20d79661b0"


def test_the_lock_that_stays_disturbs_nothing(tmp_path):
    raw, out = six_site(tmp_path / "raw", "HK/Case13"), tmp_path / "out"
    run(raw, out)
    assert (out / ".lock").is_file()
    assert verify_dataset(out, workers=1, progress=False).errors == []
    assert [case["case_id"] for case in read_cases(out)] == ["HK/Case13"]
    assert run(raw, out).kept == ["HK/Case13"]


@pytest.mark.parametrize("source", ["six-site", "phantom"])
def test_a_folder_that_holds_a_lock_only_can_be_filled(tmp_path, source):
    """A run that is killed before its first case leaves such a folder."""
    raw, out = six_site(tmp_path / "raw", "HK/Case00"), tmp_path / "out"
    with FolderLock(out):
        pass
    assert [path.name for path in out.iterdir()] == [".lock"]
    for _ in range(2):
        if source == "phantom":
            make_phantom(out, **TINY)
        else:
            run(raw, out)
        assert [case["case_id"] for case in read_cases(out)] == ["HK/Case00"]
        assert verify_dataset(out, workers=1, progress=False).errors == []
