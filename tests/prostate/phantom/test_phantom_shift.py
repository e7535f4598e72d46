# SPDX-License-Identifier: Apache-2.0
"""The benchmark that trains on one synthetic site and evaluates on others: its table, its messages, and the pictures."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]

pytestmark = pytest.mark.skipif(not (ROOT / "benchmarks").is_dir(), reason="needs the repository")


def command(module, *arguments):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-m", f"benchmarks.{module}", *map(str, arguments)],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip


@pytest.mark.slow
def test_the_shift_between_synthetic_sites_is_written_as_json_and_markdown(tmp_path):
    run = command(
        "phantom_shift", "--output", tmp_path, "--sites", "S1", "BIDMC", "--train", 2, "--test", 1, "--epochs", 1
    )
    assert run.returncode == 0, run.stderr
    table = json.loads((tmp_path / "phantom_shift.json").read_text())
    assert table["synthetic"]
    assert set(table["dice"]) == {"RUNMC", "BIDMC"}
    assert all(len(row[name]) == 1 and 0 <= row[name][0] <= 1 for row in table["dice"].values() for name in row)
    lines = (tmp_path / "phantom_shift.md").read_text().splitlines()
    assert lines[0].startswith("SYNTHETIC")
    assert lines[2] == "| trained on | RUNMC | BIDMC | others |"


def test_one_site_alone_cannot_be_compared(tmp_path):
    run = command("phantom_shift", "--output", tmp_path / "new", "--sites", "S1", "RUNMC")
    assert run.returncode == 2
    assert "at least two sites" in run.stderr
    assert not (tmp_path / "new").exists()


def test_pictures_hold_no_metadata(tmp_path):
    picture = tmp_path / "six.png"
    run = command("phantom_pictures", "--output", picture, "--size", 48)
    assert run.returncode == 0, run.stderr
    data = picture.read_bytes()
    assert data.startswith(b"\x89PNG")
    assert len(data) < 300_000
    assert b"tEXt" not in data
    assert b"matplotlib" not in data.lower()


def test_reversed_masks_are_counted(tmp_path):
    run = command("upside_down", "--cases_per_site", 1, "--size", 48, "--slices", 10, "--workers", 1)
    assert run.returncode == 0, run.stderr
    lines = run.stdout.splitlines()
    assert [line.split(":")[0] for line in lines] == ["as they are", "front to back", "upside down"]
    # One case a site is too few to report a site.
    assert all(line.endswith(" cases, 0 sites") for line in lines)
    assert lines[0].startswith("as they are: noticed in 0 of ")
