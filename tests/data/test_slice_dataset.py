# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import logging
import pickle
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.transforms import (
    Compose,
    EnsureChannelFirstd,
    EnsureTyped,
    Lambdad,
    LoadImaged,
    Orientationd,
    RandCropByPosNegLabeld,
    RandFlipd,
    RandGaussianNoised,
    RandSpatialCropd,
    Resized,
)

from akd_monai.data import KeyedSampler, SliceDataset, read_cases
from akd_monai.errors import InputError
from akd_monai.keys import random_key

REAL = Path(__file__).parents[3] / "shared" / "data" / "six-site-mini192"
BOTH = ("image", "label")
RANDOM = [RandFlipd(BOTH, spatial_axis=0, prob=0.5), RandGaussianNoised("image", prob=0.5)]


def volume_case(name: str, foreground: list[int], depth: int = 8, size: int = 6) -> dict:
    """A case in memory; pixel values say which slice they are of, the label marks one pixel of foreground slices."""
    image = torch.arange(depth, dtype=torch.float32).expand(1, size, size, depth).clone()
    image[0, 0] += 0.25  # so that a flip is seen
    label = torch.zeros(1, size, size, depth)
    label[0, 1, 2, foreground] = 1
    return {"image": image, "label": label, "case_id": name, "site": name.split("/")[0]}


def positions(dataset: SliceDataset) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for number in range(len(dataset)):
        item = dataset[number]
        found.setdefault(item["case_id"], []).append(item["slice_index"])
    return found


def write_case(folder: Path, name: str, seed: int, depth: int = 5, size: int = 16) -> dict[str, str]:
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(seed)
    image = generator.normal(size=(size, size, depth)).astype(np.float32)
    label = np.zeros(image.shape, np.uint8)
    label[4:9, 5:8, 1:-1] = 1
    paths = {"image": folder / f"{name}.nii.gz", "label": folder / f"{name}_segmentation.nii.gz"}
    nib.save(nib.Nifti1Image(image, np.diag([-1, -1, 3, 1])), paths["image"])
    nib.save(nib.Nifti1Image(label, np.diag([-1, -1, 3, 1])), paths["label"])
    return {key: str(path) for key, path in paths.items()}


def load(*more) -> Compose:
    return Compose([LoadImaged(BOTH), EnsureChannelFirstd(BOTH), Orientationd(BOTH, "RAS", labels=None), *more])


def test_items_are_slices_of_the_right_volume_and_place():
    cases = [volume_case("A/0", [2, 3]), volume_case("A/1", [5])]
    dataset = SliceDataset(cases, Compose([EnsureTyped(BOTH)]), background_ratio=0)
    assert dataset.data is cases
    assert positions(dataset) == {"A/0": [2, 3], "A/1": [5]}
    item = dataset[1]
    assert type(item["image"]) is type(item["label"]) is torch.Tensor
    torch.testing.assert_close(item["image"], cases[0]["image"][..., 3])
    torch.testing.assert_close(item["label"], cases[0]["label"][..., 3])
    assert set(item) == {"image", "label", "case_id", "slice_index"}


@pytest.mark.parametrize(("ratio", "background"), [(0, 0), (0.5, 2), (1.0, 4), (9, 6), (None, 6)])
def test_background_slices_are_kept_in_proportion(ratio, background):
    dataset = SliceDataset([volume_case("A/0", [2, 3, 4, 5], depth=10)], Compose([]), background_ratio=ratio)
    kept = positions(dataset)["A/0"]
    assert {2, 3, 4, 5} <= set(kept)
    assert len(kept) == 4 + background == len(set(kept))


def test_the_choice_of_background_depends_on_seed_and_case_alone():
    def kept(*names: str, seed: int = 0) -> list[int]:
        cases = [volume_case(name, [10], depth=40) for name in names]
        return positions(SliceDataset(cases, Compose([]), background_ratio=5, seed=seed))["A/0"]

    assert kept("A/0") == kept("A/1", "A/0")
    assert kept("A/0") != kept("A/0", seed=1)


def test_without_any_foreground_all_slices_are_kept_with_a_warning(caplog):
    with caplog.at_level(logging.WARNING):
        dataset = SliceDataset([volume_case("A/0", []), volume_case("A/1", [])], Compose([]))
    assert "no slice of 2 cases holds foreground" in caplog.text
    assert len(dataset) == 16


def test_an_empty_mask_beside_others_gives_no_slice():
    dataset = SliceDataset([volume_case("A/0", []), volume_case("A/1", [1])], Compose([]), background_ratio=1)
    assert list(positions(dataset)) == ["A/1"]


def test_cases_without_label_keep_all_slices_but_not_beside_labelled_ones():
    unlabelled = [{"image": volume_case("A/0", [])["image"]} for _ in range(2)]
    dataset = SliceDataset(unlabelled, Compose([RandFlipd("image", prob=1.0)]))
    assert len(dataset) == 16
    assert set(dataset[3]) == {"image", "case_id", "slice_index"}
    with pytest.raises(InputError, match="case A/0 has no 'label', other cases have one"):
        SliceDataset([{**unlabelled[0], "case_id": "A/0"}, volume_case("A/1", [1])], Compose([]))


def test_random_transforms_are_a_function_of_seed_epoch_and_index():
    cases = [volume_case("A/0", list(range(8)))]
    one, two = (SliceDataset(cases, Compose([EnsureTyped(BOTH), *RANDOM]), seed=4) for _ in range(2))
    items = {(e, i): one[(e, i)] for e in range(3) for i in range(8)}
    for pair in reversed(list(items)):
        torch.testing.assert_close(two[pair]["image"], items[pair]["image"], rtol=0, atol=0)
    torch.testing.assert_close(one[5]["image"], items[(0, 5)]["image"], rtol=0, atol=0)
    torch.testing.assert_close(one[-3]["image"], items[(0, 5)]["image"], rtol=0, atol=0)
    assert any(not torch.equal(items[(0, i)]["image"], items[(1, i)]["image"]) for i in range(8))
    other = SliceDataset(cases, Compose([EnsureTyped(BOTH), *RANDOM]), seed=5)
    assert any(not torch.equal(items[(0, i)]["image"], other[i]["image"]) for i in range(8))


def test_the_seed_of_a_slice_is_keyed_by_seed_epoch_and_index():
    cases = [volume_case("A/0", list(range(8)))]
    noise = Compose([RandGaussianNoised("image", prob=1.0)])
    expected = Compose([RandGaussianNoised("image", prob=1.0)])
    expected.set_random_state(seed=random_key(2, 6, 3))
    wanted = expected({"image": cases[0]["image"][..., 3]})["image"]
    torch.testing.assert_close(SliceDataset(cases, noise, seed=2)[(6, 3)]["image"], wanted, rtol=0, atol=0)


def test_indices_past_the_end_are_the_same_slices_with_another_seed():
    dataset = SliceDataset(
        [volume_case("A/0", [1, 2])], Compose([RandGaussianNoised("image", prob=1.0)]), background_ratio=0
    )
    first, again = dataset[(0, 1)], dataset[(0, 3)]
    assert first["slice_index"] == again["slice_index"] == 2
    assert not torch.equal(first["image"], again["image"])
    with pytest.raises(IndexError):
        dataset[2]
    assert len(list(dataset)) == 2  # iteration ends


def test_image_and_label_are_moved_together():
    cases = [volume_case("A/0", [4])]
    dataset = SliceDataset(cases, Compose([RandFlipd(BOTH, spatial_axis=0, prob=0.5)]), background_ratio=0)
    for epoch in range(6):
        item = dataset[(epoch, 0)]
        flipped = bool(item["image"][0, -1, 0] == 4.25)
        assert bool(item["label"][0, -2, 2]) is flipped
        assert bool(item["label"][0, 1, 2]) is not flipped


def test_an_item_may_be_changed_without_touching_the_volume():
    dataset = SliceDataset([volume_case("A/0", [1])], Compose([]), background_ratio=0)
    dataset[0]["image"].fill_(99)
    assert dataset[0]["image"].max() < 99


def test_nested_compositions_run_once_a_volume_up_to_the_first_random_transform():
    calls: list[torch.Size] = []

    class Count(EnsureTyped):
        def __call__(self, data, lazy=None):
            calls.append(data["image"].shape)
            return super().__call__(data)

    transform = Compose([Compose([Count(BOTH)]), RandFlipd(BOTH, prob=0.5), Count(BOTH)])
    dataset = SliceDataset([volume_case("A/0", list(range(8)))], transform)
    assert calls == [torch.Size([1, 6, 6, 8])]
    dataset[0]
    assert calls[1:] == [torch.Size([1, 6, 6])]


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_nothing(tmp_path, workers):
    cases = [write_case(tmp_path / "A", f"Case0{n}", n) for n in range(2)]
    for cache_dir in (None, tmp_path / "cache"):
        dataset = SliceDataset(cases, load(*RANDOM), seed=1, cache_dir=cache_dir)
        sampler = KeyedSampler(dataset, seed=1, num_samples=2 * len(dataset))
        batches = []
        for count in (0, workers):
            sampler.epoch = 7
            loader = torch.utils.data.DataLoader(
                dataset, sampler=sampler, batch_size=3, drop_last=True, num_workers=count
            )
            batches.append(list(loader))
        assert len(batches[0]) == len(dataset) * 2 // 3
        for alone, shared in zip(*batches, strict=True):
            torch.testing.assert_close(alone["image"], shared["image"], rtol=0, atol=0)
            assert (alone["case_id"], alone["slice_index"].tolist()) == (
                shared["case_id"],
                shared["slice_index"].tolist(),
            )


def test_a_pickled_data_set_gives_the_same_items(tmp_path):
    cases = [write_case(tmp_path / "A", "Case00", 0)]
    dataset = SliceDataset(cases, load(*RANDOM), seed=1, cache_dir=tmp_path / "cache")
    copy = pickle.loads(pickle.dumps(dataset))
    torch.testing.assert_close(copy[(2, 1)]["image"], dataset[(2, 1)]["image"], rtol=0, atol=0)


def test_entries_without_site_and_name_work(tmp_path):
    cases = [write_case(tmp_path / "A", "Case00", 0)]
    assert set(cases[0]) == {"image", "label"}
    assert SliceDataset(cases, load())[0]["case_id"] == "A/Case00"


def test_a_transform_with_several_samples_gives_a_list():
    crop = RandCropByPosNegLabeld(BOTH, "label", (4, 4), num_samples=3)
    items = SliceDataset([volume_case("A/0", [4])], Compose([crop]), background_ratio=0)[0]
    assert [(tuple(i["image"].shape), i["case_id"], i["slice_index"]) for i in items] == [((1, 4, 4), "A/0", 4)] * 3


def test_sizes_must_agree_unless_a_crop_makes_them():
    cases = [volume_case("A/0", [1]), volume_case("B/0", [1], size=7)]
    with pytest.raises(InputError, match=r"case A/0 are \[1, 6, 6\], those of case B/0 \[1, 7, 7\]"):
        SliceDataset(cases, Compose([RandFlipd(BOTH, prob=0.5)]))
    crop = RandSpatialCropd(BOTH, roi_size=(5, 5), random_size=False)
    assert len(SliceDataset(cases, Compose([crop]), background_ratio=0)) == 2


@pytest.mark.fault(
    "Volumes",
    "a damaged file in training",
    injected="truncated, empty, missing or of a wrong checksum",
    outcome="one line names case and file before the first epoch",
)
@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("part", ["image", "label"])
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda p: p.write_bytes(p.read_bytes()[: p.stat().st_size // 2]), "truncated"),
        (lambda p: p.write_bytes(b""), "0 bytes"),
        (lambda p: p.unlink(), "cannot be opened"),
        (lambda p: p.write_bytes(p.read_bytes()[:-6] + b"\x00" * 6), "damaged"),
    ],
    ids=["truncated", "empty", "missing", "checksum"],
)
def test_a_damaged_file_is_named_in_one_line(tmp_path, damage, message, part, cached):
    cases = [{**write_case(tmp_path / "A", f"Case0{n}", n), "case_id": f"A/Case0{n}"} for n in range(2)]
    damage(Path(cases[1][part]))
    with pytest.raises(InputError, match=message) as caught:
        SliceDataset(cases, load(), cache_dir=tmp_path / "cache" if cached else None)
    assert "case A/Case01" in str(caught.value)
    assert cases[1][part] in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_no_image_is_named(tmp_path):
    case = {**write_case(tmp_path / "A", "Case00", 0), "case_id": "A/Case00"}
    Path(case["image"]).write_bytes(b"<html>not found</html>")
    with pytest.raises(InputError, match=r"case A/Case00: file '.*Case00.nii.gz': .*HTML"):
        SliceDataset([case], load())
    wrong = {**case, "image": str(tmp_path / "notes.txt")}
    Path(wrong["image"]).write_text("not an image")
    with pytest.raises(InputError, match=r"case A/Case00 \('.*notes.txt'.*cannot be prepared: ") as caught:
        SliceDataset([wrong], load())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("missing", [100, 3000])
def test_a_truncated_file_without_compression_is_named(tmp_path, missing):
    case = write_case(tmp_path / "A", "Case00", 0)
    image = tmp_path / "A" / "Case00.nii"
    nib.save(nib.load(case["image"]), image)
    image.write_bytes(image.read_bytes()[:-missing])
    with pytest.raises(InputError, match=r"case A/Case00.*A/Case00\.nii'"):
        SliceDataset([{**case, "image": str(image)}], load())


@pytest.mark.fault(
    "Wrong input",
    "a random transform fails",
    injected="it raises for one case",
    outcome="the case is named",
)
def test_a_failing_random_transform_names_the_case():
    def fail(_):
        raise RuntimeError("no such\nluck")

    dataset = SliceDataset([volume_case("A/0", [1])], Compose([RandFlipd("image"), Lambdad("image", fail)]))
    with pytest.raises(InputError, match=r"case A/0 .*RuntimeError: no such luck"):
        dataset[0]


def test_the_first_cause_is_named_and_not_what_was_replaced_on_purpose():
    def fail(_):
        try:
            raise KeyError("inner")
        except KeyError:
            raise RuntimeError("what the user should read") from None

    with pytest.raises(InputError, match=r"case A/0 .*: RuntimeError: what the user should read"):
        SliceDataset([volume_case("A/0", [1])], Compose([EnsureTyped("image"), Lambdad("image", fail)]))


def test_an_identified_slice_names_volume_and_view():
    cases = [volume_case(f"A/{n}", list(range(8))) for n in range(2)]
    cases[1]["image"] += 100
    transform = Compose([EnsureTyped(BOTH), RandFlipd("image", spatial_axis=0, prob=0.5)])
    dataset, later = SliceDataset(cases, transform, identify=True), SliceDataset(cases, transform)
    assert "view" not in later[0]
    later.identify_slices()
    assert later.volume_keys == dataset.volume_keys
    assert len(set(dataset.volume_keys)) == 2
    seen = set()
    for number in range(16):
        item = dataset[(1, number)]
        assert set(item) == {"image", "label", "case_id", "slice_index", "volume_key", "view"}
        assert (item["volume_key"], item["slice_index"]) == (dataset.volume_keys[number // 8], number % 8)
        flipped = bool(item["image"][0, -1, 0] % 1 == 0.25)
        # flipped along H is view 4 by definition, but these images are symmetric: view 2 comes first and is equal
        assert item["view"] == (2 if flipped else 0)
        seen.add(item["view"])
        assert later[(1, number)]["view"] == item["view"]
    assert seen == {0, 2}
    assert (dataset.views, SliceDataset(cases, Compose([EnsureTyped(BOTH)])).views) == (8, 1)


def test_a_changed_value_is_no_view():
    noise = Compose([RandGaussianNoised("image", prob=1.0)])
    assert SliceDataset([volume_case("A/0", [1])], noise, identify=True)[0]["view"] == -1


def test_values_and_grids_are_checked():
    broken = volume_case("A/0", [1])
    broken["image"][0, 0, 0, 3] = float("nan")
    with pytest.raises(InputError, match="case A/0: 'image' holds NaN or Inf"):
        SliceDataset([broken], Compose([]))
    uneven = volume_case("A/0", [1])
    uneven["label"] = uneven["label"][..., :-1]
    with pytest.raises(InputError, match=r"case A/0: sizes \[H, W, D\] differ .*image and mask must lie on one grid"):
        SliceDataset([uneven], Compose([]))
    flat = {"image": torch.zeros(6, 6, 8), "case_id": "A/0"}
    with pytest.raises(InputError, match=r"case A/0: 'image' must be a tensor \[C, H, W, D\]"):
        SliceDataset([flat], Compose([]))
    with pytest.raises(InputError, match="has no slice"):
        SliceDataset([volume_case("A/0", [], depth=0)], Compose([]))
    with pytest.raises(InputError, match="no case to take slices from"):
        SliceDataset([], Compose([]))
    with pytest.raises(InputError, match="background_ratio must be 0 or more"):
        SliceDataset([volume_case("A/0", [1])], Compose([]), background_ratio=-1)


def test_real_slices():
    if not REAL.is_dir():
        pytest.skip("skipped: ../shared/data is not here")
    cases = read_cases(REAL, ["I2CVB"])
    dataset = SliceDataset(cases, load(Resized(BOTH, (64, 64, -1), mode=("trilinear", "nearest-exact")), *RANDOM))
    assert len(dataset) == 10
    direct = load()(dict(cases[0]))
    plain = SliceDataset(cases, load(), background_ratio=None)
    torch.testing.assert_close(plain[2]["image"], direct["image"].as_tensor()[..., 2], rtol=0, atol=0)
    torch.testing.assert_close(plain[2]["label"], direct["label"].as_tensor()[..., 2], rtol=0, atol=0)
