# SPDX-License-Identifier: Apache-2.0
"""The extra ``segment`` alone, in an environment of its own: one command, a mask."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from deploy_tools import AS_IT_IS, bright_box, write_model
from series_tools import grey, write_series

ROOT = Path(__file__).resolve().parents[2]
# with compiled bytecode; without pip and setuptools, which every virtual environment has
MOST_MB = 260
TOOLS = ("pip", "setuptools", "pkg_resources")


def output(*command, check=False):
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, check=check)


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """Return the interpreter of an environment with ``akd_monai[segment]`` and nothing else."""
    folder = tmp_path_factory.mktemp("light")
    source = folder / "source"
    shutil.copytree(ROOT / "akd_monai", source / "akd_monai", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    output(sys.executable, "-m", "venv", folder / "venv", check=True)
    found = folder / "venv" / "bin" / "python"
    done = output(found, "-m", "pip", "install", "--quiet", "-c", ROOT / "constraints.txt", f"{source}[segment]")
    if done.returncode:
        pytest.skip(f"pip reaches no packages: {done.stderr.strip().splitlines()[-1][:200]}")
    return found


@pytest.mark.slow
def test_one_command_makes_a_mask(python, tmp_path):
    marked = bright_box(tmp_path / "t2.nii.gz")
    model = write_model(tmp_path / "m.onnx", **AS_IT_IS)
    done = output(python, "-m", "akd_monai", "segment", "-i", tmp_path / "t2.nii.gz", "-o", tmp_path, "--model", model)
    assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(np.asarray(nib.load(tmp_path / "t2_pred.nii.gz").dataobj), marked)


@pytest.mark.slow
def test_one_command_makes_masks_of_a_dicom_series(python, tmp_path):
    volume, marked = grey()
    write_series(tmp_path / "T2", volume)
    model = write_model(tmp_path / "m.onnx", modality='"MR"', **AS_IT_IS)
    done = output(
        python, "-m", "akd_monai", "segment", "-i", tmp_path / "T2", "-o", tmp_path, "--model", model,
        "--output_type", "nifti", "dicom_seg", "--preview", "--statistics",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(np.asarray(nib.load(tmp_path / "T2_pred.nii.gz").dataobj), marked)
    frames = [marked[:, :, k].T for k in range(6) if marked[:, :, k].any()]
    np.testing.assert_array_equal(pydicom.dcmread(tmp_path / "T2_pred.seg.dcm").pixel_array, frames)


@pytest.mark.slow
def test_it_is_small_and_holds_nothing_heavy(python):
    (packages,) = (python.parent.parent / "lib").glob("python*/site-packages")
    files = [path for path in packages.rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files if path.relative_to(packages).parts[0] not in TOOLS)
    assert size < MOST_MB * 1e6, size / 1e6
    listed = output(python, "-m", "pip", "list").stdout.split()
    assert [name for name in ("torch", "monai", "itk", "scipy", "onnx") if name in listed] == []


@pytest.mark.slow
def test_a_verb_of_another_extra_says_which(python):
    done = output(python, "-m", "akd_monai", "check", "bundle")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "is not installed: pip install 'akd_monai[train]'." in line
