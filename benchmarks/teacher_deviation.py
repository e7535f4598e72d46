# SPDX-License-Identifier: Apache-2.0
"""How far cheaper outputs are from the teacher's own: ``python -m benchmarks.teacher_deviation``.

A small UNet++ is trained on synthetic sites, twice: with flips and quarter turns alone, and with rotations and scaling too.
On slices that it was not trained on, cheaper computing, half precision storage, and outputs that are moved with the image
are compared with the teacher's outputs.
"""

from __future__ import annotations

import copy
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.losses import DiceFocalLoss
from monai.transforms import Compose, RandAffined
from torch import Tensor, nn

from akd_monai.data import SliceDataset, datalist
from akd_monai.data.views import apply_view
from akd_monai.losses import LogitsKLLoss
from akd_monai.networks.nets import UNetPlusPlus
from akd_monai.prostate import make_phantom
from akd_monai.tables import markdown_table
from akd_monai.teachers._coding import LogitsCoding
from benchmarks.common import machine_facts
from benchmarks.pipeline import prepare

SIDE = 96
ROTATION = {"rotate_range": 0.26}
WARP = {**ROTATION, "scale_range": (0.1, 0.1), "translate_range": (5, 5)}


def slices(folder: Path, parts: list[str]) -> tuple[Tensor, Tensor]:
    """Return all images and labels of parts of the synthetic sites."""
    cases = [case for part in parts for case in datalist(folder, part, sites=None, seed=0, fold=0, folds=2)]
    dataset = SliceDataset(cases, Compose(prepare(SIDE)), background_ratio=None)
    items = [dataset[number] for number in range(len(dataset))]
    return torch.stack([item["image"] for item in items]), torch.stack([item["label"] for item in items])


def warp(image: Tensor, other: Tensor, mode: str, seed: int, prob: float = 1.0, **ranges: Any) -> tuple[Tensor, Tensor]:
    """Warp images and what belongs to them alike, each pair in its own way."""
    change = Compose(
        [RandAffined(("image", "other"), prob=prob, mode=("bilinear", mode), padding_mode="border", **ranges)]
    )
    change.set_random_state(seed)
    found = [change({"image": i.clone(), "other": o.clone()}) for i, o in zip(image, other, strict=True)]
    return torch.stack([f["image"].as_tensor() for f in found]), torch.stack([f["other"].as_tensor() for f in found])


def train(images: Tensor, labels: Tensor, steps: int, warped: bool) -> nn.Module:
    """Train a teacher."""
    torch.manual_seed(0)
    network = UNetPlusPlus(2, 1, 2, features=[16, 32, 64, 96, 128])
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
    loss = DiceFocalLoss(include_background=False, to_onehot_y=True, softmax=True, batch=True)
    generator = torch.Generator().manual_seed(1)
    for step in range(steps):
        drawn = torch.randint(len(images), (8,), generator=generator)
        view = int(torch.randint(8, (1,), generator=generator))
        x, y = (apply_view(values[drawn], view).contiguous() for values in (images, labels))
        if warped:
            x, y = warp(x, y, "nearest", step, prob=0.7, **WARP)
        optimizer.zero_grad()
        loss(network(x), y).backward()
        optimizer.step()
    return network.eval()


def compare(way: str, found: Tensor, exact: Tensor) -> list[str]:
    """Return one row of the table."""
    ours, theirs = found.argmax(1).bool(), exact.argmax(1).bool()
    dice = (2 * (ours & theirs).sum() / (ours.sum() + theirs.sum()).clamp(min=1)).item()
    student = exact + 2 * torch.randn(exact.shape, generator=torch.Generator().manual_seed(2))
    gradients = []
    for teacher in (found, exact):
        leaf = student.clone().requires_grad_()
        LogitsKLLoss()(leaf, teacher).backward()
        gradients.append(torch.zeros(()) if leaf.grad is None else leaf.grad)
    change = ((gradients[0] - gradients[1]).norm() / gradients[1].norm()).item()
    return [way, f"{100 * (ours != theirs).float().mean().item():.4f}", f"{dice:.4f}", f"{change:.1e}"]


def rows(network: nn.Module, image: Tensor) -> Iterator[list[str]]:
    """Yield one row for each way to save the teacher work."""
    with torch.no_grad():
        exact = network(image)
        coding = LogitsCoding(tuple(exact.shape[1:]), "float16")
        stored = np.stack([coding.encode(logits) for logits in exact])[:, : coding.value_bytes]
        ordered = copy.deepcopy(network).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        turned = image.contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            half = ordered(turned).float()
        pairs = [
            ("one image at a time", torch.cat([network(i[None]) for i in image]), exact),
            ("float16 storage", coding.decode(torch.from_numpy(np.ascontiguousarray(stored))), exact),
            ("channels last", ordered(turned), exact),
            ("bfloat16 and channels last", half, exact),
        ]
        for name, ranges in (
            ("rotation by up to 15 degrees", ROTATION),
            ("the same, 10 % scale, 5 pixels shift", WARP),
        ):
            moved, outputs = warp(image, exact, "bilinear", 0, **ranges)
            pairs.append((f"outputs moved with the image: {name}", outputs, network(moved)))
        views = [1 + number % 7 for number in range(len(image))]
        seen = torch.stack([apply_view(i, view) for i, view in zip(image, views, strict=True)])
        outputs = torch.stack([apply_view(logits, view) for logits, view in zip(exact, views, strict=True)])
        pairs.append(("outputs moved with the image: flips and quarter turns", outputs, network(seen)))
    for name, found, wanted in pairs:
        yield compare(name, found, wanted)


def main(steps: int = 450) -> int:
    """Train both teachers and print a table for each."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        sites = ["RUNMC", "I2CVB"]
        folder = make_phantom(Path(name) / "sites", cases_per_site=6, sites=sites, size=SIDE, slices=8, progress=False)
        images, labels = slices(folder, ["training"])
        others, truth = slices(folder, ["validation", "test"])
    for warped in (False, True):
        network = train(images, labels, steps, warped)
        with torch.no_grad():
            found = network(others).argmax(1).bool()
        dice = (2 * (found & truth[:, 0].bool()).sum() / (found.sum() + truth.sum())).item()
        print(f"\nTeacher trained {'with' if warped else 'without'} rotations, Dice {dice:.2f} against the labels\n")
        header = [
            "in place of the teacher",
            "decisions that differ, %",
            "Dice of the two",
            "change of the logits gradient",
        ]
        print(markdown_table(header, list(rows(network, others))))
    print(f"\n{machine_facts()}")
    return 0


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
