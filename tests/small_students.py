# SPDX-License-Identifier: Apache-2.0
"""Students that know nothing of this package, in the styles of the Model Zoo and of a size that trains in a second."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from monai.networks.nets import UNet
from zoo_style_tools import metadata, train_json, train_yaml

CROP = 16
TEACHER = {"spatial_dims": 3, "in_channels": 1, "channels": [2, 4], "strides": [2]}
DEEP = {
    "_target_": "SegResNetDS",
    "spatial_dims": 3,
    "init_filters": 8,
    "in_channels": 1,
    "out_channels": 2,
    "blocks_down": [1, 1],
    "dsdepth": 2,
}
SCRIPTS = '''
from monai.engines import SupervisedTrainer
from monai.engines.utils import IterationEvents, default_prepare_batch
from monai.utils import CommonKeys


class Stepwise(SupervisedTrainer):
    """A trainer with a step of its own."""

    def _iteration(self, engine, batchdata):
        image, label = engine.prepare_batch(batchdata, engine.state.device)
        engine.state.output = {CommonKeys.IMAGE: image, CommonKeys.LABEL: label}
        for group in engine.optimizer.param_groups:
            group["lr"] = 0.02 / engine.state.iteration
        engine.network.train()
        engine.optimizer.zero_grad(set_to_none=True)
        engine.state.output[CommonKeys.PRED] = engine.inferer(image, engine.network)
        engine.fire_event(IterationEvents.FORWARD_COMPLETED)
        loss = engine.loss_function(engine.state.output[CommonKeys.PRED], label).mean()
        engine.state.output[CommonKeys.LOSS] = loss
        loss.backward()
        engine.optimizer.step()
        return engine.state.output
'''


def write_volumes(folder: Path, *, parts: int = 0, count: int = 4) -> Path:
    """Write noisy volumes with a box, whose labels are 0 and 1, or several overlapping channels."""
    draw = np.random.default_rng(0)
    folder.mkdir(parents=True)
    for number in range(count):
        label = np.zeros((20, 18, 20, 1), np.uint8)
        label[3:12, 4:14, 5 + number : 15 + number] = 1
        image = label + draw.normal(0, 0.2, label.shape)
        if parts:
            label = np.concatenate([label, label * (image > 0.7), label * (image > 0.9)][:parts], -1)
        np.save(folder / f"image{number}.npy", image.astype(np.float32))
        np.save(folder / f"label{number}.npy", label.astype(np.uint8))
    return folder


def unet(classes: int) -> dict[str, Any]:
    """Return the definition of a small network."""
    return {"_target_": "UNet", **TEACHER, "out_channels": classes}


def nested(data: Path, classes: int = 2, **changes: Any) -> dict[str, Any]:
    """Return a train config with cached data, random crops, shuffled batches, a schedule, and a saver of the best."""
    config = train_json(3, 1, classes, sigmoid=changes.pop("sigmoid", False))
    section = config["train"]
    section["deterministic_transforms"][0].update(reader="NumpyReader")
    section["deterministic_transforms"][1].update(channel_dim=-1)
    section["random_transforms"][0].update(spatial_size=[CROP] * 3)
    section["random_transforms"].append({"_target_": "RandGaussianNoised", "keys": "image", "prob": 0.5})
    section["dataset"].update(_target_="CacheDataset", num_workers=0, progress=False)
    section["dataloader"].update(shuffle=True)
    section["handlers"].append({"_target_": "LrScheduleHandler", "lr_scheduler": "@lr_scheduler", "print_lr": False})
    config["validate"]["inferer"].update(roi_size=[CROP] * 3)
    config["validate"]["dataset"].update(_target_="CacheDataset", num_workers=0, progress=False)
    schedule = {"_target_": "torch.optim.lr_scheduler.StepLR", "optimizer": "@optimizer", "step_size": 1, "gamma": 0.5}
    seeds = ["$monai.utils.set_determinism(seed=123)"]
    changed = {"network_def": unet(classes), "epochs": 2, "lr_scheduler": schedule, "initialize": seeds, **changes}
    return {**config, "dataset_dir": str(data), **changed}


def flat(data: Path) -> dict[str, Any]:
    """Return a train config with its trainer at the top level, which is started by the id ``training``."""
    config = train_yaml()
    config["base_transforms"][0].update(reader="NumpyReader")
    config["base_transforms"][1].update(channel_dim=-1)
    config["train_transforms"][0].update(spatial_size=[CROP] * 3)
    config["train_dataloader"].update(shuffle=True)
    config["network_def"] = {**unet(2), "out_channels": "@num_classes"}
    seeds = ["$monai.utils.set_determinism(seed=7)"]
    return {**config, "dataset_dir": str(data), "num_epochs": 2, "initialize": seeds}


def deep(data: Path) -> dict[str, Any]:
    """Return a train config whose network returns several outputs, all of which its loss sees."""
    loss = {"_target_": "DiceCELoss", "to_onehot_y": True, "softmax": True}
    return nested(data, network_def=DEEP, loss={"_target_": "DeepSupervisionLoss", "loss": loss})


def stepwise(data: Path) -> dict[str, Any]:
    """Return a train config whose trainer stands in ``scripts``."""
    config = nested(data)
    config["imports"].append("$import scripts")
    config["train"]["trainer"]["_target_"] = "scripts.steps.Stepwise"
    return config


def write_student(root: Path, config: dict[str, Any], *, classes: int = 2, suffix: str = "json") -> Path:
    """Write a bundle with this train config, and ``scripts`` where it imports them."""
    (root / "configs").mkdir(parents=True)
    (root / "models").mkdir()
    content = json.dumps(config) if suffix == "json" else yaml.safe_dump(config, sort_keys=False)
    (root / "configs" / f"train.{suffix}").write_text(content)
    (root / "configs" / "metadata.json").write_text(json.dumps(metadata(3, 1, classes, [CROP] * 3)))
    if "$import scripts" in config["imports"]:
        (root / "scripts").mkdir()
        (root / "scripts" / "__init__.py").write_text("from . import steps\n")
        (root / "scripts" / "steps.py").write_text(SCRIPTS)
    return root


def write_big(root: Path, config: dict[str, Any], *, classes: int = 2) -> Path:
    """Write a teacher for a student of this config, with weights that are drawn."""
    definition = unet(classes)
    own = deepcopy(config) | {"network_def": definition, "imports": ["$import glob"]}
    write_student(root, own, classes=classes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        network = UNet(**{name: value for name, value in definition.items() if name != "_target_"})
    torch.save(network.state_dict(), root / "models" / "model.pt")
    return root
