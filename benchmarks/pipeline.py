# SPDX-License-Identifier: Apache-2.0
"""Slices a CPU second of several ways to feed a training, beside what a student consumes."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from monai.data import CacheDataset, Dataset, PersistentDataset, list_data_collate
from monai.transforms import (
    AsDiscreted,
    Compose,
    EnsureChannelFirstd,
    LoadImaged,
    NormalizeIntensityd,
    Orientationd,
    RandFlipd,
    RandRotate90d,
    Resized,
    ScaleIntensityRangePercentilesd,
    Transform,
)
from torch.utils.data import DataLoader

from akd_monai.data import KeyedSampler, SliceDataset
from benchmarks.common import Goal, Result, Settings, check_equal, interleaved, short
from benchmarks.losses import Step

BOTH = ("image", "label")
BATCH = 16
NAIVE = "every slice loads and prepares its volume (.nii.gz)"
CACHED = "CacheDataset of volumes, slice"
OURS = "SliceDataset"


class OneSlice(Transform):
    """Take one slice of a prepared volume, as a data set of volumes is used for a 2D training."""

    def __init__(self, position: int) -> None:
        self.position = position

    def __call__(self, data: dict[str, Any]) -> dict[str, Any]:
        """Return the slice of image and label."""
        return {key: data[key][..., self.position] for key in BOTH}


def prepare(side: int) -> list[Any]:
    """Return the deterministic transforms of the bundles."""
    return [
        LoadImaged(BOTH),
        EnsureChannelFirstd(BOTH),
        Orientationd(BOTH, axcodes="RAS", labels=None),
        Resized(BOTH, spatial_size=[side, side, -1], mode=["trilinear", "nearest-exact"]),
        ScaleIntensityRangePercentilesd("image", lower=0.5, upper=99.5, b_min=0.0, b_max=1.0, clip=True),
        NormalizeIntensityd("image"),
        AsDiscreted("label", threshold=0.5),
    ]


def augment() -> list[Any]:
    """Return the random transforms of the bundles."""
    return [RandFlipd(BOTH, spatial_axis=0, prob=0.5), RandRotate90d(BOTH, prob=0.75, max_k=3)]


def write_volumes(folder: Path, count: int, side: int, depth: int) -> list[dict[str, str]]:
    """Write synthetic volumes: noise with a bright ellipsoid that the label marks."""
    rng, cases = np.random.default_rng(0), []
    grid = np.meshgrid(*(np.linspace(-1, 1, n) for n in (side, side, depth)), indexing="ij")
    label = (sum((axis / size) ** 2 for axis, size in zip(grid, (0.4, 0.5, 0.8), strict=True)) < 1).astype(np.uint8)
    for number in range(count):
        image = (rng.normal(300, 80, label.shape) + 200 * label).astype(np.int16)
        paths = {"image": folder / f"Case{number:02}.nii.gz", "label": folder / f"Case{number:02}_segmentation.nii.gz"}
        nib.save(nib.Nifti1Image(image, np.diag([0.6, 0.6, 3, 1])), paths["image"])
        nib.save(nib.Nifti1Image(label, np.diag([0.6, 0.6, 3, 1])), paths["label"])
        cases.append({key: str(path) for key, path in paths.items()})
    return cases


class Items:
    """Slice after slice of a data set of volumes, the next volume each time, as a shuffled training asks for them."""

    def __init__(self, volumes: Any, depth: int, count: int = 1) -> None:
        self.volumes, self.depth, self.count, self.number = volumes, depth, count, 0
        self.random = Compose(augment())

    def __call__(self) -> Any:
        """Return a batch of the next ``count`` slices, augmented."""
        return list_data_collate([self._next() for _ in range(self.count)])

    def _next(self) -> dict[str, Any]:
        volume = self.volumes[self.number % len(self.volumes)]
        position = self.number * 7 % self.depth
        self.number += 1
        return self.random(OneSlice(position)(volume))


class Batches:
    """Batch after batch of a loader, epoch after epoch."""

    def __init__(self, loader: Any) -> None:
        self.loader, self.sampler, self.iterator = loader, loader.sampler, iter(())

    def __call__(self) -> dict[str, Any]:
        """Return the next batch."""
        batch = next(self.iterator, None)
        if batch is None:
            self.sampler.epoch += 1
            self.iterator: Iterator[Any] = iter(self.loader)
            batch = next(self.iterator)
        return batch


def loader_of(dataset: SliceDataset, batch: int) -> Batches:
    """Return the batches of a slice data set in keyed order."""
    sampler = KeyedSampler(dataset, seed=0, num_samples=max(len(dataset), 8 * batch))
    return Batches(DataLoader(dataset, sampler=sampler, batch_size=batch, drop_last=True))


def run(settings: Settings) -> Result:
    """Measure every way."""
    with tempfile.TemporaryDirectory(prefix="akd_benchmark_", ignore_cleanup_errors=True) as folder:
        return _run(settings, Path(folder))


def _run(settings: Settings, folder: Path) -> Result:
    count, side, depth, batch = (2, 32, 4, 4) if settings.quick else (8, 320, 24, BATCH)
    size = side if settings.quick else 384
    cases = write_volumes(folder, count, side, depth)
    fixed = Compose(prepare(size))
    divided = Compose(prepare(size) + augment())
    in_memory = SliceDataset(cases, divided, background_ratio=None)
    on_disk = SliceDataset(cases, divided, background_ratio=None, cache_dir=folder / "volumes")
    _check(in_memory, on_disk)
    ways: dict[str, tuple[Callable[[], object], int]] = {
        NAIVE: (Items(Dataset(cases, fixed), depth), 1),
        "PersistentDataset of volumes, slice": (
            Items(PersistentDataset(cases, fixed, cache_dir=folder / "persistent"), depth),
            1,
        ),
        CACHED: (Items(CacheDataset(cases, fixed, progress=False), depth, batch), batch),
        OURS: (loader_of(in_memory, batch), batch),
        "SliceDataset, volumes on disk": (loader_of(on_disk, batch), batch),
    }
    return _table(settings, ways, Step("ENet", 2, size, None, settings.device))


def _check(in_memory: SliceDataset, on_disk: SliceDataset) -> None:
    for number in range(0, len(in_memory), 5):
        expected = in_memory[number]["image"]
        check_equal(f"slice {number} of the volumes on disk", on_disk[number]["image"], expected, rtol=0, atol=0)


def _table(settings: Settings, ways: dict[str, tuple[Callable[[], object], int]], student: Step) -> Result:
    result = Result(
        "Feeding a training",
        "Synthetic volumes of 320 x 320 x 24 (int16, .nii.gz), prepared as the bundles do, slices of 384 x 384, random flip"
        " and quarter turns, no worker processes: slices a CPU second, the reading of cached pages included.",
        ["way", "slices a CPU second", "range", "times naive"],
    )
    timing = interleaved({name: work for name, (work, _) in ways.items()} | {"ENet": student}, settings)
    rates = {name: count / timing[name].median for name, (_, count) in ways.items()}
    rates["ENet"] = 2 / timing["ENet"].median
    for name, (_, count) in ways.items():
        spread = f"{short(count / timing[name].high, 4)} to {short(count / timing[name].low, 4)}"
        result.rows.append([name, short(rates[name], 4), spread, f"{short(rates[name] / rates[NAIVE])}x"])
    result.rows.append(["what training ENet on one core consumes", f"{rates['ENet']:.3g}", "", ""])
    floor = "MONAI's random transforms are run slice by slice"
    for what, limit, other in (
        ("times the naive way", 200, NAIVE),
        ("times CacheDataset with slices", 10, CACHED),
        ("times what ENet consumes on the same core", 2, "ENet"),
    ):
        result.goals.append(Goal(f"pipeline, SliceDataset: {what}", limit, rates[OURS] / rates[other], floor=floor))
    return result
