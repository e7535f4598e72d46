# SPDX-License-Identifier: Apache-2.0
"""A bundle in the style of the Model Zoo that can be compressed: 3D, with drawn weights, evaluated and exportable."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from monai.networks.nets import UNet
from zoo_style_tools import SIDE, metadata, train_json, unet, write_teacher


def zoo_teacher(root: Path, dims: int = 3, **changes) -> Path:
    """Write the bundle; ``changes`` are further ids of its inference config."""
    train = train_json(dims, 1, 2)
    train["initialize"] = ["$monai.utils.set_determinism(seed=123)"]
    write_teacher(root, train, metadata(dims, 1, 2))
    (root / "configs" / "inference.json").write_text(json.dumps({**_inference(dims), **changes}))
    (root / "configs" / "evaluate.json").write_text(json.dumps(_evaluate()))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        definition = {name: value for name, value in unet(dims, 1, 2).items() if name != "_target_"}
        torch.save(UNet(**definition).state_dict(), root / "models" / "model.pt")
    return root


def _inference(dims):
    transforms = [
        {"_target_": "LoadImaged", "keys": "image"},
        {"_target_": "EnsureChannelFirstd", "keys": "image"},
        {"_target_": "ScaleIntensityd", "keys": "image"},
    ]
    return {
        "bundle_root": ".",
        "network_def": unet(dims, 1, 2),
        "preprocessing": {"_target_": "Compose", "transforms": transforms},
        "inferer": {"_target_": "SlidingWindowInferer", "roi_size": [SIDE] * dims, "sw_batch_size": 2, "overlap": 0.25},
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "Activationsd", "keys": "pred", "softmax": True},
                {"_target_": "Invertd", "keys": "pred", "transform": "@preprocessing", "orig_keys": "image"},
                {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
            ],
        },
    }


def _evaluate():
    loader = {
        "_target_": "CheckpointLoader",
        "load_path": "$@ckpt_dir + '/model.pt'",
        "load_dict": {"model": "@network"},
    }
    return {"validate#handlers": [loader], "run": ["$@validate#evaluator.run()"]}
