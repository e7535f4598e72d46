# SPDX-License-Identifier: Apache-2.0
"""Slices a CPU second of several ways to feed a training, beside what a student consumes."""

from __future__ import annotations

import shutil
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

from akd_monai.data import KeyedSampler, SliceDataset, SliceLoader, SliceStore
from benchmarks.common import Goal, Result, Settings, check_equal, interleaved, short
from benchmarks.losses import Step

BOTH = ("image", "label")
BATCH = 16


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


def turn() -> list[Any]:
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
        self.random = Compose(turn())

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


def loader_of(dataset: Any, kind: type, batch: int) -> Batches:
    """Return the batches of a slice data set in keyed order."""
    sampler = KeyedSampler(dataset, seed=0, num_samples=max(len(dataset), 8 * batch))
    return Batches(kind(dataset, sampler=sampler, batch_size=batch, drop_last=True))


def run(settings: Settings) -> Result:
    """Measure every way."""
    folder = Path(tempfile.mkdtemp(prefix="akd_benchmark_"))
    try:
        return _run(settings, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run(settings: Settings, folder: Path) -> Result:
    count, side, depth, batch = (2, 32, 4, 4) if settings.quick else (8, 320, 24, BATCH)
    size = side if settings.quick else 384
    cases = write_volumes(folder, count, side, depth)
    ways: dict[str, tuple[Callable[[], object], int]] = {}
    ways["every slice loads and prepares its volume (.nii.gz)"] = (
        Items(Dataset(cases, Compose(prepare(size))), depth),
        1,
    )
    kept = PersistentDataset(cases, Compose(prepare(size)), cache_dir=folder / "persistent")
    ways["PersistentDataset of volumes, slice"] = (Items(kept, depth), 1)
    cached = CacheDataset(cases, Compose(prepare(size)), progress=False)
    ways["CacheDataset of volumes, slice"] = (Items(cached, depth, batch), batch)
    sliced = SliceDataset(cases, Compose(prepare(size) + turn()), background_ratio=None)
    ways["SliceDataset"] = (loader_of(sliced, DataLoader, batch), batch)
    plain = SliceDataset(cases, Compose(prepare(size)), background_ratio=None)
    store = SliceStore(cases, Compose(prepare(size)), background_ratio=None, cache_dir=folder / "store")
    _check(plain, store)
    ways["SliceStore, batches, flips and quarter turns"] = (loader_of(store, SliceLoader, batch), batch)
    ranges = {"rotate_range": 0.26, "scale_range": 0.1, "translate_range": 5.0}
    moved = SliceStore(
        cases, Compose(prepare(size)), background_ratio=None, cache_dir=folder / "store", affine={"prob": 1.0, **ranges}
    )
    ways["SliceStore, batches, the same and an affine change of every slice"] = (
        loader_of(moved, SliceLoader, batch),
        batch,
    )
    still = SliceStore(cases, Compose(prepare(size)), background_ratio=None, cache_dir=folder / "store", turn=False)
    ways["SliceStore, batches, no augmentation"] = (loader_of(still, SliceLoader, batch), batch)
    student = Step("ENet", 2, size, None, settings.device)
    return _table(settings, ways, student, folder, len(cases) * depth)


def _check(plain: SliceDataset, store: SliceStore) -> None:
    for number in range(0, len(plain), 5):
        place = plain.slices.index(store.slices[number])
        expected = plain[place]["image"]
        # half precision rounds by 2^-11 of a value
        check_equal(f"slice {number} of the store", store.clean_image(number), expected, rtol=2**-11, atol=1e-7)


def _table(
    settings: Settings, ways: dict[str, tuple[Callable[[], object], int]], student: Step, folder: Path, slices: int
) -> Result:
    result = Result(
        "Feeding a training",
        "Synthetic volumes of 320 x 320 x 24 (int16, .nii.gz), prepared as the bundles do, slices of 384 x 384, random flip"
        " and quarter turns, no worker processes: slices a CPU second, the reading of cached pages included.",
        ["way", "slices a CPU second", "range", "times naive"],
    )
    timing = interleaved({name: work for name, (work, _) in ways.items()} | {"ENet": student}, settings)
    naive_name = next(iter(ways))
    rates = {name: count / timing[name].median for name, (_, count) in ways.items()} | {
        "ENet": 2 / timing["ENet"].median
    }
    naive = rates[naive_name]
    for name, (_, count) in ways.items():
        spread = f"{short(count / timing[name].high, 4)} to {short(count / timing[name].low, 4)}"
        result.rows.append([name, short(rates[name], 4), spread, f"{short(rates[name] / naive)}x"])
    result.rows.append(["what training ENet on one core consumes", f"{rates['ENet']:.3g}", "", ""])
    turned = rates["SliceStore, batches, flips and quarter turns"]
    floor = "reading, turning and widening a slice of 384 x 384 passes over 0.4, 0.4 and 1.2 MB"
    for what, limit, other in (
        ("times the naive way", 200, naive),
        ("times CacheDataset with slices", 10, rates["CacheDataset of volumes, slice"]),
        ("times what ENet consumes on the same core", 2, rates["ENet"]),
    ):
        result.goals.append(
            Goal(f"pipeline, slice store with flips and turns: {what}", limit, turned / other, floor=floor)
        )
    size = sum(file.stat().st_size for file in (folder / "store").iterdir())
    result.notes.append(f"The store takes {size / slices / 1000:.0f} kB a slice.")
    return result
