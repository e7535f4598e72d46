# SPDX-License-Identifier: Apache-2.0
"""Complete runs of prepare: resuming, failing well, naming, parallel work. All volumes are synthetic."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from prepare_tools import gland, grey, run, save, six_site, state, voxels

from akd_monai.data.manifest import Manifest, patient_ids
from akd_monai.data.parallel import for_each
from akd_monai.errors import UnknownNameError
from akd_monai.files import atomic_write


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


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a"
    path.write_bytes(b"old")

    def no_space(*_):
        raise OSError(28, "no space")

    monkeypatch.setattr(os, "replace", no_space)
    with pytest.raises(OSError, match="no space"):
        atomic_write(path, b"new")
    assert state(tmp_path) == {"a": b"old"}


def test_the_manifest_is_readable_json_with_one_record_a_case(tmp_path):
    run(six_site(tmp_path / "raw", "HK/Case13", "BMC/Case00"), tmp_path / "out")
    content = json.loads((tmp_path / "out/manifest.json").read_text())
    assert [record["case_id"] for record in content["cases"]] == ["BMC/Case00", "HK/Case13"]
    assert str(tmp_path) not in json.dumps(content)
