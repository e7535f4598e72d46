# SPDX-License-Identifier: Apache-2.0
"""Distillation with a teacher cache: killed while it fills, resumed from the command line, and shared."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from bundle_tools import small_bundle

from akd_monai.bundle import distill_bundle as distill


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Sums are added up in the same order here and in processes started with one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def weights(bundle: Path) -> dict[str, torch.Tensor]:
    return torch.load(bundle / "eval" / "resume.pt", weights_only=True)["parts"]["network"]


@pytest.mark.fault(
    "Teacher cache",
    "SIGKILL while the cache fills",
    injected="killed in mid-epoch",
    outcome="bit-identical weights",
)
@pytest.mark.slow
def test_killed_while_the_cache_fills_and_resumed_ends_with_the_same_weights(
    tmp_path, data_dir, teacher, capfd, one_thread
):
    whole, killed = small_bundle("enet", tmp_path / "whole"), tmp_path / "killed"
    shared = {"dataset_dir": str(data_dir), "sites": ["I2CVB"], "teacher_cache": str(tmp_path / "cache")}
    distill(teacher, whole, **shared)
    # 24 are drawn, of two slices in eight views; two float32 logits and a bit for 1024 pixels, 8 channels of 4 x 4
    assert "8.83 kB for each view of a slice, at most 16 still to be computed, 141 kB" in capfd.readouterr().out

    small_bundle("enet", killed, iterations_per_checkpoint=1)
    command = [
        sys.executable, "-W", "ignore", "-m", "akd_monai", "distill", "--teacher", str(teacher), "--student", str(killed),
        "--dataset_dir", str(data_dir), "--sites", "['I2CVB']", "--teacher_cache", str(tmp_path / "other"),
    ]  # fmt: skip
    environment, resume = {**os.environ, "OMP_NUM_THREADS": "1"}, killed / "eval" / "resume.pt"
    quiet = {"env": environment, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, **quiet) as process:
        while not resume.exists() and process.poll() is None:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
    done = torch.load(resume, weights_only=True)["iteration"]
    assert 0 < done < 6, "the run was over before it was killed"
    assert subprocess.run(command, **quiet, check=False).returncode == 0
    expected, found = weights(whole), weights(killed)
    assert all(torch.equal(value, found[name]) for name, value in expected.items())

    # nor does the cache change a bit of what training beside the teacher gives
    online = small_bundle("enet", tmp_path / "online")
    distill(teacher, online, **{**shared, "teacher_cache": None})
    found = weights(online)
    assert all(torch.equal(value, found[name]) for name, value in expected.items())
    assert "teacher: 24 forward passes, outputs provided for 24 images" in capfd.readouterr().out

    # another student of the same teacher on the same slices needs no teacher
    distill(teacher, small_bundle("espnet", tmp_path / "another"), **shared)
    assert "teacher: 0 forward passes, outputs provided for 24 images" in capfd.readouterr().out
