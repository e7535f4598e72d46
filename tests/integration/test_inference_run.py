# SPDX-License-Identifier: Apache-2.0
"""Evaluation and inference by MONAI's command line: the mask lies on the input's own grid."""

from __future__ import annotations

import csv
import re
import shutil
from pathlib import Path

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
def test_a_volume_of_one_slice_keeps_its_third_axis(run_warm, student, tmp_path):
    volume = np.random.default_rng(0).normal(100, 20, (40, 32, 1)).astype(np.float32)
    nib.save(nib.Nifti1Image(volume, np.diag([1.0, 1, 3, 1])), tmp_path / "one.nii.gz")
    run_warm(student, "configs/inference.json", f"--dataset_dir={tmp_path}", f"--output_dir={tmp_path / 'masks'}")
    mask = nib.load(tmp_path / "masks" / "one_pred.nii.gz")
    assert mask.shape == volume.shape
    np.testing.assert_allclose(mask.affine, np.diag([1.0, 1, 3, 1]), atol=1e-9)


def write(path: Path, volume=None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if volume is None:
        volume = np.random.default_rng(0).normal(100, 20, (24, 20, 3)).astype(np.float32)
    nib.save(nib.Nifti1Image(volume, np.diag([-1.0, -1, 3, 1])), path)
    return path


def masks_in(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.mark.fault(
    "Masks that are written",
    "equal names in folders, masks and earlier predictions among images",
    injected="seven files in a tree",
    outcome="four masks that mirror the tree; what was skipped is named",
)
@pytest.mark.slow
def test_every_volume_has_its_own_mask_and_no_mask_is_segmented(run_warm, student, tmp_path):
    for name in (
        "p1/t2.nii.gz",
        "p2/t2.nii.gz",
        "a.nii",
        "a.nii.gz",
        "p1/t2_seg.nii.gz",
        "mask.nii.gz",
        "old_pred.nii.gz",
    ):
        write(tmp_path / "in" / name)
    options = (f"--dataset_dir={tmp_path / 'in'}", f"--output_dir={tmp_path / 'in' / 'out'}")
    wanted = ["a.nii.gz_pred.nii.gz", "a.nii_pred.nii.gz", "p1/t2_pred.nii.gz", "p2/t2_pred.nii.gz"]
    done = run_warm(student, "configs/inference.json", *options)
    assert masks_in(tmp_path / "in" / "out") == wanted
    assert "skipped as masks or predictions, by their names: mask.nii.gz, old_pred.nii.gz, p1/t2_seg" in output(done)
    assert "4 of 4 volumes segmented" in output(done)
    # the masks that are now there are not read
    assert "4 of 4 volumes segmented" in output(run_warm(student, "configs/inference.json", *options))
    assert masks_in(tmp_path / "in" / "out") == wanted


def output(done) -> str:
    return done.stdout + done.stderr


@pytest.mark.fault(
    "Masks that are written",
    "two volumes with one mask",
    injected="`T2` beside `t2`",
    outcome="exit code 2, nothing is written",
)
@pytest.mark.slow
def test_a_clash_ends_inference_before_anything_is_computed(run_warm, student, tmp_path):
    for name in ("in/T2.nii.gz", "in/t2.nii.gz", "in/other.nii.gz"):
        write(tmp_path / name)
    options = (f"--dataset_dir={tmp_path / 'in'}", f"--output_dir={tmp_path / 'out'}")
    done = run_warm(student, "configs/inference.json", *options, check=False)
    assert done.returncode == 2
    assert "would be written to one mask" in done.stderr.splitlines()[-1]
    assert not (tmp_path / "out").exists()


def bad_volumes(folder: Path) -> dict[str, str]:
    """Write one file of each fault and return a part of its message."""
    grey = np.random.default_rng(0).normal(100, 20, (24, 20, 3)).astype(np.float32)
    holes = grey.copy()
    holes[3, 4, 1] = np.nan
    colours = np.zeros((24, 20, 3), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    good = write(folder / "scratch.nii.gz", grey).read_bytes()
    flipped = bytearray(good)
    flipped[len(good) // 2] ^= 4
    contents = {"cut": good[: len(good) // 2], "empty": b"", "text": b"no gzip at all " * 40, "flipped": bytes(flipped)}
    for name, content in contents.items():
        (folder / f"{name}.nii.gz").write_bytes(content)
    (folder / "scratch.nii.gz").unlink()
    write(folder / "nan.nii.gz", holes)
    write(folder / "colours.nii.gz", colours)
    write(folder / "time.nii.gz", np.stack([grey, grey], -1))
    write(folder / "flat.nii.gz", grey[:, :, 0])
    return {
        "cut": "truncated",
        "empty": "0 bytes",
        "text": "no NIfTI file",
        "flipped": "damaged",
        "nan": "holds 1 voxels that are NaN or Inf",
        "colours": "colours (RGB)",
        "time": "expected three axes",
        "flat": "expected three axes",
    }


@pytest.mark.fault(
    "Masks that are written",
    "bad volumes in an inference through MONAI's command line",
    injected="cut, empty, text, flipped bit, NaN, RGB, time series, 2-D among three good ones",
    outcome="three masks, exit code 2, each bad file named once; no traceback",
)
@pytest.mark.slow
def test_bad_volumes_cost_themselves_alone(run_warm, student, tmp_path):
    faults = bad_volumes(tmp_path)
    for name in ("a", "m", "z"):
        write(tmp_path / f"{name}.nii.gz")
    options = (f"--dataset_dir={tmp_path}", f"--output_dir={tmp_path / 'out'}")
    done = run_warm(student, "configs/inference.json", *options, check=False)
    assert done.returncode == 2
    assert masks_in(tmp_path / "out") == ["a_pred.nii.gz", "m_pred.nii.gz", "z_pred.nii.gz"]
    assert "Traceback" not in output(done)
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"akd_monai: 3 of {len(faults) + 3} volumes segmented; failed: ")
    for name, words in faults.items():
        lines = [line for line in output(done).splitlines() if "not segmented" in line and f"/{name}.nii.gz" in line]
        assert len(lines) == 1, name
        assert words in lines[0]
        assert f"{name}.nii.gz (" in last


@pytest.mark.fault(
    "Masks that are written",
    "a constant image, an empty prediction",
    injected="an image of one value, a network that says background",
    outcome="both are said",
)
@pytest.mark.slow
def test_a_constant_image_and_an_empty_mask_are_said(run_warm, student, tmp_path):
    image = write(tmp_path / "flat.nii.gz", np.full((24, 20, 3), 7, np.float32))
    # a network whose last layer says background, whatever it sees
    options = (f"--dataset_dir={image}", f"--output_dir={tmp_path / 'out'}")
    done = run_warm(always_background(student, tmp_path / "student"), "configs/inference.json", *options)
    assert re.search(r"flat\.nii\.gz' is constant: every voxel is 7", output(done))
    assert f"{image}: the mask is empty, no voxel is marked." in output(done)
    assert not nib.load(tmp_path / "out" / "flat_pred.nii.gz").get_fdata().any()


def always_background(student: Path, root: Path) -> Path:
    shutil.copytree(student, root)
    network = ENet(2, 1, 2)
    for values in network.state_dict().values():
        values.zero_()
    torch.save(network.state_dict(), root / "models" / "model.pt")
    return root


@pytest.mark.slow
def test_evaluation_writes_a_row_for_each_held_out_case(run_warm, student, data_dir):
    run_warm(
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


@pytest.mark.fault(
    "Wrong input",
    "inference without weights",
    injected="a bundle that was never trained",
    outcome="exit code 2, one line",
)
@pytest.mark.slow
def test_missing_weights_end_inference_with_the_remedy(tmp_path, data_dir):
    root = small_bundle("enet", tmp_path / "student")
    done = run_bundle(root, "configs/inference.json", f"--dataset_dir={data_dir}", check=False)
    assert done.returncode == 2
    assert "akd_monai: weights 'models/model.pt' do not exist: train the bundle first" in done.stderr.splitlines()[-1]
    assert not list(root.glob("eval/*_pred*"))
