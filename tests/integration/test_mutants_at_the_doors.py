# SPDX-License-Identifier: Apache-2.0
"""A few of the mutants of ``python -m tests.mutants`` at prepare, verify, inference and training."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from mutants.files import FORMATS, clean, mutant

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("kind", FORMATS)
def test_a_mutant_differs_in_one_file_and_is_the_same_every_time(kind):
    whole = clean(kind)
    for number in range(20):
        damaged, again = (mutant(kind, np.random.default_rng([3, number])) for _ in range(2))
        assert damaged == again
        others = {name: data for name, data in damaged.files.items() if name != damaged.file}
        assert others == {name: data for name, data in whole.items() if name != damaged.file}
        assert damaged.region in ("checked", "header", "voxels")


def test_what_a_checksum_covers_is_told_from_what_none_covers():
    regions = {
        kind: {mutant(kind, np.random.default_rng([5, number])).region for number in range(40)} for kind in FORMATS
    }
    assert regions["nii"] == regions["mha"] == regions["dicom"] == {"header", "voxels"}
    assert regions["nrrd"] == {"header", "checked"}
    # a stream may be damaged, or its content and then compressed again
    assert regions["nii.gz"] == {"header", "voxels", "checked"}


@pytest.mark.fault(
    "Volumes",
    "damaged NIfTI, NRRD, MetaImage and DICOM at every door",
    injected="mutants: flipped, swapped, huge, garbage, cut, duplicated",
    outcome="no crash, no hang, at most 256 MB more, no other result without a word where a checksum covers it",
)
@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="reads /proc")
def test_mutants_at_four_doors(tmp_path):
    command = [sys.executable, "-W", "ignore", "-m", "tests.mutants", "--count=30", "--seed=7"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    lines = tmp_path / "lines.jsonl"
    done = subprocess.run(
        [*command, f"--lines={lines}"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = [json.loads(line) for line in lines.read_text().splitlines()]
    # four doors for NIfTI, three for NRRD and MetaImage, prepare alone for DICOM
    assert len(found) == 5 * (4 + 4 + 3 + 3 + 3 + 1)
    outcomes = Counter(line["found"] for line in found)
    assert set(outcomes) <= {"refused", "same", "said", "header", "voxels"}
    assert outcomes["refused"] > 30
    assert outcomes["same"] > 10
    assert max(line["mb"] for line in found) <= 256
