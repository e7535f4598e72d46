# SPDX-License-Identifier: Apache-2.0
"""Bundles that know nothing of this package, in 3D and with three classes, and images for them."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from monai.networks.nets import BasicUNet, UNet

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
    """Build the network that a definition names."""
    arguments = {k: v for k, v in definition.items() if k != "_target_"}
    return {"UNet": UNet, "BasicUNet": BasicUNet}[definition["_target_"]](**arguments)


def foreign_bundle(root: Path, definition: dict, data: Path, classes: int = 3, **metadata: object) -> Path:
    """Write a bundle in the usual form of the Model Zoo: standard ids, own transforms, optimiser and checkpoint saver."""
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
    content = {"version": "0", "network_data_format": data_format, **metadata}
    (root / "configs" / "metadata.json").write_text(json.dumps(content))
    return root


def write_cubes(folder: Path) -> Path:
    """Write two noisy volumes with a cube of each class."""
    folder.mkdir()
    draw = np.random.default_rng(0)
    for number in range(2):
        label = np.zeros((36, 36, 36), np.uint8)
        label[4:18, 4:18, 4:18] = 1
        label[20:32, 4:18, 4:18] = 2
        image = label + draw.normal(0, 0.2, label.shape)
        nib.save(nib.Nifti1Image(image.astype(np.float32), np.eye(4)), folder / f"image{number}.nii.gz")
        nib.save(nib.Nifti1Image(label, np.eye(4)), folder / f"label{number}.nii.gz")
    return folder


def foreign_teacher(root: Path, data: Path, **metadata: object) -> Path:
    """Write a teacher with weights that were drawn, not trained."""
    foreign_bundle(root, TEACHER, data, **metadata)
    torch.manual_seed(0)
    torch.save(network(TEACHER).state_dict(), root / "models" / "model.pt")
    return root
