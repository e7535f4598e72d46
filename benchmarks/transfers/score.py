# SPDX-License-Identifier: Apache-2.0
"""Dice of a bundle of this comparison on test volumes, by its own preprocessing, inferer and post-processing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigWorkflow
from monai.metrics import compute_dice
from monai.transforms import (
    AsDiscreted,
    Compose,
    ConvertToMultiChannelBasedOnBratsClassesd,
    EnsureChannelFirstd,
    LoadImaged,
)
from torch import Tensor

from akd_monai.bundle import load_network
from benchmarks.transfers.bundles import TASKS

__all__ = ["dice_of"]


def dice_of(bundle: Path, data: Path, task: str, weights: Path | None = None) -> Tensor:
    """Return the Dice coefficients ``[cases, classes]`` of a bundle, the background left out.

    Args:
        bundle: folder with ``configs/inference.json``.
        data: folder with ``imagesTr`` and ``labelsTr``.
        task: name of the task, which tells how labels and outputs are read.
        weights: other weights than ``models/model.pt``.
    """
    workflow = ConfigWorkflow(
        str(bundle / "configs/inference.json"), workflow_type="infer", logging_file=False, bundle_root=str(bundle)
    )
    parser = workflow.parser
    preprocess = parser.get_parsed_content("preprocessing")
    inferer = parser.get_parsed_content("inferer")
    network = load_network(bundle, weights=weights)
    rows = []
    for image in sorted((data / "imagesTr").glob("*.nii.gz")):
        with torch.inference_mode():
            logits = inferer(preprocess({"image": str(image)})["image"][None], network).as_tensor()
        rows.append(_dice(logits, data / "labelsTr" / image.name, task))
    return torch.cat(rows)


def _dice(logits: Tensor, label: Path, task: str) -> Tensor:
    steps = [LoadImaged("label"), EnsureChannelFirstd("label"), *_label_steps(task)]
    truth = Compose(steps)({"label": str(label)})["label"].as_tensor()[None]
    if TASKS[task]["include_background"]:
        return compute_dice((logits > 0).float(), truth.float(), include_background=True)
    chosen = torch.nn.functional.one_hot(logits.argmax(1), logits.shape[1]).movedim(-1, 1)
    return compute_dice(chosen.float(), truth.float(), include_background=False)


def _label_steps(task: str) -> list[Callable[..., Any]]:
    if TASKS[task]["include_background"]:
        return [ConvertToMultiChannelBasedOnBratsClassesd("label")]
    return [AsDiscreted("label", to_onehot=len(TASKS[task]["classes"]))]
