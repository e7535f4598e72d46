# SPDX-License-Identifier: Apache-2.0
"""A pair of small bundles with two cases, and verbs that must end in one line."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import torch
from bundle_tools import FEATURES, small_bundle

from akd_monai.__main__ import main
from akd_monai.networks.nets import UNetPlusPlus


def write_case(root, site, name, mask=True):
    (root / site).mkdir(parents=True, exist_ok=True)
    volume = np.random.default_rng(0).normal(100, 20, (32, 32, 4)).astype(np.float32)
    gland = np.zeros(volume.shape, np.uint8)
    gland[10:20, 10:20] = 1
    nib.save(nib.Nifti1Image(volume, np.eye(4)), root / site / f"{name}.nii.gz")
    if mask:
        nib.save(nib.Nifti1Image(gland, np.eye(4)), root / site / f"{name}_segmentation.nii.gz")


def make_pair(tmp_path):
    """A teacher with drawn weights, a student, and two cases."""
    teacher, student = small_bundle("unetplusplus", tmp_path / "teacher"), small_bundle("enet", tmp_path / "student")
    torch.save(UNetPlusPlus(2, 1, 2, features=FEATURES).state_dict(), teacher / "models" / "model.pt")
    for number in range(2):
        write_case(tmp_path / "data", "I2CVB", f"Case{number:02}")
    return teacher, student, tmp_path / "data"


def fails_with(capsys, *command):
    """Run a verb that must end with code 2 and return the single line on stderr."""
    with pytest.raises(SystemExit) as stop:
        main(list(map(str, command)))
    assert stop.value.code == 2
    text = capsys.readouterr().err.strip()
    line = text.splitlines()[-1]
    assert line.startswith("akd_monai: ")
    assert "Traceback" not in text
    return line


def distil(bundles, *options):
    teacher, student, data = bundles
    return ["distill", f"--teacher={teacher}", f"--student={student}", f"--dataset_dir={data}", *options]
