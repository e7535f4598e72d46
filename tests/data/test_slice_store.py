# SPDX-License-Identifier: Apache-2.0
"""The slice store: what it keeps, the eight views, whole batches, and never a stale volume."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from ignite.engine import Engine
from monai.bundle import ConfigParser
from monai.transforms import (
    Compose,
    EnsureChannelFirstd,
    EnsureTyped,
    LoadImaged,
    NormalizeIntensityd,
    RandCropByPosNegLabeld,
    RandFlipd,
    RandGaussianNoised,
    ScaleIntensityd,
)
from torch.utils.data import DataLoader

from akd_monai.data import KeyedSampler, SliceDataset, SliceLoader, SliceStore
from akd_monai.data.views import apply_view, apply_views
from akd_monai.errors import InputError
from akd_monai.handlers import KeyedRandomness

BOTH = ("image", "label")
ROOT = Path(__file__).parents[2]
TRAIN = ROOT / "akd_monai" / "bundle" / "parts" / "common" / "train.json"


def load():
    # made anew, as a config does: MONAI's readers remember what they read, which makes another recipe of them
    return [LoadImaged(BOTH), EnsureChannelFirstd(BOTH)]


def volume_case(name="A/0", depth=6, size=8, seed=0, scale=1.0):
    image = scale * torch.randn(1, size, size, depth, generator=torch.Generator().manual_seed(seed))
    label = torch.zeros(1, size, size, depth)
    label[0, 1:3, 2:6] = 1
    return {"image": image, "label": label, "case_id": name}


def write_case(folder, seed=0, size=8, depth=5):
    rng = np.random.default_rng(seed)
    paths = {"image": folder / "Case00.nii.gz", "label": folder / "Case00_segmentation.nii.gz"}
    folder.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(rng.normal(size=(size, size, depth)).astype(np.float32), np.eye(4)), paths["image"])
    nib.save(nib.Nifti1Image(np.ones((size, size, depth), np.uint8), np.eye(4)), paths["label"])
    return {key: str(path) for key, path in paths.items()}


def equal(one, other):
    assert set(one) == set(other)
    for key, value in one.items():
        if isinstance(value, torch.Tensor):
            torch.testing.assert_close(value, other[key], rtol=0, atol=0)
        else:
            assert value == other[key], key


@pytest.mark.parametrize("view", range(8))
def test_a_view_is_a_flip_and_then_quarter_turns(view):
    values = torch.randn(2, 3, 5, 5)
    expected = torch.rot90(values.flip(-2) if view >= 4 else values, view % 4, (-2, -1))
    torch.testing.assert_close(apply_view(values, view), expected, rtol=0, atol=0)
    found = apply_views(values.half(), [view, 0], torch.float32)
    torch.testing.assert_close(found[0], expected[0].half().float(), rtol=0, atol=0)
    torch.testing.assert_close(found[1], values[1].half().float(), rtol=0, atol=0)


def test_in_full_precision_and_without_turns_it_is_the_slice_dataset():
    cases = [volume_case("A/0"), volume_case("A/1", seed=1)]
    plain = SliceDataset(cases, Compose([EnsureTyped(BOTH)]), seed=3)
    store = SliceStore(cases, Compose([EnsureTyped(BOTH)]), seed=3, dtype="float32", turn=False)
    assert len(plain) == len(store) and plain.slices == store.slices
    for index in [*range(len(plain)), (4, 1), (2, len(plain) + 1), -1]:
        for key, value in plain[index].items():
            if isinstance(value, torch.Tensor):
                torch.testing.assert_close(store[index][key], value, rtol=0, atol=0)
            else:
                assert store[index][key] == value


def test_half_precision_is_off_by_a_rounding():
    case = volume_case(scale=4.0)
    item = SliceStore([case], Compose([]), turn=False)[2]
    exact = case["image"][..., 2]
    assert item["image"].dtype == item["label"].dtype == torch.float32
    assert 0 < ((item["image"] - exact).abs() / exact.abs()).max() <= 2**-11
    torch.testing.assert_close(item["label"], case["label"][..., 2], rtol=0, atol=0)


def test_items_say_their_view_and_all_views_come_equally_often():
    case = volume_case()
    store = SliceStore([case], Compose([]), dtype="float32", seed=5)
    counts = [0] * 8
    for epoch in range(200):
        for number in range(6):
            item = store[(epoch, number)]
            counts[item["view"]] += 1
            if epoch < 5:
                for key in BOTH:
                    there = apply_view(case[key][..., number], item["view"])
                    torch.testing.assert_close(item[key], there, rtol=0, atol=0)
    assert sum(counts) == 1200
    # Eight cells, chi-square with 7 degrees of freedom: 24.3 is exceeded by chance once in 1000.
    assert sum((count - 150) ** 2 / 150 for count in counts) < 24.3


def test_views_are_a_function_of_seed_epoch_and_index():
    def views(seed, indices):
        return SliceStore([volume_case()], Compose([]), seed=seed).gather(indices)[1].views.tolist()

    indices = [(epoch, number) for epoch in range(8) for number in range(6)]
    assert views(1, indices) == views(1, indices[::-1])[::-1]
    assert views(1, indices) != views(2, indices)
    assert views(1, indices[:6]) != views(1, indices[6:12])
    again = [(0, number + 6) for number in range(6)]
    assert views(1, again) != views(1, indices[:6])


@pytest.mark.parametrize("random", [[], [RandGaussianNoised("image", prob=0.5)], [RandFlipd(BOTH, prob=0.5)]])
@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_the_items_of_a_plain_loader(tmp_path, random, workers):
    cases = [write_case(tmp_path / name, seed) for seed, name in enumerate("AB")]
    store = SliceStore(cases, Compose([*load(), *random]), seed=1, cache_dir=tmp_path / "cache")
    settings = {"batch_size": 3, "drop_last": True}
    loaders = [
        DataLoader(store, sampler=KeyedSampler(store, seed=2), **settings),
        SliceLoader(store, sampler=KeyedSampler(store, seed=2), num_workers=workers, **settings),
    ]
    batches = [list(loader) for loader in loaders]
    assert [len(b) for b in batches] == [3, 3] == [len(loader) for loader in loaders]
    for one, other in zip(*batches, strict=True):
        equal(one, other)
        assert one["view"].dtype == one["slice_index"].dtype == torch.int64
        assert isinstance(one["volume_key"], list) and len(one["volume_key"][0]) == 32
    drawn = {int(view) for batch in batches[0] for view in batch["view"]}
    assert (-1 in drawn) == (bool(random) and isinstance(random[0], RandGaussianNoised))


def test_the_view_is_true_behind_a_random_flip():
    case = volume_case()
    store = SliceStore([case], Compose([RandFlipd(BOTH, spatial_axis=1, prob=1.0)]), dtype="float32")
    for number in range(6):
        item = store[number]
        there = apply_view(case["image"][..., number], item["view"])
        torch.testing.assert_close(item["image"], there, rtol=0, atol=0)
        torch.testing.assert_close(item["label"], apply_view(case["label"][..., number], item["view"]))


def test_further_maps_turn_with_the_slice():
    store = SliceStore([volume_case()], Compose([]), dtype="float32")
    store.maps = lambda key, position: {"margin": store.clean_image(position) * 2}
    batch = next(iter(SliceLoader(store, batch_size=6)))
    torch.testing.assert_close(batch["margin"], batch["image"] * 2, rtol=0, atol=0)


def test_items_belong_to_the_caller():
    for dtype in ("float16", "float32"):
        store = SliceStore([volume_case()], Compose([]), dtype=dtype, turn=False)
        before = store[1]["image"].clone()
        store[1]["image"].zero_()
        next(iter(SliceLoader(store, batch_size=6)))["image"].zero_()
        torch.testing.assert_close(store[1]["image"], before, rtol=0, atol=0)


def test_files_follow_content_transforms_and_type(tmp_path):
    case = write_case(tmp_path / "A")

    def keys(*more, **settings):
        store = SliceStore([case], Compose([*load(), *more]), cache_dir=tmp_path / "cache", **settings)
        return store.volume_keys[0], sorted(f.name for f in (tmp_path / "cache").iterdir())

    first, files = keys()
    assert keys() == (first, files) and len(files) == 1
    assert keys(RandFlipd("image"), turn=False)[1] == files  # what is random is not stored
    scaled, more = keys(ScaleIntensityd("image"))
    assert scaled != first and len(more) == 2
    assert len(keys(dtype="float32")[1]) == 3
    write_case(tmp_path / "A", seed=9)
    replaced, more = keys()
    assert replaced != first and len(more) == 4


def test_a_damaged_file_is_made_again(tmp_path, caplog):
    case = write_case(tmp_path / "A")
    wanted = SliceStore([case], Compose(load()), cache_dir=tmp_path / "cache")[1]
    (file,) = (tmp_path / "cache").iterdir()
    file.write_bytes(file.read_bytes()[:200])
    equal(SliceStore([case], Compose(load()), cache_dir=tmp_path / "cache")[1], wanted)
    assert "is damaged" in caplog.text


def test_a_replaced_file_does_not_change_a_running_store(tmp_path):
    case = write_case(tmp_path / "A")
    store = SliceStore([case], Compose(load()), cache_dir=tmp_path / "cache")
    before = store[1]
    for file in (tmp_path / "cache").iterdir():
        file.unlink()
    equal(store[1], before)


def test_a_pickled_store_maps_its_files_anew(tmp_path):
    store = SliceStore([write_case(tmp_path / "A", size=64)], Compose(load()), cache_dir=tmp_path / "cache")
    store.gather([0, 1])
    content = pickle.dumps(store)
    assert len(content) < 20_000 < 64 * 64 * 5 * 2
    equal(pickle.loads(content)[2], store[2])


def test_a_resumed_run_sees_the_batches_of_a_run_in_one_piece():
    def batches(start):
        store = SliceStore([volume_case(depth=10)], Compose([]), seed=7)
        sampler, seen = KeyedSampler(store, seed=7), {}
        loader = SliceLoader(store, sampler=sampler, batch_size=2, drop_last=True)
        engine = Engine(lambda engine, batch: seen.update({engine.state.iteration: batch}))
        KeyedRandomness(seed=7, sampler=sampler, batch_size=2).attach(engine)
        if start:
            engine.load_state_dict({"iteration": start, "max_epochs": 3, "epoch_length": len(loader)})
        engine.run(loader, max_epochs=3)
        return seen

    whole = batches(0)
    assert sorted(whole) == list(range(1, 16))
    for start in (3, 5, 8):
        rest = batches(start)
        assert sorted(rest) == list(range(start + 1, 16))
        for iteration, batch in rest.items():
            equal(batch, whole[iteration])


def test_from_a_training_config_and_the_overlay_of_the_docs(tmp_path):
    for number in range(6):
        folder = tmp_path / "data" / "RUNMC"
        case = write_case(tmp_path / "one", seed=number, size=20)
        folder.mkdir(parents=True, exist_ok=True)
        Path(case["image"]).rename(folder / f"Case{number:02}.nii.gz")
        Path(case["label"]).rename(folder / f"Case{number:02}_segmentation.nii.gz")
    config = json.loads(TRAIN.read_text())
    config |= {"dataset_dir": str(tmp_path / "data"), "spatial_size": [16, 16], "batch_size": 4, "device": "cpu"}
    page = (ROOT / "docs" / "how-to" / "feed-training.md").read_text(encoding="utf-8")
    overlay = json.loads(page.split("```json")[1].split("```")[0])
    parser = ConfigParser(config)
    parser.update(overlay | {"bundle_root": str(tmp_path)})
    loader = parser.get_parsed_content("train#dataloader")
    batch = next(iter(loader))
    assert batch["image"].shape == (4, 1, 16, 16) and set(batch["label"].unique().tolist()) == {1.0}
    assert len(list((tmp_path / "cache").iterdir())) == len(
        {*batch["volume_key"]} | {*loader.dataset.store.volume_keys}
    )


@pytest.mark.parametrize(
    ("case", "transform", "options", "message"),
    [
        (volume_case(), [], {"dtype": "half"}, r"dtype must be one of 'float16', 'float32', got 'half'"),
        (volume_case(scale=1e6), [], {}, r"'image' holds .*e\+06, above the 65504 of half precision.*normalise"),
        (volume_case(), [NormalizeIntensityd("label")], {}, r"'label' holds values that are no whole numbers.*AsDiscr"),
        (
            {**volume_case(), "image": torch.full((1, 8, 8, 6), torch.nan)},
            [],
            {},
            r"case A/0: 'image' holds NaN or Inf",
        ),
        (
            {"image": torch.rand(1, 4, 8, 3), "label": torch.ones(1, 4, 8, 3)},
            [],
            {},
            r"slices of 4 x 8 pixels cannot be turned.*set turn to false",
        ),
        (
            volume_case(),
            [RandCropByPosNegLabeld(BOTH, "label", [4, 4], num_samples=2)],
            {},
            r"takes several samples of a slice.*use SliceDataset",
        ),
    ],
)
def test_what_cannot_be_stored_is_said(case, transform, options, message):
    with pytest.raises(InputError, match=message):
        SliceStore([case], Compose(transform), **options)


def test_oblong_slices_are_served_without_turns():
    case = {"image": torch.rand(1, 4, 8, 3), "label": torch.ones(1, 4, 8, 3)}
    store = SliceStore([case], Compose([]), turn=False)
    assert store.views == 1
    assert next(iter(SliceLoader(store, batch_size=3)))["image"].shape == (3, 1, 4, 8)
    with pytest.raises(IndexError, match="slice 3 of 3"):
        store[3]


def test_the_loader_needs_a_store():
    with pytest.raises(InputError, match="SliceLoader needs a SliceStore, got SliceDataset"):
        SliceLoader(SliceDataset([volume_case()], Compose([])))
