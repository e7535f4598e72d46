# SPDX-License-Identifier: Apache-2.0
"""Training and inference through MONAI's command line on a disk that is too small."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from bundle_tools import SIZE, small_bundle

from akd_monai.networks.nets import ENet
from akd_monai.prostate import make_phantom

# a disk of its own for one command: first what was there before, then the command, then all that is there is copied
ON_SMALL_DISK = """
mount -t tmpfs -o size=$SPACE none $DISK && cp -r $BEFORE/. $DISK || exit 99
"$@"
code=$?
cp -r $DISK/. $AFTER
exit $code
"""


def _can_mount() -> bool:
    if shutil.which("unshare") is None:
        return False
    command = ["unshare", "-rm", "mount", "-t", "tmpfs", "none", "/mnt"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


pytestmark = [pytest.mark.slow, pytest.mark.skipif(not _can_mount(), reason="no file system can be mounted here")]


@pytest.fixture
def student(tmp_path):
    return small_bundle("enet", tmp_path / "student")


def run_on_small_disk(
    tmp_path: Path, bundle: Path, space: str, *options: str
) -> tuple[subprocess.CompletedProcess, Path]:
    """Run a config with ``disk`` as a file system of ``space``; return the process and a copy of what was left there."""
    for name in ("before", "disk", "after"):
        (tmp_path / name).mkdir(exist_ok=True)
    (tmp_path / "before" / "notes.txt").write_text("there before")
    folders = {name.upper(): str(tmp_path / name) for name in ("before", "disk", "after")}
    command = [sys.executable, "-W", "ignore", "-m", "monai.bundle", "run", "--config_file", *options]
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", ON_SMALL_DISK, "sh", *command], cwd=bundle, capture_output=True, text=True,
        check=False, env={**os.environ, "OMP_NUM_THREADS": "1", "SPACE": space, **folders},
    )  # fmt: skip
    assert (tmp_path / "after" / "notes.txt").read_text() == "there before"
    return done, tmp_path / "after"


@pytest.mark.fault(
    "Disk, memory and processes",
    "the disk is full while a training writes its checkpoint",
    injected="a file system of 6 MB for `output_dir` and `ckpt_dir`",
    outcome="exit code 1, one line names folder and size; what is there is complete",
)
def test_training_on_a_full_disk_ends_in_one_line(student, tmp_path):
    data = make_phantom(tmp_path / "data", cases_per_site=2, sites=["HK"], size=SIZE, slices=4)
    folders = [f"--{name}={tmp_path / 'disk' / name}" for name in ("output_dir", "ckpt_dir")]
    done, left = run_on_small_disk(
        tmp_path, student, "6m", "configs/train.json", f"--dataset_dir={data}", *folders, "--device=cpu"
    )
    assert done.returncode == 1, done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("akd_monai: no space left in ")
    assert "MB needed; free some, files written before are complete" in last
    assert "Traceback" not in done.stdout + done.stderr
    for path in left.rglob("*.pt"):
        torch.load(path, weights_only=True)
    assert not [path for path in left.rglob("*") if ".tmp" in path.name]


@pytest.mark.fault(
    "Disk, memory and processes",
    "the disk is full while masks are written",
    injected="a file system of 128 KB for `output_dir`",
    outcome="exit code 1, the volumes without mask are named with the reason; no mask is incomplete",
)
def test_inference_on_a_full_disk_leaves_no_half_mask(student, tmp_path):
    torch.manual_seed(0)
    torch.save(ENet(2, 1, 2).state_dict(), student / "models" / "model.pt")
    generator = np.random.default_rng(0)
    (tmp_path / "in").mkdir()
    for number in range(3):
        volume = generator.normal(100, 20, (256, 256, 12)).astype(np.float32)
        nib.save(nib.Nifti1Image(volume, np.diag([-1.0, -1, 3, 1])), tmp_path / "in" / f"v{number}.nii.gz")
    done, left = run_on_small_disk(
        tmp_path, student, "128k", "configs/inference.json", f"--dataset_dir={tmp_path / 'in'}",
        f"--output_dir={tmp_path / 'disk'}", "--device=cpu", "--spatial_size=[256,256]",
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    last = done.stderr.splitlines()[-1]
    assert "volumes segmented; failed: " in last
    assert "no space left in " in last
    assert "Traceback" not in done.stdout + done.stderr
    masks = sorted(path for path in left.rglob("*") if path.is_file() and path.name != "notes.txt")
    for mask in masks:
        assert nib.load(mask).get_fdata().shape == (256, 256, 12)
    assert f"{len(masks)} of 3 volumes segmented" in last
    assert len(masks) < 3
