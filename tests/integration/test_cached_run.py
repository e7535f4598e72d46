# SPDX-License-Identifier: Apache-2.0
"""Distillation with a teacher cache from the command line: killed, resumed, and shared by two students."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from bundle_tools import small_bundle


def distill(teacher: Path, student: Path, data: Path, cache: Path) -> list[str]:
    return [
        sys.executable, "-W", "ignore", "-m", "akd_monai", "distill", "--teacher", str(teacher), "--student", str(student),
        "--dataset_dir", str(data), "--sites", "['I2CVB']", "--teacher_cache", str(cache),
    ]  # fmt: skip


def run(command: list[str]) -> int:
    """Return how many images the teacher looked at."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    text = done.stdout + done.stderr
    assert done.returncode == 0, text[-4000:]
    return int(re.findall(r"the teacher looked at (\d+) images and served 24", text)[-1])


def weights(bundle: Path) -> dict[str, torch.Tensor]:
    return torch.load(bundle / "eval" / "resume.pt", weights_only=True)["parts"]["network"]


@pytest.mark.slow
def test_killed_while_the_cache_fills_and_resumed_ends_with_the_same_weights(tmp_path, data_dir, teacher):
    whole = small_bundle("enet", tmp_path / "whole")
    assert run(distill(teacher, whole, data_dir, tmp_path / "cache")) > 0
    # the same student again needs no teacher
    again = small_bundle("enet", tmp_path / "again")
    assert run(distill(teacher, again, data_dir, tmp_path / "cache")) == 0

    killed = small_bundle("enet", tmp_path / "killed", iterations_per_checkpoint=1)
    command, resume = distill(teacher, killed, data_dir, tmp_path / "other"), killed / "eval" / "resume.pt"
    with subprocess.Popen(
        command, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        while not resume.exists() and process.poll() is None:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
    done = torch.load(resume, weights_only=True)["iteration"]
    assert 0 < done < 6, "the run was over before it was killed"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    assert subprocess.run(command, env=environment, capture_output=True, check=False).returncode == 0
    for other in (again, killed):
        assert all(torch.equal(value, weights(whole)[name]) for name, value in weights(other).items())
