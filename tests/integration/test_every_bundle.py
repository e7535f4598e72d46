# SPDX-License-Identifier: Apache-2.0
"""Every config of every bundle runs: training, evaluation, inference, and distillation of the students by both teachers."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import pytest
import torch
from bundle_tools import small_bundle
from monai.bundle import ConfigWorkflow

from akd_monai.bundle import DistillationWorkflow, build_network

# 54 million parameters are written and read often; the published width is tested with the network
NARROW = {"deeplabv3plus": {"network_def#width": 0.125}}


def run(bundle: Path, kind: str, *configs: str, **values) -> ConfigWorkflow:
    workflow = ConfigWorkflow(
        config_file=[str(bundle / "configs" / name) for name in configs], workflow_type=kind, logging_file=False,
        bundle_root=str(bundle), **values,
    )  # fmt: skip
    workflow.initialize()
    workflow.run()
    return workflow


@pytest.mark.slow
@pytest.mark.parametrize("part", ["enet", "espnet", "erfnet", "unetplusplus", "deeplabv3plus"])
def test_train_evaluate_infer(part, tmp_path, data_dir):
    root = small_bundle(part, tmp_path / part, epochs=1, samples_per_epoch=4, **NARROW.get(part, {}))
    run(root, "train", "train.json", dataset_dir=str(data_dir), sites=["RUNMC"])
    build_network(root).load_state_dict(torch.load(root / "models" / "model.pt", weights_only=True), strict=True)
    run(root, "train", "train.json", "evaluate.json", dataset_dir=str(data_dir), sites=["I2CVB"], folds=2)
    assert (root / "eval" / "per_case.csv").read_text().count("I2CVB/") == 2
    volume = data_dir / "I2CVB" / "Case00.nii.gz"
    run(root, "inference", "inference.json", dataset_dir=str(volume), output_dir=str(tmp_path / "masks"))
    assert nib.load(tmp_path / "masks" / "Case00_pred.nii.gz").shape == nib.load(volume).shape


@pytest.mark.slow
@pytest.mark.parametrize("student", ["enet", "espnet", "erfnet"])
@pytest.mark.parametrize("teacher", ["unetplusplus", "deeplabv3plus"])
def test_every_pair_is_distilled(teacher, student, tmp_path, data_dir):
    taught = small_bundle(student, tmp_path / "student", epochs=1, samples_per_epoch=4)
    teaching = small_bundle(teacher, tmp_path / "teacher", **NARROW.get(teacher, {}))
    torch.manual_seed(0)
    torch.save(build_network(teaching).state_dict(), teaching / "models" / "model.pt")
    workflow = DistillationWorkflow(teaching, taught, dataset_dir=str(data_dir), sites=["I2CVB"])
    workflow.initialize()
    workflow.run()
    terms = workflow.parser.get_parsed_content("train#trainer").state.loss_terms
    assert set(terms) == {"task", "logits", "gram", "affinity"}
    assert all(torch.isfinite(value) and value > 0 for value in terms.values())
    build_network(taught).load_state_dict(torch.load(taught / "models" / "model.pt", weights_only=True), strict=True)


@pytest.mark.slow
def test_slices_that_are_not_square(tmp_path, data_dir):
    root = small_bundle("enet", tmp_path / "student", epochs=1, samples_per_epoch=8)
    run(root, "train", "train.json", dataset_dir=str(data_dir), sites=["RUNMC"], spatial_size=[32, 48])
    assert (root / "models" / "model.pt").is_file()
