# SPDX-License-Identifier: Apache-2.0
"""Images of several sites, trainers for them, and a bundle's training in this process."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigWorkflow
from monai.data import DataLoader, Dataset
from torch import nn

from akd_monai.generalisation import SiteSampler, baseline_config

SITES = ("BMC", "HK", "UCL")


def images(sites=SITES, each: int = 2, size: int = 8, *, empty: bool = False) -> Dataset:
    """Return noisy images with a square, whose brightness is the site's."""
    entries = []
    for number, site in enumerate(sites):
        for turn in range(each):
            generator = torch.Generator().manual_seed(10 * number + turn)
            label = torch.zeros(1, size, size)
            label[:, 2 : size - 2, 2 : size - 2] = 0.0 if empty else 1.0
            noise = torch.randn(1, size, size, generator=generator)
            entries.append({"image": label + number + 0.3 * noise, "label": label, "site": site})
    return Dataset(entries)


def build(kind: type, network: nn.Module, dataset: Dataset | None = None, **options: Any) -> Any:
    """Return a trainer of ``kind`` whose batches have two images of each of three sites."""
    dataset = images() if dataset is None else dataset
    settings = {
        "layer": "0",
        "image_shape": (1, 8, 8),
        "device": "cpu",
        "max_epochs": 1,
        "epoch_length": 1,
        "network": network,
        "optimizer": torch.optim.SGD(network.parameters(), lr=0.5),
        "loss_function": nn.MSELoss(),
        **options,
    }
    if "train_data_loader" not in settings:
        sampler = SiteSampler(dataset, batch_size=6)
        settings["train_data_loader"] = DataLoader(dataset, batch_size=6, sampler=sampler)
    return kind(**settings)


def plain_network(out_channels: int = 2) -> nn.Module:
    """Return a network with batch normalisation, whose first layer is the one to tap."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = [nn.Conv2d(1, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, out_channels, 1)]
        return nn.Sequential(*layers)


def train(bundle: Path, baseline: str, data: Path, **options: Any) -> Any:
    """Train a bundle in this process as ``python -m monai.bundle run`` with two config files, and return its trainer."""
    configs = [str(bundle / "configs" / "train.json"), str(baseline_config(baseline))]
    meta = str(bundle / "configs" / "metadata.json")
    given = {"bundle_root": str(bundle), "dataset_dir": str(data), **options}
    sys.path.insert(0, str(bundle))
    try:
        workflow = ConfigWorkflow(configs, meta_file=meta, logging_file=False, workflow_type="train", **given)
        workflow.initialize()
        workflow.run()
        return workflow.parser.get_parsed_content("train#trainer")
    finally:
        sys.path.remove(str(bundle))


def messages(error: BaseException) -> str:
    """Return what an error says, and what MONAI's resolver has wrapped; some libraries raise an error from itself."""
    chain: list[BaseException] = [error]
    while chain[-1].__cause__ is not None and chain[-1].__cause__ not in chain:
        chain.append(chain[-1].__cause__)
    return " ".join(str(part) for part in chain)
