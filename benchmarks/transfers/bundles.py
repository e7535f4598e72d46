# SPDX-License-Identifier: Apache-2.0
"""Two 3D bundles in the style of the Model Zoo, which know nothing of ``akd_monai``: one softmax, one sigmoid."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

__all__ = ["TASKS", "write_teacher"]

PATCH = [32, 32, 32]
KEYS = ["image", "label"]

TASKS: dict[str, dict[str, Any]] = {
    "organs": {
        "channels": ["MR"],
        "classes": ["background", "large ellipsoid", "small ellipsoid"],
        "labels": [],
        "loss": {"_target_": "DiceCELoss", "include_background": True, "to_onehot_y": True, "softmax": True},
        "postprocessing": [
            {"_target_": "Activationsd", "keys": "pred", "softmax": True},
            {"_target_": "AsDiscreted", "keys": ["pred", "label"], "argmax": [True, False], "to_onehot": 3},
        ],
        "include_background": False,
    },
    "tumour": {
        "channels": ["first sequence", "second sequence"],
        "classes": ["tumor core", "whole tumor", "enhancing tumor"],
        "labels": [{"_target_": "ConvertToMultiChannelBasedOnBratsClassesd", "keys": "label"}],
        "loss": {"_target_": "DiceLoss", "to_onehot_y": False, "sigmoid": True},
        "postprocessing": [
            {"_target_": "Activationsd", "keys": "pred", "sigmoid": True},
            {"_target_": "AsDiscreted", "keys": "pred", "threshold": 0.5},
        ],
        "include_background": True,
    },
}


def write_teacher(folder: Path, task: str, epochs: int) -> Path:
    """Write the bundle of a task, without weights, and return its folder."""
    about = TASKS[task]
    files = {"metadata": _metadata(task, about), "train": _train(about, epochs), "inference": _inference(about)}
    (folder / "configs").mkdir(parents=True)
    for name, content in files.items():
        (folder / f"configs/{name}.json").write_text(json.dumps(content, indent=4) + "\n", encoding="utf-8")
    return folder


def _network(about: dict[str, Any]) -> dict[str, Any]:
    return {
        "_target_": "UNet",
        "spatial_dims": 3,
        "in_channels": len(about["channels"]),
        "out_channels": len(about["classes"]),
        "channels": [16, 32, 64, 128],
        "strides": [2, 2, 2],
        "num_res_units": 2,
        "norm": "batch",
    }


def _image_transforms(keys: list[str], labels: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {"_target_": "LoadImaged", "keys": keys},
        *({"_target_": "EnsureChannelFirstd", "keys": key} for key in keys),
        *labels,
        {"_target_": "NormalizeIntensityd", "keys": "image", "channel_wise": True},
        {"_target_": "EnsureTyped", "keys": keys},
    ]


def _train(about: dict[str, Any], epochs: int) -> dict[str, Any]:
    loader = {"_target_": "DataLoader", "num_workers": 0}
    pairs = "$[{'image': i, 'label': l} for i, l in zip(@images, @labels)]"
    metric = {
        "_target_": "MeanDice",
        "include_background": about["include_background"],
        "output_transform": "$monai.handlers.from_engine(['pred', 'label'])",
    }
    return {
        "imports": ["$import glob"],
        "bundle_root": ".",
        "ckpt_dir": "$@bundle_root + '/models'",
        "dataset_dir": "/workspace/data/shapes",
        "images": "$list(sorted(glob.glob(@dataset_dir + '/imagesTr/*.nii.gz')))",
        "labels": "$list(sorted(glob.glob(@dataset_dir + '/labelsTr/*.nii.gz')))",
        "pairs": pairs,
        "val_cases": 2,
        "val_interval": 5,
        "epochs": epochs,
        "seed": 0,
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "network_def": _network(about),
        "network": "$@network_def.to(@device)",
        "loss": about["loss"],
        "optimizer": {"_target_": "torch.optim.AdamW", "params": "$@network.parameters()", "lr": 0.002},
        "lr_scheduler": {
            "_target_": "torch.optim.lr_scheduler.CosineAnnealingLR",
            "optimizer": "@optimizer",
            "T_max": "@epochs",
        },
        "train": {
            "deterministic_transforms": _image_transforms(KEYS, about["labels"]),
            "random_transforms": [
                {
                    "_target_": "RandSpatialCropSamplesd",
                    "keys": KEYS,
                    "roi_size": PATCH,
                    "num_samples": 2,
                    "random_size": False,
                },
                {"_target_": "RandFlipd", "keys": KEYS, "prob": 0.5, "spatial_axis": 0},
            ],
            "preprocessing": {
                "_target_": "Compose",
                "transforms": "$@train#deterministic_transforms + @train#random_transforms",
            },
            "dataset": {
                "_target_": "CacheDataset",
                "data": "$@pairs[:-@val_cases]",
                "transform": "@train#preprocessing",
                "num_workers": 0,
                "progress": False,
            },
            "dataloader": {**loader, "dataset": "@train#dataset", "batch_size": 2, "shuffle": True},
            "inferer": {"_target_": "SimpleInferer"},
            "postprocessing": {"_target_": "Compose", "transforms": about["postprocessing"]},
            "handlers": [
                {"_target_": "LrScheduleHandler", "lr_scheduler": "@lr_scheduler", "print_lr": False},
                {
                    "_target_": "ValidationHandler",
                    "validator": "@validate#evaluator",
                    "epoch_level": True,
                    "interval": "@val_interval",
                },
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
            "dataset": {
                "_target_": "CacheDataset",
                "data": "$@pairs[-@val_cases:]",
                "transform": "@validate#preprocessing",
                "num_workers": 0,
                "progress": False,
            },
            "dataloader": {**loader, "dataset": "@validate#dataset", "batch_size": 1},
            "inferer": {"_target_": "SlidingWindowInferer", "roi_size": PATCH, "sw_batch_size": 4, "overlap": 0.25},
            "postprocessing": "%train#postprocessing",
            "handlers": [
                {
                    "_target_": "CheckpointSaver",
                    "save_dir": "@ckpt_dir",
                    "save_dict": {"model": "@network"},
                    "save_key_metric": True,
                    "key_metric_filename": "model.pt",
                }
            ],
            "key_metric": {"val_mean_dice": metric},
            "evaluator": {
                "_target_": "SupervisedEvaluator",
                "device": "@device",
                "val_data_loader": "@validate#dataloader",
                "network": "@network",
                "inferer": "@validate#inferer",
                "postprocessing": "@validate#postprocessing",
                "key_val_metric": "@validate#key_metric",
                "val_handlers": "@validate#handlers",
            },
        },
        "initialize": ["$monai.utils.set_determinism(seed=@seed)"],
        "run": ["$@train#trainer.run()"],
    }


def _inference(about: dict[str, Any]) -> dict[str, Any]:
    return {
        "imports": ["$import glob"],
        "bundle_root": ".",
        "output_dir": "$@bundle_root + '/eval'",
        "dataset_dir": "/workspace/data/shapes",
        "datalist": "$list(sorted(glob.glob(@dataset_dir + '/imagesTs/*.nii.gz')))",
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "network_def": _network(about),
        "network": "$@network_def.to(@device)",
        "preprocessing": {"_target_": "Compose", "transforms": _image_transforms(["image"], [])},
        "dataset": {
            "_target_": "Dataset",
            "data": "$[{'image': i} for i in @datalist]",
            "transform": "@preprocessing",
        },
        "dataloader": {"_target_": "DataLoader", "dataset": "@dataset", "batch_size": 1, "num_workers": 0},
        "inferer": {"_target_": "SlidingWindowInferer", "roi_size": PATCH, "sw_batch_size": 4, "overlap": 0.25},
        "postprocessing": {"_target_": "Compose", "transforms": about["postprocessing"][:1]},
        "evaluator": {
            "_target_": "SupervisedEvaluator",
            "device": "@device",
            "val_data_loader": "@dataloader",
            "network": "@network",
            "inferer": "@inferer",
            "postprocessing": "@postprocessing",
        },
        "run": ["$@evaluator.run()"],
    }


def _metadata(task: str, about: dict[str, Any]) -> dict[str, Any]:
    return {
        "version": "0.1.0",
        "changelog": {"0.1.0": "first version"},
        "monai_version": "1.5.0",
        "task": f"Segmentation of synthetic shapes ({task})",
        "description": "A UNet on synthetic volumes",
        "authors": "The authors of akd_monai",
        "network_data_format": {
            "inputs": {"image": _format("image", about["channels"], "magnitude")},
            "outputs": {"pred": _format("probabilities", about["classes"], "segmentation")},
        },
    }


def _format(kind: str, names: list[str], form: str) -> dict[str, Any]:
    return {
        "type": kind,
        "format": form,
        "num_channels": len(names),
        "spatial_shape": PATCH,
        "dtype": "float32",
        "value_range": [-5, 20] if kind == "image" else [0, 1],
        "is_patch_data": True,
        "channel_def": {str(number): name for number, name in enumerate(names)},
    }
