# SPDX-License-Identifier: Apache-2.0
"""Training from a teacher cache: equal to training beside the teacher, and never from stale maps."""

from __future__ import annotations

import copy
import json
import logging
import shutil
from collections import namedtuple

import pytest
import torch
from ignite.engine import Events
from monai.transforms import Compose, RandAffined, RandFlipd, RandGaussianNoised, RandRotate90d, ScaleIntensityd
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from akd_monai.data import KeyedSampler, SliceDataset, SliceLoader, SliceStore
from akd_monai.engines import DistillationTrainer
from akd_monai.errors import InputError, UnknownNameError
from akd_monai.handlers import KeyedRandomness
from akd_monai.losses import DistillationCriterion

BOTH = ("image", "label")
SIZE = 11
VIEWS = (RandFlipd(BOTH, spatial_axis=0, prob=0.5), RandRotate90d(BOTH, prob=0.75, max_k=3))
Steps = namedtuple("Steps", "terms trainer student images")


class Net(nn.Module):
    """Two convolutions with batch normalisation and dropout between them; the stride leaves odd features."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1, stride=2), nn.BatchNorm2d(width), nn.ReLU(), nn.Dropout2d(0.2)
        )
        self.up = nn.ConvTranspose2d(width, width, 3, stride=2, padding=1)
        self.head = nn.Conv2d(width, classes, 3, padding=1)
        self.gain = 1.0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.gain * self.head(self.up(self.body(x)))


def cases(classes=2, shift=0.0):
    generator = torch.Generator().manual_seed(1)
    found = []
    for number in range(2):
        image = torch.rand((1, SIZE, SIZE, 4), generator=generator) + shift
        label = (image * classes).long().clamp(0, classes - 1).float()
        found.append({"image": image, "label": label, "case_id": f"A/{number}"})
    return found


def all_terms(affinity="body"):
    return [
        {"name": "logits", "loss": "logits", "weight": 0.2},
        {
            "name": "gram",
            "loss": "gram",
            "weight": 0.9,
            "student_layer": "body",
            "teacher_layer": "body",
            "adapter": "conv1x1",
        },
        {"name": "affinity", "loss": "affinity", "weight": 0.9, "student_layer": affinity},
    ]


def networks(classes=2):
    torch.manual_seed(0)
    return Net(4, classes), Net(6, classes)


def run(
    cache=None, *, classes=2, steps=50, terms=None, transforms=VIEWS, teacher=None, data=None, identify=False, workers=0,
    dataset=None, kind=DataLoader, **options
):  # fmt: skip
    student, fresh = networks(classes)
    teacher = teacher or fresh
    images = []
    watch = teacher.register_forward_pre_hook(lambda _, given: images.append(len(given[0])))
    dataset = dataset or SliceDataset(
        data or cases(classes), Compose(list(transforms)), background_ratio=None, identify=identify
    )
    sampler = KeyedSampler(dataset, seed=3, num_samples=20)
    loader = kind(dataset, batch_size=4, sampler=sampler, drop_last=True, num_workers=workers)
    trainer = DistillationTrainer(
        teacher=teacher,
        distillation=DistillationCriterion(all_terms() if terms is None else terms),
        input_shape=(1, SIZE, SIZE),
        teacher_options={"cache_dir": cache, **options},
        device="cpu",
        max_epochs=-(-steps // 5),
        train_data_loader=loader,
        network=student,
        optimizer=torch.optim.Adam(student.parameters(), lr=0.01),
        loss_function=lambda logits, label: F.cross_entropy(logits, label[:, 0].long()),
        train_handlers=[KeyedRandomness(seed=1, sampler=sampler, batch_size=4)],
        decollate=False,
    )
    seen = []
    trainer.add_event_handler(
        Events.ITERATION_COMPLETED, lambda e: seen.append({k: float(v) for k, v in e.state.loss_terms.items()})
    )
    trainer.run()
    watch.remove()
    return Steps(seen, trainer, student, sum(images))


def equal(one, other):
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


def close(one, other, tolerance=1e-5):
    assert len(one) == len(other) > 0
    for a, b in zip(one, other, strict=True):
        assert a.keys() == b.keys()
        for name in a:
            assert a[name] == pytest.approx(b[name], rel=tolerance, abs=1e-9), name


@pytest.mark.parametrize("classes", [2, 3])
def test_every_term_of_50_steps_equals_the_online_run_and_a_second_run_needs_no_teacher(tmp_path, classes):
    online = run(classes=classes)
    filling = run(tmp_path, classes=classes)
    filled = run(tmp_path, classes=classes)
    assert len(online.terms) == 50
    assert set(online.terms[0]) == {"task", "logits", "gram", "affinity"}
    assert online.terms == filling.terms == filled.terms  # exactly: a float32 cache keeps every bit
    assert online.images > 200
    # two volumes of four slices in eight views, each at most once, and one image to learn the shapes
    assert filling.images - 1 <= 64
    assert filled.images == filled.trainer.teacher_source.computed == 0
    assert filled.trainer.teacher_source.served == 200
    assert equal(online.student, filled.student)


def test_another_student_and_method_share_the_cache(tmp_path):
    run(tmp_path)
    assert run(tmp_path, terms=all_terms("up")[::2]).images == 0
    labels = run(tmp_path, terms=all_terms()[2:])
    assert labels.images == 0
    assert labels.trainer.teacher_source.labels_only
    close(labels.terms, run(terms=all_terms()[2:]).terms)


def test_a_layer_that_the_cache_lacks_is_added_to_it(tmp_path):
    run(tmp_path, terms=all_terms()[:1])
    added = run(tmp_path)
    assert added.images > 0
    close(added.terms, run().terms)
    assert run(tmp_path).images == 0


def test_workers_change_nothing(tmp_path):
    one = run(tmp_path, steps=10)
    assert one.terms == run(tmp_path, steps=10, workers=2).terms
    assert one.terms == run(tmp_path, steps=10, identify=True).terms


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_batches_of_the_slice_store_are_served(tmp_path, dtype):
    def store():
        return SliceStore(cases(), Compose([]), background_ratio=None, dtype=dtype)

    online, filling, filled = (
        run(cache, steps=10, dataset=store(), kind=SliceLoader) for cache in (None, *[tmp_path] * 2)
    )
    close(online.terms, filling.terms)
    assert filled.terms == filling.terms
    assert filled.images == 0


@pytest.mark.parametrize("what", ["weight", "buffer", "structure", "setting", "volume", "transform"])
def test_what_has_changed_is_made_again(tmp_path, what):
    run(tmp_path, steps=10)
    teacher, data, transforms = networks()[1], cases(), VIEWS
    if what == "weight":
        teacher.head.weight.data[0, 0, 0, 0] += 1.0
    elif what == "buffer":
        teacher.body[1].running_var *= 2
    elif what == "structure":
        teacher.body[2] = nn.LeakyReLU(0.3)
    elif what == "setting":
        teacher.gain = 3.0
    elif what == "volume":
        data[0]["image"][0, 5, 5] += 1.0
        data[1]["image"][0, 5, 5] += 1.0
    else:
        transforms = (ScaleIntensityd("image"), *VIEWS)
    same = {"teacher": teacher, "data": data, "transforms": transforms, "steps": 10}
    changed = run(tmp_path, **same)
    online = run(**{**same, "teacher": copy.deepcopy(teacher)})
    assert changed.images > 0
    close(online.terms, changed.terms)


def test_a_weight_that_changes_after_the_trainer_was_made_is_noticed(tmp_path):
    teacher = networks()[1]
    first = run(tmp_path, steps=5, teacher=teacher)
    teacher.head.bias.data += 1
    first.trainer.state.max_epochs = 2
    before = first.trainer.teacher_source.computed
    first.trainer.run()
    assert first.trainer.teacher_source.computed > before


def test_half_precision_changes_each_term_by_little_and_the_affinity_not_at_all(tmp_path):
    online, half = run(steps=5), run(tmp_path, steps=5, cache_dtype="float16")
    assert online.terms[0]["affinity"] == pytest.approx(half.terms[0]["affinity"], rel=1e-6)
    for name in ("logits", "gram"):
        assert online.terms[0][name] == pytest.approx(half.terms[0][name], rel=2e-3)
        assert online.terms[0][name] != half.terms[0][name]
    assert run(tmp_path, steps=5, cache_dtype="float16").terms == half.terms


def test_a_killed_run_leaves_a_cache_that_the_next_one_goes_on_with(tmp_path):
    whole = run(tmp_path / "whole", steps=20)
    part = run(tmp_path / "part", steps=5)
    for rows in (tmp_path / "part").rglob("rows.bin"):
        with open(rows, "ab") as stream:
            stream.write(b"half a row")
    resumed = run(tmp_path / "part", steps=20)
    assert resumed.terms == whole.terms
    assert equal(resumed.student, whole.student)
    assert part.images + resumed.images == whole.images


def test_the_size_is_told_before_anything_is_written(tmp_path, caplog, monkeypatch):
    with caplog.at_level(logging.INFO):
        run(tmp_path / "a", steps=5, terms=all_terms()[:1], cache_dtype="float16")
    # 121 differences of two bytes and 121 bits, each a multiple of 8: 248 + 16; 20 draws are fewer than 64 views
    assert "264 B for each view of a slice, at most 20 of them to come, 5.28 kB" in caplog.text
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage._replace(free=20 * 264 - 1))
    with pytest.raises(InputError, match="are free: make room, give another folder, set cache_dtype to float16"):
        run(tmp_path / "b", steps=5, terms=all_terms()[:1], cache_dtype="float16")
    assert not (tmp_path / "b").exists()
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage._replace(free=20 * 264))
    run(tmp_path / "b", steps=5, terms=all_terms()[:1], cache_dtype="float16")


def test_the_folder_says_what_it_holds(tmp_path):
    run(tmp_path, steps=5)
    told = {
        json.loads(path.read_text())["layer"]: json.loads(path.read_text()) for path in tmp_path.rglob("about.json")
    }
    assert told[""]["shape"] == [2, SIZE, SIZE]
    assert told["body"]["shape"] == [6, 6, 6]
    assert told[""]["teacher"] == told["body"]["teacher"]
    assert len(told[""]["teacher"]["weights"]) == 64


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"shape": 3}', '{"shape": ["x"]}'])
def test_a_damaged_description_is_made_again(tmp_path, caplog, damage):
    first = run(tmp_path, steps=5)
    files = sorted(tmp_path.rglob("about.json"))
    whole = [path.read_bytes() for path in files]
    for path in files:
        path.write_text(damage)
    again = run(tmp_path, steps=5)
    assert again.terms == first.terms
    assert caplog.text.count("about.json is damaged and is made again") == len(files) == 2
    assert [path.read_bytes() for path in files] == whole
    assert again.images <= 2  # one to learn the shapes, one to write them down
    assert run(tmp_path, steps=5).images == 0


def test_a_folder_that_cannot_be_written_to_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(
        InputError, match=r"cannot write to the teacher cache .*file/.*: make room or give another folder"
    ):
        run(tmp_path / "file", steps=5)


def test_other_random_transforms_are_refused(tmp_path):
    noisy = (*VIEWS, RandGaussianNoised("image", prob=1.0))
    with pytest.raises(InputError, match=r"slice \d of case A/\d was changed by more than flips and quarter turns"):
        run(tmp_path, transforms=noisy)
    assert not list(tmp_path.iterdir())


def test_a_data_set_that_does_not_name_its_slices_is_refused(tmp_path):
    class Nameless(Dataset):
        """What another data set would give: images and labels."""

        def __init__(self):
            self.slices = SliceDataset(cases(), Compose([]), background_ratio=None)

        def __len__(self):
            return len(self.slices)

        def __getitem__(self, index):
            return {key: self.slices[index][key] for key in BOTH}

    with pytest.raises(InputError, match=r"which this data set does not give: use akd_monai\.data.SliceDataset or"):
        run(tmp_path, dataset=Nameless())


def test_an_image_that_is_not_what_its_view_says_is_refused(tmp_path):
    class Liar(SliceDataset):
        def __getitem__(self, index):
            item = super().__getitem__(index)
            return item | {"image": item["image"] + index[0]}

    liar = Liar(cases(), Compose(list(VIEWS)), background_ratio=None, identify=True)
    with pytest.raises(InputError, match=r"slice \d of case A/\d in view \d is not the image that the teacher saw"):
        run(tmp_path, dataset=liar)


def test_half_differences_are_refused_for_a_loss_that_needs_logits(tmp_path):
    terms = [{"name": "mse", "loss": nn.MSELoss(), "weight": 1.0}]
    with pytest.raises(InputError, match=r"term 'mse' needs the teacher's logits as they are.*cache_dtype to float32"):
        run(tmp_path, terms=terms, cache_dtype="float16")
    close(run(terms=terms, steps=10).terms, run(tmp_path, terms=terms, steps=10).terms)


WARP = {"rotate_range": 0.3, "mode": ("bilinear", "nearest", "bilinear"), "padding_mode": "border"}
MOVED = (*BOTH, "teacher")


def test_warped_maps_equal_the_online_run_where_nothing_is_warped(tmp_path):
    terms = all_terms()[::2]
    still = (RandAffined(MOVED, prob=0.0, allow_missing_keys=True, **WARP),)
    first = run(tmp_path, steps=10, terms=terms, transforms=still, cache_mode="warped")
    close(run(steps=10, terms=terms, transforms=still).terms, first.terms)
    assert first.trainer.teacher_source.computed == 8
    again = run(tmp_path, steps=10, terms=terms, transforms=still, cache_mode="warped", workers=1)
    assert again.images == 0
    assert again.terms == first.terms


def test_the_size_of_warped_maps_is_that_of_the_unchanged_slices(tmp_path, monkeypatch):
    # 8 slices of two float32 logits and a bit for 121 pixels: 968 + 16 bytes each, whatever the views and the draws
    still = (RandAffined(MOVED, prob=0.0, allow_missing_keys=True, **WARP),)
    options = {"steps": 5, "terms": all_terms()[:1], "transforms": still, "cache_mode": "warped"}
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage._replace(free=8 * 984 - 1))
    with pytest.raises(InputError, match=r"at most 8 of them to come, 7.87 kB, but 7.87 kB are free"):
        run(tmp_path, **options)
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage._replace(free=8 * 984))
    run(tmp_path, **options)


def test_warped_maps_move_with_the_image(tmp_path):
    """A pointwise teacher commutes with flips and turns, so that its warped maps are exact."""
    turned = tuple(type(t)(MOVED, allow_missing_keys=True, **o) for t, o in zip(
        VIEWS, ({"spatial_axis": 0, "prob": 0.5}, {"prob": 0.75, "max_k": 3}), strict=True))  # fmt: skip
    torch.manual_seed(4)
    teacher = nn.Conv2d(1, 2, 1)
    options = {"steps": 10, "terms": all_terms()[::2], "transforms": turned, "teacher": teacher}
    close(run(**options).terms, run(tmp_path, cache_mode="warped", **options).terms)


def test_warped_maps_move_with_whole_batches(tmp_path):
    """A pointwise teacher commutes with interpolation, too: what is between two pixels is a mean of what they are."""

    def store():
        ranges = {"rotate_range": 0.3, "scale_range": 0.2, "translate_range": 1.0}
        return SliceStore(cases(), Compose([]), background_ratio=None, dtype="float32", affine={"prob": 0.7, **ranges})

    torch.manual_seed(4)
    teacher = nn.Conv2d(1, 2, 1)
    options = {"steps": 10, "terms": all_terms()[:1], "teacher": teacher, "kind": SliceLoader}
    online, warped = run(dataset=store(), **options), run(tmp_path, dataset=store(), cache_mode="warped", **options)
    close(online.terms, warped.terms)
    assert warped.trainer.teacher_source.computed == 8
    with pytest.raises(InputError, match=r"was changed by more than flips and quarter turns"):
        run(tmp_path, dataset=store(), **options)


def test_warping_needs_the_maps_to_move_and_no_features(tmp_path):
    alone = (RandAffined(BOTH, prob=1.0, rotate_range=0.3),)
    with pytest.raises(InputError, match="RandAffined changes 'image' but not 'teacher'"):
        run(tmp_path, transforms=alone, terms=all_terms()[:1], cache_mode="warped")
    with pytest.raises(InputError, match=r"layers \['body'\], which cannot be warped"):
        run(tmp_path, cache_mode="warped")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"cache_dtype": "float64"}, InputError, "cache_dtype of teacher_options must be 'float32' or 'float16'"),
        ({"cache_mode": "views"}, InputError, "cache_mode of teacher_options must be 'exact' or 'warped'"),
        ({"chanels_last": True}, UnknownNameError, "no 'chanels_last'. Did you mean 'channels_last'"),
    ],
)
def test_options_are_checked(tmp_path, options, error, message):
    with pytest.raises(error, match=message):
        run(tmp_path, **options)
