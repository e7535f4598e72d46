# SPDX-License-Identifier: Apache-2.0
"""Small bundles in the styles of the Model Zoo, written for tests, with data of simple shapes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
import yaml

import akd_monai

SIDE = 32
PACKAGE = Path(akd_monai.__file__).parent


def metadata(dims: int, channels: int, classes: int, shape: list[Any] | None = None) -> dict[str, Any]:
    """Return metadata as the Model Zoo's older bundles have them."""
    names = [f"part {i}" for i in range(classes)]
    form = {"spatial_shape": shape or [SIDE] * dims, "value_range": [0, 1], "is_patch_data": True, "dtype": "float32"}
    image = {**form, "num_channels": channels, "channel_def": {"0": "image"}}
    pred = {**form, "num_channels": classes, "channel_def": dict(zip(map(str, range(classes)), names, strict=True))}
    return {
        "version": "0.5.9",
        "changelog": {"0.5.9": "first"},
        "monai_version": "1.4.0",
        "name": "Big",
        "task": "Shapes",
        "authors": "Somebody",
        "copyright": "(c) Somebody",
        "eval_metrics": {"mean_dice": 0.96},
        "network_data_format": {"inputs": {"image": image}, "outputs": {"pred": pred}},
    }


def unet(dims: int, channels: int, classes: Any) -> dict[str, Any]:
    """Return the definition of a teacher's network."""
    return {
        "_target_": "UNet",
        "spatial_dims": dims,
        "in_channels": channels,
        "out_channels": classes,
        "channels": [4, 8, 8, 8],
        "strides": [2, 2, 2],
    }


def transforms(dims: int, sigmoid: bool) -> dict[str, Any]:
    """Return the lists of transforms."""
    both = ["image", "label"]
    crop = {
        "_target_": "RandCropByPosNegLabeld",
        "keys": both,
        "label_key": "label",
        "spatial_size": [SIDE] * dims,
        "num_samples": 2,
    }
    reader = {"reader": "NumpyReader", "channel_dim": -1} if dims == 2 else {}
    activation = {"sigmoid": True} if sigmoid else {"softmax": True}
    discrete = {"threshold": 0.5} if sigmoid else {"argmax": True, "to_onehot": 2}
    return {
        "deterministic_transforms": [
            {"_target_": "LoadImaged", "keys": both, **reader},
            {"_target_": "EnsureChannelFirstd", "keys": both},
            {"_target_": "ScaleIntensityd", "keys": "image"},
        ],
        "random_transforms": [crop],
        "postprocessing": [
            {"_target_": "Activationsd", "keys": "pred", **activation},
            {"_target_": "AsDiscreted", "keys": "pred", **discrete},
        ],
    }


def train_json(dims: int, channels: int, classes: int, *, sigmoid: bool = False) -> dict[str, Any]:
    """Return a train config in the nested style, ``train#trainer``."""
    lists = transforms(dims, sigmoid)
    post = {"_target_": "Compose", "transforms": lists["postprocessing"]}
    loss: dict[str, Any] = {"_target_": "DiceLoss", "sigmoid": True}
    if not sigmoid:
        loss = {"_target_": "DiceCELoss", "to_onehot_y": True, "softmax": True}
    loader = {"_target_": "DataLoader", "batch_size": 1, "num_workers": 0}
    return {
        "imports": ["$import glob", "$import os"],
        "bundle_root": "/somewhere/else",
        "ckpt_dir": "$@bundle_root + '/models'",
        "dataset_dir": "/nowhere",
        "images": "$sorted(glob.glob(@dataset_dir + '/image*'))",
        "pairs": "$[{'image': i, 'label': i.replace('image', 'label')} for i in @images]",
        "epochs": 1,
        "device": "$torch.device('cpu')",
        "network_def": unet(dims, channels, classes),
        "network": "$@network_def.to(@device)",
        "loss": loss,
        "optimizer": {"_target_": "torch.optim.AdamW", "params": "$@network.parameters()", "lr": 0.01},
        "train": {
            "deterministic_transforms": lists["deterministic_transforms"],
            "random_transforms": lists["random_transforms"],
            "preprocessing": {
                "_target_": "Compose",
                "transforms": "$@train#deterministic_transforms + @train#random_transforms",
            },
            "dataset": {"_target_": "Dataset", "data": "@pairs", "transform": "@train#preprocessing"},
            "dataloader": {**loader, "dataset": "@train#dataset"},
            "inferer": {"_target_": "SimpleInferer"},
            "postprocessing": post,
            "handlers": [
                {
                    "_target_": "ValidationHandler",
                    "validator": "@validate#evaluator",
                    "epoch_level": True,
                    "interval": 1,
                }
            ],
            "trainer": {
                "_target_": "SupervisedTrainer",
                "max_epochs": "@epochs",
                "device": "@device",
                "train_data_loader": "@train#dataloader",
                "network": "@network",
                "loss_function": "@loss",
                "optimizer": "@optimizer",
                "inferer": "@train#inferer",
                "train_handlers": "@train#handlers",
            },
        },
        "validate": {
            "preprocessing": {"_target_": "Compose", "transforms": "%train#deterministic_transforms"},
            "dataset": {"_target_": "Dataset", "data": "@pairs", "transform": "@validate#preprocessing"},
            "dataloader": {**loader, "dataset": "@validate#dataset"},
            "inferer": {"_target_": "SlidingWindowInferer", "roi_size": [SIDE] * dims, "sw_batch_size": 2},
            "handlers": [
                {
                    "_target_": "CheckpointSaver",
                    "save_dir": "@ckpt_dir",
                    "save_dict": {"model": "@network"},
                    "save_key_metric": True,
                    "key_metric_filename": "model.pt",
                }
            ],
            "key_metric": {
                "dice": {
                    "_target_": "MeanDice",
                    "include_background": True,
                    "output_transform": "$monai.handlers.from_engine(['pred', 'label'])",
                }
            },
            "evaluator": {
                "_target_": "SupervisedEvaluator",
                "device": "@device",
                "val_data_loader": "@validate#dataloader",
                "network": "@network",
                "inferer": "@validate#inferer",
                "postprocessing": post,
                "key_val_metric": "@validate#key_metric",
                "val_handlers": "@validate#handlers",
            },
        },
        "run": ["$@train#trainer.run()"],
    }


def train_yaml() -> dict[str, Any]:
    """Return a train config in the flat style, with the trainer at the top level and its network in ids of its own."""
    nested = train_json(3, 1, 2)
    names = ("bundle_root", "ckpt_dir", "dataset_dir", "images", "pairs", "device", "network", "optimizer")
    kept = {name: nested[name] for name in names}
    trainer = {**nested["train"]["trainer"], "train_data_loader": "@train_dataloader", "inferer": "@inferer"}
    trainer.update(max_epochs="@num_epochs", loss_function="@lossfn", train_handlers="@handlers")
    return {
        "imports": ["$import glob"],
        **kept,
        "num_classes": 2,
        "num_epochs": 1,
        "widths": [4, 8, 8, 8],
        "few": "@widths",
        "network_def": {**unet(3, "$1", "@num_classes"), "channels": "@few"},
        "base_transforms": nested["train"]["deterministic_transforms"],
        "train_transforms": nested["train"]["random_transforms"],
        "preprocessing": {"_target_": "Compose", "transforms": "$@base_transforms + @train_transforms"},
        "train_dataset": {"_target_": "Dataset", "data": "@pairs", "transform": "@preprocessing"},
        "train_dataloader": {"_target_": "DataLoader", "dataset": "@train_dataset", "num_workers": 0},
        "lossfn": nested["loss"],
        "inferer": {"_target_": "SimpleInferer"},
        "handlers": [
            {
                "_target_": "CheckpointSaver",
                "save_dir": "@ckpt_dir",
                "save_dict": {"model": "@network"},
                "save_final": True,
                "final_filename": "model.pt",
            }
        ],
        "trainer": trainer,
        "training": ["$@trainer.run()"],
    }


def write_teacher(root: Path, train: dict[str, Any], meta: dict[str, Any], *, suffix: str = "json") -> Path:
    """Write a bundle with configs train and inference, a licence, and weights drawn at random where that is possible."""
    configs = root / "configs"
    configs.mkdir(parents=True)
    (root / "models").mkdir()
    (root / "LICENSE").write_text("Somebody's licence")
    (configs / "logging.conf").write_bytes((PACKAGE / "bundle" / "parts" / "common" / "logging.conf").read_bytes())
    (configs / "metadata.json").write_text(json.dumps(meta))
    post = {"postprocessing": train["train"]["postprocessing"]} if "train" in train else {}
    shared = {name: train[name] for name in train if "network" in name or name in ("few", "widths", "num_classes")}
    dumped = {"train": train, "inference": shared | post}
    for name, content in dumped.items():
        text = json.dumps(content) if suffix == "json" else yaml.safe_dump(content, sort_keys=False)
        (configs / f"{name}.{suffix}").write_text(text)
    return root


def write_shapes(folder: Path, dims: int, channels: int, *, parts: int = 0, count: int = 2) -> Path:
    """Write images of bright boxes with labels 0 and 1, or with overlapping channels; sides of 36 or 40."""
    random = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    sides = [36, 40, 36][:dims]
    for number in range(count):
        label = np.zeros(sides, np.uint8)
        label[(slice(8, 28),) * dims] = 1
        image = np.stack([label + random.normal(0, 0.1, sides) for _ in range(channels)], -1).astype(np.float32)
        if parts:
            label = np.stack([label] * parts, -1)
        if dims == 2:
            np.save(folder / f"image{number}.npy", image)
            np.save(folder / f"label{number}.npy", label[..., None])
            continue
        shown = image if channels > 1 else image[..., 0]
        nib.save(nib.Nifti1Image(shown, np.eye(4)), folder / f"image{number}.nii.gz")
        nib.save(nib.Nifti1Image(label, np.eye(4)), folder / f"label{number}.nii.gz")
    return folder


def draw_weights(root: Path, network: torch.nn.Module) -> None:
    """Save a network's weights as those of a bundle."""
    torch.save(network.state_dict(), root / "models" / "model.pt")
