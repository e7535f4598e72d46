# SPDX-License-Identifier: Apache-2.0
"""Two bundles that know nothing of this package, in 3D and with three classes, as teacher and student."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.networks.nets import BasicUNet, UNet

from akd_monai.__main__ import user_error
from akd_monai.bundle import DistillationWorkflow
from akd_monai.errors import InputError

STUDENT = {
    "_target_": "UNet",
    "spatial_dims": 3,
    "in_channels": 1,
    "out_channels": 3,
    "channels": [4, 8],
    "strides": [2],
}
TEACHER = {
    "_target_": "BasicUNet",
    "spatial_dims": 3,
    "in_channels": 1,
    "out_channels": 3,
    "features": [4, 4, 4, 4, 4, 4],
}


def network(definition: dict) -> torch.nn.Module:
    arguments = {k: v for k, v in definition.items() if k != "_target_"}
    return {"UNet": UNet, "BasicUNet": BasicUNet}[definition["_target_"]](**arguments)


def write_bundle(root: Path, definition: dict, data: Path, classes: int = 3) -> Path:
    """A bundle in the usual form of the Model Zoo: standard ids, its own transforms, optimiser and checkpoint saver."""
    keys = ["image", "label"]
    files = "$[{'image': i, 'label': i.replace('image', 'label')} for i in sorted(glob.glob(@dataset_dir + '/image*'))]"
    train = {
        "imports": ["$import glob"],
        "bundle_root": ".",
        "ckpt_dir": "$@bundle_root + '/models'",
        "dataset_dir": str(data),
        "device": "$torch.device('cpu')",
        "network_def": definition,
        "network": "$@network_def.to(@device)",
        "loss": {"_target_": "DiceCELoss", "to_onehot_y": True, "softmax": True},
        "optimizer": {"_target_": "Novograd", "params": "$@network.parameters()", "lr": 0.002},
        "train": {
            "preprocessing": {
                "_target_": "Compose",
                "transforms": [
                    {"_target_": "LoadImaged", "keys": keys, "ensure_channel_first": True},
                    {"_target_": "ScaleIntensityd", "keys": "image"},
                    {"_target_": "RandCropByPosNegLabeld", "keys": keys, "label_key": "label", "num_samples": 2,
                     "spatial_size": [32, 32, 32]},
                ],
            },
            "dataset": {"_target_": "Dataset", "data": files, "transform": "@train#preprocessing"},
            "dataloader": {"_target_": "DataLoader", "dataset": "@train#dataset", "batch_size": 2},
            "inferer": {"_target_": "SimpleInferer"},
            "handlers": [
                {"_target_": "CheckpointSaver", "save_dir": "@ckpt_dir", "save_dict": {"model": "@network"},
                 "save_interval": 0, "save_final": True, "final_filename": "model.pt", "epoch_level": True},
            ],
            "trainer": {
                "_target_": "SupervisedTrainer", "max_epochs": 1, "device": "@device",
                "train_data_loader": "@train#dataloader", "network": "@network", "loss_function": "@loss",
                "optimizer": "@optimizer", "inferer": "@train#inferer", "train_handlers": "@train#handlers",
            },
        },
        "initialize": ["$monai.utils.set_determinism(seed=123)"],
        "run": ["$@train#trainer.run()"],
    }  # fmt: skip
    data_format = {
        "inputs": {"image": {"type": "image", "num_channels": 1, "spatial_shape": [32, 32, 32], "value_range": [0, 1]}},
        "outputs": {"pred": {"type": "image", "num_channels": classes, "spatial_shape": [32, 32, 32]}},
    }
    (root / "configs").mkdir(parents=True)
    (root / "models").mkdir()
    (root / "configs" / "train.json").write_text(json.dumps(train))
    (root / "configs" / "metadata.json").write_text(json.dumps({"version": "0", "network_data_format": data_format}))
    return root


@pytest.fixture
def bundles(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    draw = np.random.default_rng(0)
    for number in range(2):
        label = np.zeros((36, 36, 36), np.uint8)
        label[4:18, 4:18, 4:18], label[20:32, 4:18, 4:18] = 1, 2
        image = label + draw.normal(0, 0.2, label.shape)
        nib.save(nib.Nifti1Image(image.astype(np.float32), np.eye(4)), data / f"image{number}.nii.gz")
        nib.save(nib.Nifti1Image(label, np.eye(4)), data / f"label{number}.nii.gz")
    teacher = write_bundle(tmp_path / "teacher", TEACHER, data)
    torch.save(network(TEACHER).state_dict(), teacher / "models" / "model.pt")
    return teacher, write_bundle(tmp_path / "student", STUDENT, data)


def texts(root: Path) -> dict[str, str]:
    return {p.name: p.read_text() for p in (root / "configs").iterdir()}


@pytest.mark.slow
def test_unmodified_bundles_are_distilled_and_leave_a_plain_student(bundles):
    teacher, student = bundles
    before = texts(teacher) | {f"student {name}": text for name, text in texts(student).items()}
    workflow = DistillationWorkflow(teacher, student, student_layer="model.1.submodule", teacher_layer="down_1.convs")
    workflow.initialize()
    workflow.run()
    terms = workflow.parser.get_parsed_content("train#trainer").state.loss_terms
    assert set(terms) == {"task", "logits", "gram", "affinity"}
    assert all(torch.isfinite(value) and value > 0 for value in terms.values())
    state = torch.load(student / "models" / "model.pt", weights_only=True)
    network(STUDENT).load_state_dict(state.get("model", state), strict=True)
    assert before == texts(teacher) | {f"student {name}": text for name, text in texts(student).items()}


@pytest.mark.slow
def test_bundles_that_do_not_fit_are_told_apart_before_anything_runs(bundles, tmp_path):
    _, student = bundles
    other = write_bundle(tmp_path / "other", TEACHER | {"out_channels": 4}, tmp_path / "data", classes=4)
    with pytest.raises(InputError, match="output classes 4 and 3"):
        DistillationWorkflow(other, student)


@pytest.mark.slow
def test_a_cache_is_refused_where_the_data_set_does_not_name_its_slices(bundles, tmp_path):
    workflow = DistillationWorkflow(*bundles, teacher_cache=str(tmp_path / "cache"))
    workflow.initialize()
    with pytest.raises(RuntimeError) as caught:  # MONAI wraps what a config raises
        workflow.run()
    assert "which this data set does not give: use akd_monai.data.SliceDataset or" in str(user_error(caught.value))
    assert not (tmp_path / "cache").exists()
