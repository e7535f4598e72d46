# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import importlib.util
import logging
import os
import subprocess
import sys
import threading
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.transforms import Compose, EnsureChannelFirstd, Lambdad, LoadImaged, ScaleIntensityRanged

from akd_monai.data import SliceDataset
from akd_monai.data._prepared_volumes import _read
from akd_monai.errors import InputError

BOTH = ("image", "label")


def write(folder: Path, value: float) -> dict[str, str]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = {"image": folder / "Case00.nii", "label": folder / "Case00_segmentation.nii"}
    nib.save(nib.Nifti1Image(np.full((8, 8, 3), value, np.float32), np.eye(4)), paths["image"])
    nib.save(nib.Nifti1Image(np.ones((8, 8, 3), np.uint8), np.eye(4)), paths["label"])
    return {key: str(path) for key, path in paths.items()}


def transform(top: float = 1.0) -> Compose:
    scale = ScaleIntensityRanged("image", a_min=0, a_max=1, b_min=0, b_max=top)
    return Compose([LoadImaged(BOTH), EnsureChannelFirstd(BOTH), scale])


def value(case: dict[str, str], cache: Path, top: float = 1.0) -> float:
    return float(SliceDataset([case], transform(top), cache_dir=cache)[0]["image"].mean())


def stored(cache: Path) -> list[Path]:
    return sorted(cache.iterdir())


def test_a_second_data_set_uses_what_is_stored(tmp_path, monkeypatch):
    case = write(tmp_path / "A", 2.0)
    assert value(case, tmp_path / "cache") == 2.0
    assert len(stored(tmp_path / "cache")) == 1
    monkeypatch.setattr("monai.transforms.LoadImaged.__call__", None)  # nothing is loaded again
    assert value(case, tmp_path / "cache") == 2.0


@pytest.mark.fault(
    "The same run, or none",
    "an image behind a cached volume is replaced",
    injected="size and time unchanged",
    outcome="noticed",
)
def test_a_replaced_image_is_noticed_even_with_the_old_size_and_time(tmp_path):
    case = write(tmp_path / "A", 2.0)
    assert value(case, tmp_path / "cache") == 2.0
    old = os.stat(case["image"])
    write(tmp_path / "A", 3.0)
    os.utime(case["image"], ns=(old.st_atime_ns, old.st_mtime_ns))
    assert os.stat(case["image"]).st_size == old.st_size
    assert value(case, tmp_path / "cache") == 3.0


def test_a_replaced_label_is_noticed(tmp_path):
    case = write(tmp_path / "A", 2.0)
    SliceDataset([case], transform(), cache_dir=tmp_path / "cache")
    label = np.zeros((8, 8, 3), np.uint8)
    label[..., 1] = 1
    nib.save(nib.Nifti1Image(label, np.eye(4)), case["label"])
    dataset = SliceDataset([case], transform(), cache_dir=tmp_path / "cache", background_ratio=0)
    assert [position for _, position in dataset.slices] == [1]


def test_a_changed_parameter_is_noticed(tmp_path):
    case = write(tmp_path / "A", 2.0)
    assert [value(case, tmp_path / "cache", top) for top in (1.0, 5.0, 1.0)] == [2.0, 10.0, 2.0]
    assert len(stored(tmp_path / "cache")) == 2


OWN = """
import torch
from monai.transforms import Lambdad, MapTransform, Transform

def change(x):
    return x * FACTOR

class Plus(Transform):
    def __call__(self, x):
        return x * FACTOR

class Changed(MapTransform):
    def __init__(self, inner=None):
        super().__init__("image")
        self.inner = inner

    def __call__(self, data):
        return {**data, "image": self.inner(data["image"]) if self.inner else data["image"] * FACTOR}

MADE = {"class": lambda: Changed(), "inside": lambda: Changed(Plus()), "function": lambda: Lambdad("image", change)}
"""


@pytest.mark.parametrize("kind", ["class", "inside", "function"])
def test_changed_code_of_a_transform_is_noticed(tmp_path, kind):
    case, path = write(tmp_path / "A", 2.0), tmp_path / "own_transforms.py"
    found = []
    for factor in ("1.0", "5.0", "1.0"):
        path.write_text(OWN.replace("FACTOR", factor))
        spec = importlib.util.spec_from_file_location("own_transforms", path)
        module = sys.modules["own_transforms"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        own = Compose([*transform().transforms, module.MADE[kind]()])
        dataset = SliceDataset([case], own, cache_dir=tmp_path / "cache", background_ratio=None)
        found.append(float(dataset[0]["image"].max()))
    del sys.modules["own_transforms"]
    assert found == [2.0, 10.0, 2.0]
    assert len(stored(tmp_path / "cache")) == 2


def test_a_moved_folder_finds_its_volumes(tmp_path):
    write(tmp_path / "A", 2.0)
    value(write(tmp_path / "A", 2.0), tmp_path / "cache")
    value(write(tmp_path / "B", 2.0), tmp_path / "cache")
    assert len(stored(tmp_path / "cache")) == 1


@pytest.mark.fault(
    "Disk, memory and processes",
    "a cached volume is damaged",
    injected="its file is cut at four lengths",
    outcome="prepared again, said in one line",
)
@pytest.mark.parametrize("keep", [0, 10, 0.5, 0.99])
def test_a_damaged_stored_volume_is_prepared_again_with_one_line(tmp_path, caplog, keep):
    case, cache = write(tmp_path / "A", 2.0), tmp_path / "cache"
    value(case, cache)
    (path,) = stored(cache)
    complete = path.read_bytes()
    path.write_bytes(complete[: keep if isinstance(keep, int) else int(len(complete) * keep)])
    with caplog.at_level(logging.WARNING):
        assert value(case, cache) == 2.0
    assert [r.getMessage().count("\n") for r in caplog.records] == [0]
    assert "is damaged" in caplog.text
    assert path.read_bytes() == complete
    assert stored(cache) == [path]  # no temporary file is left


@pytest.mark.fault(
    "Disk, memory and processes",
    "a bit of a cached volume flips",
    injected="150 bits over the file and one of a voxel",
    outcome="found wherever it changes a value; prepared again",
)
@pytest.mark.fault(
    "Damaged checkpoints and weights",
    "a bit of a prepared volume on disk flips",
    injected="150 bits",
    outcome="prepared again, one line",
)
def test_a_flipped_bit_of_a_stored_volume_is_found_wherever_it_changes_anything(tmp_path, caplog):
    case, cache = write(tmp_path / "A", 2.0), tmp_path / "cache"
    value(case, cache)
    (path,) = stored(cache)
    complete = path.read_bytes()
    voxels = complete.index(np.float32(2.0).tobytes() * 64)
    # copies, since volumes are mapped, and the file is written in place here
    prepared = {key: volume.clone() for key, volume in _read(path, is_intact=False).items()}
    bits = [8 * voxels + 6, *range(0, 8 * len(complete), 8 * len(complete) // 150)]
    for bit in bits:
        changed = bytearray(complete)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        found = _read(path, is_intact=False)
        # what fills the file up to a multiple of 64 bytes means nothing
        assert found is None or all(torch.equal(found[key], prepared[key]) for key in prepared), bit
        if bit == bits[0]:
            assert found is None
            assert value(case, cache) == 2.0
            assert "is damaged" in caplog.text
            assert path.read_bytes() == complete


def test_a_stored_volume_is_summed_once_by_a_data_set(tmp_path, monkeypatch):
    case, cache = write(tmp_path / "A", 2.0), tmp_path / "cache"
    value(case, cache)
    summed = []
    monkeypatch.setattr("akd_monai.data._prepared_volumes._check_sums", summed.append)
    dataset = SliceDataset([case], transform(), cache_dir=cache)
    for index in (0, 1, 2, 0):
        assert float(dataset[index]["image"].mean()) == 2.0
    assert summed == stored(cache)


def test_another_process_finds_the_same_file(tmp_path):
    case, cache = write(tmp_path / "A", 2.0), tmp_path / "cache"
    value(case, cache)
    code = (
        f"import test_prepared_volumes as t; from pathlib import Path; print(t.value({case!r}, Path({str(cache)!r})))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    environment["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert run.stdout.strip() == "2.0", run.stderr
    assert len(stored(cache)) == 1


def test_two_at_once_share_a_folder(tmp_path):
    cases = [write(tmp_path / name, float(number)) for number, name in enumerate("ABCDEF")]
    results: list[list[float]] = []

    def work() -> None:
        dataset = SliceDataset(cases, transform(), cache_dir=tmp_path / "cache", background_ratio=0)
        results.append([float(dataset[3 * n]["image"].mean()) for n in range(6)])

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [[0, 1, 2, 3, 4, 5]] * 3
    assert len(stored(tmp_path / "cache")) == 6


def test_transforms_that_cannot_be_told_apart_are_refused(tmp_path):
    case = write(tmp_path / "A", 2.0)
    plain = Compose([LoadImaged(BOTH), EnsureChannelFirstd(BOTH), Lambdad("image", lambda x: x + 1)])
    with pytest.raises(InputError, match="use named functions instead of lambdas, or leave cache_dir out"):
        SliceDataset([case], plain, cache_dir=tmp_path / "cache")
    assert float(SliceDataset([case], plain)[0]["image"].mean()) == 3.0


def test_a_cache_dir_that_is_a_file_is_named(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match=r"cache_dir '.*file' cannot be made"):
        value(write(tmp_path / "A", 2.0), tmp_path / "file")


@pytest.mark.fault(
    "Disk, memory and processes",
    "the disk of the volume cache is full",
    injected="writing raises ENOSPC",
    outcome="one line names the folder",
)
def test_a_full_disk_is_named(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("akd_monai.data._prepared_volumes.save_atomic", full)
    with pytest.raises(InputError, match=r"cannot write to cache_dir .*No space left on device"):
        value(write(tmp_path / "A", 2.0), tmp_path / "cache")


def test_memory_errors_stay_what_they_are(tmp_path, monkeypatch):
    def big(*_, **__):
        raise MemoryError("too large")

    monkeypatch.setattr("monai.transforms.LoadImaged.__call__", big)
    with pytest.raises(MemoryError, match="too large"):
        SliceDataset([write(tmp_path / "A", 2.0)], transform())


def test_volumes_beyond_the_cache_rate_are_the_same(tmp_path):
    cases = [write(tmp_path / name, float(number)) for number, name in enumerate("AB")]
    dataset = SliceDataset(cases, transform(), cache_rate=0.5)
    assert [float(dataset[i]["image"].mean()) for i in (0, 5)] == [0.0, 1.0]
    assert torch.equal(dataset[5]["label"], torch.ones(1, 8, 8))
