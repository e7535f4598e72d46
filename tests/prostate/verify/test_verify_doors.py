# SPDX-License-Identifier: Apache-2.0
"""Names under which verify is found, and the flags that its messages speak of."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys

import pytest
from verify_tools import FAULTS, check

from akd_monai.prostate import verify_dataset
from akd_monai.prostate.verify import Finding, VerifyReport


@pytest.mark.parametrize("module", ["akd_monai.data.verify", "akd_monai.prostate.verify"])
def test_the_old_name_and_its_argument_still_work(folder, tmp_path, module):
    verify = importlib.import_module(module).verify
    report = verify(folder, output=tmp_path / "old", workers=1, progress=False)
    assert isinstance(report, VerifyReport)
    assert report.findings == []
    assert (tmp_path / "old/findings.csv").read_text() == "severity,code,case,file,message,remedy\n"
    assert verify(folder, output_dir=tmp_path / "new", workers=1, progress=False).exit_code == 0
    assert (tmp_path / "new/findings.csv").is_file()


def test_the_package_offers_what_a_user_needs():
    package = importlib.import_module("akd_monai.prostate.verify")
    assert package.verify_dataset is verify_dataset
    assert package.Finding is Finding
    with pytest.raises(AttributeError, match="has no attribute 'verfy'"):
        package.verfy  # noqa: B018 - the look-up is what is tested


def test_each_flag_in_a_remedy_exists(folder, good_set):
    named = set()
    for spoil, *_ in FAULTS.values():
        for name, data in good_set.items():
            (folder / name).write_bytes(data)
        (folder / "HK/Case14.nii").unlink(missing_ok=True)
        spoil(folder)
        for finding in check(folder).findings:
            assert "=True" not in str(finding)
            named.update(re.findall(r"(verify|prepare)\b[^;.]* --(\w+)", finding.remedy))
            # A fault that --fix removes says so.
            assert ("--fix" in finding.remedy) == bool(finding.fix)
    assert named == {("verify", "fix"), ("prepare", "flip_labels")}
    for verb, flag in named:
        command = [sys.executable, "-m", "akd_monai", verb, "--help"]
        shown = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        assert f"--{flag}" in shown.stdout + shown.stderr
