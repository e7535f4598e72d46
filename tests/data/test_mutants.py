# SPDX-License-Identifier: Apache-2.0
"""Damaged files neither crash nor hang a reader nor fill its memory; no damaged stream is taken for the undamaged one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent


@pytest.mark.fault(
    "Volumes",
    "mutated files",
    injected="random bytes of NIfTI, NRRD and MetaImage files changed, cut, doubled",
    outcome="no crash, no hang, memory below a bound, no damaged gzip accepted",
)
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
@pytest.mark.parametrize(
    ("kind", "count"), [("nii.gz", 20), ("nifti-header", 20), ("nrrd", 10), ("mha", 10), ("mhd", 10)]
)
def test_mutants(kind, count):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE.parent), str(HERE.parent.parent)])}
    command = [sys.executable, "-W", "ignore", str(HERE / "mutants.py"), "1", str(count), kind]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    assert found["refused"] + found["same"] + found["other"] == count
    assert found["refused"] > 0
    assert found["peak_mb"] < 500
    if kind == "nii.gz":
        assert found["other"] == 0
