# SPDX-License-Identifier: Apache-2.0
"""Complete runs of prepare: resuming, failing well, naming, parallel work. All volumes are synthetic."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from prepare_tools import gland, grey, run, save, six_site, voxels

from akd_monai.data.manifest import Manifest, patient_ids
from akd_monai.data.parallel import for_each
from akd_monai.errors import InputError, UnknownNameError
from akd_monai.files import FolderLock, atomic_write
from akd_monai.prostate._privacy import looks_personal, pseudonym, redacted
from akd_monai.prostate.prepare._sources.base import CaseError
from akd_monai.prostate.prepare._sources.files import read_volume


def state(folder):
    """Return the files of a folder, but for the lock, whose content is the number of the process."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != ".lock")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_a_second_call_changes_nothing(tmp_path):
    raw = six_site(tmp_path / "raw", "HK/Case13", "UCL/Case25")
    assert sorted(run(raw, tmp_path / "out").done) == ["HK/Case13", "UCL/Case25"]
    before = state(tmp_path / "out")
    times = [p.stat().st_mtime_ns for p in sorted((tmp_path / "out").rglob("*.gz"))]
    result = run(raw, tmp_path / "out")
    assert (result.done, sorted(result.kept)) == ([], ["HK/Case13", "UCL/Case25"])
    assert state(tmp_path / "out") == before
    assert [p.stat().st_mtime_ns for p in sorted((tmp_path / "out").rglob("*.gz"))] == times


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


def test_checksums_are_those_of_the_files(tmp_path):
    run(six_site(tmp_path / "raw", "HK/Case13"), tmp_path / "out")
    record = Manifest(tmp_path / "out").records["HK/Case13"]
    for kind in ("image", "label"):
        assert record["sha256"][kind] == hashlib.sha256((tmp_path / "out" / record[kind]).read_bytes()).hexdigest()
    assert record["gland_cm3"] == pytest.approx(4 * 4 * 3 * 0.5 * 0.5 * 3 / 1000)
    assert patient_ids(tmp_path / "out") == {"HK/Case13": "six-site-HK-13"}


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


def test_two_processes_write_what_one_writes(tmp_path):
    raw = six_site(tmp_path / "raw", "HK/Case13", "HK/Case14", "UCL/Case25")
    save(raw / "UCL/Case26.nii.gz", np.full((4, 4, 4), np.nan, dtype=np.float32))
    one, two = run(raw, tmp_path / "one"), run(raw, tmp_path / "two", workers=2)
    assert state(tmp_path / "one") == state(tmp_path / "two")
    assert sorted(one.done) == sorted(two.done)
    assert [f.code for f in two.failed] == ["not-finite"]


def test_a_dying_process_costs_one_item():
    items = ["1 + 1", "__import__('os')._exit(3)", "2 + 2"]
    results = dict(for_each(eval, items, workers=2, progress=False, title="sums"))
    assert results == {"1 + 1": 2, "__import__('os')._exit(3)": None, "2 + 2": 4}


_KILLED = """
import sys
from akd_monai.files import FolderLock, atomic_write
from akd_monai.data.parallel import for_each
if __name__ == "__main__":
    # The pool says that all its processes run by handing back the first result.
    for item, result in for_each(eval, ["__import__('os').getpid()"] + ["__import__('time').sleep(60)"] * 3,
                                 workers=2, progress=False, title="naps"):
        print(result, flush=True)
"""


def _runs(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
def test_processes_of_a_killed_run_end_with_it(tmp_path):
    script = tmp_path / "naps.py"
    script.write_text(_KILLED)
    parent = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    worker = int(parent.stdout.readline())
    assert _runs(worker)
    assert worker != parent.pid
    parent.kill()
    parent.wait()
    for _ in range(100):
        if not _runs(worker):
            return
        time.sleep(0.1)
    os.kill(worker, 9)
    pytest.fail("the worker process outlived its parent by 10 seconds")


def test_two_runs_do_not_write_to_one_folder(tmp_path):
    raw, out = six_site(tmp_path / "raw", "HK/Case13"), tmp_path / "out"
    with FolderLock(out), pytest.raises(InputError, match=rf"out' is in use by process {os.getpid()}: wait until"):
        run(raw, out)
    (out / "HK").mkdir()
    for name in (f".tmp-{os.getpid()}-ab", f"HK/.tmp-{os.getpid()}-cd"):
        (out / name).write_bytes(b"left by a killed run")
    assert run(raw, out).done == ["HK/Case13"]
    assert sorted(state(out)) == ["HK/Case13.nii.gz", "HK/Case13_segmentation.nii.gz", "manifest.json"]


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


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"size": 4}, r"size must be at least 8 pixels, got 4"),
        ({"crop_mm": 1}, r"crop_mm must be at least 10 mm, got 1"),
        ({"flip_labels": "six-site-HK-13, him"}, r"unknown patient ID 'him' in flip_labels\. Known: six-site-HK-13"),
        ({"size": "big"}, r"size must be an integer, got 'big'"),
        ({"crop_mm": True}, r"crop_mm must be a number, got True"),
        ({"workers": "two"}, r"workers must be .*, got 'two'"),
        ({"workers": -1}, r"workers must be .*, got -1"),
        ({"site": "UCL"}, r"unknown site 'UCL' of source 'six-site' in this folder\. Known: HK\."),
        ({"flip_labels": ["six-site-HK-14"]}, r"unknown patient ID 'six-site-HK-14' .*Did you mean 'six-site-HK-13'"),
        ({"site": "../x"}, r"the name of a site holds letters, digits, '-' and '_' only, got '\.\./x'; choose"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_written(tmp_path, options, words):
    raw = six_site(tmp_path / "raw", "HK/Case13")
    with pytest.raises(InputError, match=words):
        run(raw, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_folders_that_cannot_work_are_refused(tmp_path):
    raw = six_site(tmp_path / "raw", "HK/Case13")
    with pytest.raises(InputError, match=r"the input folder .*nothing does not exist"):
        run(tmp_path / "nothing", tmp_path / "out")
    with pytest.raises(InputError, match=r"lies in the input folder"):
        run(raw, raw / "out")
    with pytest.raises(InputError, match=r"input_dir must be a path, got 5"):
        run(5, tmp_path / "out")
    (tmp_path / "file").write_text("kept")
    with pytest.raises(InputError, match=r"folder '.*/file' cannot be written to \(File exists\): choose another"):
        run(raw, tmp_path / "file")
    with pytest.raises(InputError, match=r"folder '.*file/below' cannot be written to \(Not a directory\)"):
        run(raw, tmp_path / "file/below")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/manifest.json").write_text("{")
    with pytest.raises(InputError, match=r"manifest\.json: is no valid JSON .*; delete it and prepare again"):
        run(raw, tmp_path / "out")
    (tmp_path / "out/manifest.json").write_text('{"format": "other", "version": 3}')
    with pytest.raises(InputError, match=r"format 'other' version 3.*'akd_monai\.prepared' version 1"):
        run(raw, tmp_path / "out")


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a"
    path.write_bytes(b"old")

    def no_space(*_):
        raise OSError(28, "no space")

    monkeypatch.setattr(os, "replace", no_space)
    with pytest.raises(OSError, match="no space"):
        atomic_write(path, b"new")
    assert state(tmp_path) == {"a": b"old"}


def test_damaged_nrrd_is_refused_although_its_library_reads_it(tmp_path):
    values = grey(shape=(20, 20, 20))
    header = (
        b"NRRD0004\ntype: short\ndimension: 3\nspace: left-posterior-superior\nsizes: 20 20 20\n"
        b"space directions: (1,0,0) (0,1,0) (0,0,3)\nendian: little\nencoding: gzip\nspace origin: (0,0,0)\n\n"
    )
    data = gzip.compress(values.tobytes(order="F"))
    path = tmp_path / "a.nrrd"
    path.write_bytes(header + data)
    np.testing.assert_array_equal(read_volume(path).array, values)
    broken = bytearray(data)
    broken[len(data) // 2] ^= 1
    path.write_bytes(header + bytes(broken))
    with pytest.raises(CaseError, match=r"a\.nrrd: the gzip stream is damaged"):
        read_volume(path)
    path.write_bytes(header + data[:-30])
    with pytest.raises(CaseError, match=r"a\.nrrd: the gzip stream ends too early"):
        read_volume(path)


def test_names_dates_and_identifiers_are_redacted():
    text = "2003-07-27/DOE^JOHN/1.3.12.2.1107.5.2.30.25245.20060207/19990101/Prostate3T-01-0013"
    assert redacted(text).startswith("DATE/NAME/uid-")
    assert redacted(text).endswith("/DATE/Prostate3T-01-0013")
    assert redacted("Patient 383/T2W") == "Patient 383/T2W"
    assert looks_personal("Patient Name: X")
    assert looks_personal("01.02.1950")
    assert not looks_personal("ITK 5.4.7")
    key = b"k" * 16
    assert pseudonym("a", key) == pseudonym("a", key) != pseudonym("a", b"l" * 16)
    assert pseudonym("a", key) != pseudonym("b", key)


def test_the_manifest_is_readable_json_with_one_record_a_case(tmp_path):
    run(six_site(tmp_path / "raw", "HK/Case13", "BMC/Case00"), tmp_path / "out")
    content = json.loads((tmp_path / "out/manifest.json").read_text())
    assert [record["case_id"] for record in content["cases"]] == ["BMC/Case00", "HK/Case13"]
    assert str(tmp_path) not in json.dumps(content)
