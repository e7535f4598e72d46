# SPDX-License-Identifier: Apache-2.0
"""Evaluation and inference by MONAI's command line: the mask lies on the input's own grid."""

from __future__ import annotations

import csv

import nibabel as nib
import numpy as np
import pytest
import torch
from bundle_tools import run_bundle, small_bundle

from akd_monai.networks.nets import ENet


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    """A student with drawn weights."""
    root = small_bundle("enet", tmp_path_factory.mktemp("inference") / "student")
    torch.manual_seed(0)
    torch.save(ENet(2, 1, 2).state_dict(), root / "models" / "model.pt")
    return root


@pytest.mark.slow
def test_mask_has_the_grid_of_the_volume(student, tmp_path):
    # odd sizes, axes permuted and flipped, oblique
    c, s = np.cos(0.2), np.sin(0.2)
    turn = np.array([[0, 0.9 * c, 3 * s, 5], [-0.8, 0, 0, 7], [0, 0.9 * s, -3 * c, 1], [0, 0, 0, 1]])
    volume = np.random.default_rng(0).normal(100, 20, (45, 38, 5)).astype(np.float32)
    nib.save(nib.Nifti1Image(volume, turn), tmp_path / "odd.nii.gz")
    run_bundle(
        student, "configs/inference.json", f"--dataset_dir={tmp_path / 'odd.nii.gz'}", f"--output_dir={tmp_path}"
    )
    mask = nib.load(tmp_path / "odd_pred.nii.gz")
    assert mask.shape == volume.shape
    np.testing.assert_allclose(mask.affine, turn, atol=1e-5)
    assert set(np.unique(mask.get_fdata())) <= {0, 1}


@pytest.mark.slow
def test_a_volume_of_one_slice_keeps_its_third_axis(student, tmp_path):
    volume = np.random.default_rng(0).normal(100, 20, (40, 32, 1)).astype(np.float32)
    nib.save(nib.Nifti1Image(volume, np.diag([1.0, 1, 3, 1])), tmp_path / "one.nii.gz")
    run_bundle(student, "configs/inference.json", f"--dataset_dir={tmp_path}", f"--output_dir={tmp_path / 'masks'}")
    mask = nib.load(tmp_path / "masks" / "one_pred.nii.gz")
    assert mask.shape == volume.shape
    np.testing.assert_allclose(mask.affine, np.diag([1.0, 1, 3, 1]), atol=1e-9)


@pytest.mark.slow
def test_evaluation_writes_a_row_for_each_held_out_case(student, data_dir):
    run_bundle(
        student, "['configs/train.json','configs/evaluate.json']", f"--dataset_dir={data_dir}", "--sites=['I2CVB']"
    )
    with (student / "eval" / "per_case.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2  # four cases in two folds
    for row in rows:
        name = row["case_id"].split("/")[-1]
        mask = nib.load(student / "eval" / "I2CVB" / f"{name}_pred.nii.gz")
        label = nib.load(data_dir / "I2CVB" / f"{name}_segmentation.nii.gz")
        a, b = mask.get_fdata() > 0, label.get_fdata() > 0
        assert mask.shape == label.shape
        assert float(row["dice"]) == pytest.approx(2 * (a & b).sum() / (a.sum() + b.sum()), abs=1e-5)


@pytest.mark.slow
def test_missing_weights_end_inference_with_the_remedy(tmp_path, data_dir):
    root = small_bundle("enet", tmp_path / "student")
    done = run_bundle(root, "configs/inference.json", f"--dataset_dir={data_dir}", check=False)
    assert done.returncode != 0
    assert "InputError: weights 'models/model.pt' do not exist: train the bundle first" in done.stderr
    assert not list(root.glob("eval/*_pred*"))
