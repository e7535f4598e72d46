# SPDX-License-Identifier: Apache-2.0
"""What MONAI makes of a volume: its own transforms and its own inferer around the network in PyTorch."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai import inferers, transforms
from numpy.typing import NDArray
from torch import nn

from akd_monai.data import CheckedReader, CheckVolumesd
from akd_monai.deploy._recipe import Recipe
from akd_monai.deploy._steps import Step

__all__ = ["Reference"]

_FIXED: dict[str, dict[str, Any]] = {"Resize": {"mode": "trilinear"}, "Orientation": {"labels": None}}


class Reference:
    """The pipeline of a recipe in MONAI.

    Args:
        recipe: what the inference config says, in plain values; nothing of a bundle is run.
        network: in ``eval`` mode, on the CPU.
    """

    def __init__(self, recipe: Recipe, network: nn.Module) -> None:
        self._network = network
        self._before = transforms.Compose(list(_before(recipe)))
        self._inferer = getattr(inferers, type(recipe.inferer).__name__)(**_arguments(recipe.inferer))
        self._after = transforms.Compose(list(_after(recipe, self._before)))

    def mask(self, path: Path) -> NDArray[np.uint8]:
        """Return the mask of a volume, ``[X, Y, Z]``."""
        item = self._before({"image": str(path)})
        with torch.no_grad():
            logits = self._inferer(item["image"][None], self._network)
        item["pred"] = logits[0]
        mask = self._after(item)["pred"]
        return np.asarray(mask[0].numpy(), np.uint8)


def _arguments(step: Step) -> dict[str, Any]:
    return dataclasses.asdict(step)


def _before(recipe: Recipe) -> Iterator[Any]:
    reader: Any = CheckedReader(recipe.channels)
    yield transforms.LoadImaged("image", reader=reader)
    yield transforms.EnsureChannelFirstd("image")
    yield CheckVolumesd("image", channels=recipe.channels)
    for step in recipe.preprocessing:
        name = type(step).__name__
        fixed = _FIXED.get(name, {})
        yield getattr(transforms, f"{name}d")("image", **_arguments(step), **fixed)


def _after(recipe: Recipe, before: transforms.Compose) -> Iterator[Any]:
    for step in recipe.postprocessing:
        name = type(step).__name__
        fixed: dict[str, Any] = {"transform": before, "orig_keys": "image"} if name == "Invert" else {}
        yield getattr(transforms, f"{name}d")("pred", **_arguments(step), **fixed)
