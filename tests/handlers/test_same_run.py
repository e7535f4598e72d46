# SPDX-License-Identifier: Apache-2.0
"""A run is resumed only as the same run: what changes its result is refused in words, what may change is not."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from ignite.engine import Events
from monai.data import CacheDataset, DataLoader
from monai.engines import SupervisedEvaluator
from monai.handlers import LrScheduleHandler, MeanDice, ValidationHandler, from_engine
from monai.inferers import SliceInferer
from monai.losses import DiceFocalLoss
from monai.transforms import (
    AsDiscreted,
    Compose,
    EnsureChannelFirstd,
    LoadImaged,
    RandFlipd,
    RandRotate90d,
    Resized,
    ScaleIntensityRangePercentilesd,
)
from torch import nn

from akd_monai.data import KeyedSampler, SliceDataset, fingerprint
from akd_monai.engines import DistillationTrainer, lr_schedule
from akd_monai.errors import InputError
from akd_monai.files import save_atomic
from akd_monai.handlers import History, KeyedRandomness, Progress, ResumableCheckpoint, SaveBestModel
from akd_monai.losses import DistillationCriterion

KEYS = ("image", "label")
DEFAULTS = {
    "epochs": 1,
    "workers": 0,
    "batch": 4,
    "drop_last": True,
    "gamma": 2.0,
    "temperature": 1.0,
    "margin": 3.0,
    "weight": 0.2,
    "flip": 0.5,
    "axis": 0,
    "rotate": False,
    "upper": 99.5,
    "mode": "trilinear",
    "background": 0.25,
    "cache_dir": None,
    "seed": 3,
    "samples": None,
    "optimizer": torch.optim.Adam,
    "lr": 0.01,
    "decay": 0.0,
    "schedule": "cosine",
    "dropout": 0.1,
    "frozen": False,
    "teacher_seed": 1,
    "channels_last": False,
    "roi": 8,
    "sw_batch": 2,
    "threshold": 0.5,
    "val_interval": 1,
    "accumulate": 1,
    "cases": (0, 1, 2),
    "handlers": (),
}


def write_case(folder, name, seed):
    generator = np.random.default_rng(seed)
    image = generator.random((8, 8, 4)).astype(np.float32)
    mask = np.zeros((8, 8, 4), np.uint8)
    mask[2:5, 2:6, 1:3] = 1
    for suffix, array in (("", image), ("_segmentation", mask)):
        nib.save(nib.Nifti1Image(array, np.eye(4)), folder / f"{name}{suffix}.nii")


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data" / "BMC"
    folder.mkdir(parents=True)
    for number in range(3):
        write_case(folder, f"Case0{number}", number)
    return folder


def cases_of(folder, numbers):
    cases = []
    for number in numbers:
        stem = f"Case0{number}"
        files = {"image": str(folder / f"{stem}.nii"), "label": str(folder / f"{stem}_segmentation.nii")}
        cases.append({**files, "case_id": f"BMC/{stem}"})
    return cases


def net(dropout, seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.Dropout(dropout), nn.Conv2d(4, 2, 1))


def transforms(c):
    fixed = [
        LoadImaged(KEYS),
        EnsureChannelFirstd(KEYS),
        Resized(KEYS, (8, 8, -1), mode=(c["mode"], "nearest-exact")),
        ScaleIntensityRangePercentilesd("image", 0.5, c["upper"], 0.0, 1.0, clip=True),
        AsDiscreted("label", threshold=c["threshold"]),
    ]
    return fixed, [
        RandFlipd(KEYS, prob=c["flip"], spatial_axis=c["axis"]),
        *([RandRotate90d(KEYS)] if c["rotate"] else []),
    ]


def terms(c):
    logits = {"name": "logits", "loss": "logits", "weight": c["weight"], "options": {"temperature": c["temperature"]}}
    affinity = {"name": "affinity", "loss": "affinity", "weight": 0.9, "options": {"margin": c["margin"]}}
    return DistillationCriterion([logits, affinity])


def training(output_dir, data, **changes):
    assert changes.keys() <= DEFAULTS.keys()
    c = {**DEFAULTS, **changes}
    fixed, random = transforms(c)
    cases = cases_of(data, c["cases"])
    dataset = SliceDataset(
        cases, Compose([*fixed, *random]), seed=c["seed"], background_ratio=c["background"], cache_dir=c["cache_dir"]
    )
    sampler = KeyedSampler(dataset, seed=c["seed"], num_samples=c["samples"])
    loader = DataLoader(
        dataset, batch_size=c["batch"], sampler=sampler, num_workers=c["workers"], drop_last=c["drop_last"]
    )
    student = net(c["dropout"])
    student[0].weight.requires_grad_(not c["frozen"])
    optimizer = c["optimizer"](student.parameters(), lr=c["lr"], weight_decay=c["decay"])
    scheduled = []
    if c["schedule"] is not None:
        schedule = lr_schedule(optimizer, c["schedule"], total_iterations=c["epochs"] * len(loader))
        scheduled.append(LrScheduleHandler(schedule, print_lr=False, epoch_level=False))
    evaluator = SupervisedEvaluator(
        device="cpu",
        val_data_loader=DataLoader(CacheDataset(cases[:1], Compose(fixed), progress=False), batch_size=1),
        network=student,
        inferer=SliceInferer(roi_size=(c["roi"], c["roi"]), sw_batch_size=c["sw_batch"], spatial_dim=2),
        postprocessing=Compose([AsDiscreted("pred", argmax=True), AsDiscreted("label", threshold=c["threshold"])]),
        key_val_metric={"dice": MeanDice(output_transform=from_engine(["pred", "label"]))},
        val_handlers=[SaveBestModel(student, Path(output_dir) / "model.pt")],
    )
    return DistillationTrainer(
        device="cpu",
        max_epochs=c["epochs"],
        train_data_loader=loader,
        network=student,
        optimizer=optimizer,
        loss_function=DiceFocalLoss(to_onehot_y=True, softmax=True, gamma=c["gamma"]),
        teacher=net(0.0, seed=c["teacher_seed"]),
        distillation=terms(c),
        teacher_options={"channels_last": c["channels_last"]},
        accumulation_steps=c["accumulate"],
        train_handlers=[
            KeyedRandomness(c["seed"], sampler, c["batch"]),
            *scheduled,
            ValidationHandler(interval=c["val_interval"], validator=evaluator),
            ResumableCheckpoint(output_dir),
            *c["handlers"],
        ],
    )


def saved(folder):
    return torch.load(folder / "resume.pt", weights_only=True)


@pytest.mark.fault(
    "The same run, or none",
    "resumed with another configuration",
    injected="28 changes: loss, terms, optimizer, schedule, transforms, sampler, network, teacher, validation",
    outcome="refused; what differs is named with both values",
)
@pytest.mark.parametrize(
    ("change", "phrase"),
    [
        ({"gamma": 3.0}, r"loss\.\S*gamma \(was 2\.0, is 3\.0\)"),
        ({"temperature": 2.0}, r"terms\.logits\.loss\.temperature \(was 1\.0, is 2\.0\)"),
        ({"margin": 1.0}, r"terms\.affinity\.loss\.margin \(was 3\.0, is 1\.0\)"),
        ({"weight": 0.3}, r"terms\.logits\.weight \(was 0\.2, is 0\.3\)"),
        ({"flip": 0.25}, r"train\.dataset\.random\.transforms\.RandFlipd\.prob \(was 0\.5, is 0\.25\)"),
        ({"axis": 1}, r"RandFlipd\.\S*spatial_axis \(was 0, is 1\)"),
        ({"rotate": True}, r"transforms\.RandRotate90d \(was absent, is "),
        ({"upper": 98.0}, r"ScaleIntensityRangePercentilesd\.scaler\.upper \(was 99\.5, is 98\.0\)"),
        ({"mode": "area"}, r"Resized\.mode \(was \['trilinear', .*'area'"),
        ({"background": 1.0}, r"train\.dataset\.slices \(was "),
        ({"seed": 4}, r"train\.sampler\.seed \(was 3, is 4\)"),
        ({"samples": 4}, r"epoch_length|train\.sampler\.num_samples \(was None, is 4\)"),
        ({"batch": 2}, r"train\.batch_size \(was 4, is 2\)"),
        ({"drop_last": False}, r"train\.drop_last \(was True, is False\)"),
        ({"optimizer": torch.optim.AdamW}, r"optimizer\.class \(was 'Adam', is 'AdamW'\)"),
        ({"lr": 0.02}, r"optimizer\.lr \(was 0\.01, is 0\.02\)"),
        ({"decay": 0.1}, r"optimizer\.weight_decay \(was 0\.0, is 0\.1\)"),
        ({"schedule": "cyclic"}, r"schedules\."),
        ({"schedule": "cyclic", "epochs": 2}, r"schedules\."),
        ({"dropout": 0.3}, r"network\.1\.p \(was 0\.1, is 0\.3\)"),
        ({"frozen": True}, r"network\.frozen \(was \[\], is \['0\.weight'\]\)"),
        ({"teacher_seed": 2}, r"teacher\.weights \(was "),
        ({"channels_last": True}, r"teacher\.options\.channels_last \(was False, is True\)"),
        ({"accumulate": 2}, r"trainer\.accumulation_steps \(was 1, is 2\)"),
        ({"roi": 4}, r"validation\.SupervisedEvaluator\.inferer\.roi_size \(was \[8, 8\], is \[4, 4\]\)"),
        ({"threshold": 0.25}, r"AsDiscreted\.threshold \(was \[0\.5\], is \[0\.25\]\)"),
        ({"cases": (0, 1)}, r"train\.dataset\.data\.BMC/Case02 \(was .*is absent\)"),
        ({"cases": (1, 0, 2)}, r"train\.dataset\.data\.order \(was "),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_what_changes_the_result_is_refused_in_words(tmp_path, data, change, phrase):
    training(tmp_path / "run", data).run()
    before = (tmp_path / "run" / "resume.pt").read_bytes()
    changed = training(tmp_path / "run", data, **change)
    with pytest.raises(InputError, match=rf"belongs to another run, which differs in .*{phrase}"):
        changed.run()
    assert (tmp_path / "run" / "resume.pt").read_bytes() == before


@pytest.mark.fault(
    "The same run, or none",
    "an image or mask is exchanged between stop and resume",
    injected="voxels rolled, size and time of the file unchanged",
    outcome="refused; the case is named",
)
@pytest.mark.parametrize("which", ["Case01_segmentation.nii", "Case01.nii"])
@pytest.mark.parametrize("cached", [False, True])
def test_a_file_of_equal_size_that_was_exchanged_is_noticed(tmp_path, data, which, cached):
    options = {"cache_dir": tmp_path / "cache" if cached else None}
    training(tmp_path / "run", data, **options).run()
    path = data / which
    before = path.stat()
    volume = nib.load(path)
    rolled = np.roll(np.asanyarray(volume.dataobj), 2, axis=0)
    nib.save(nib.Nifti1Image(rolled, volume.affine, volume.header), path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    key = "label" if "segmentation" in which else "image"
    with pytest.raises(InputError, match=rf"train\.dataset\.data\.BMC/Case01\.{key} \(was '\w{{16}}', is '\w{{16}}'\)"):
        training(tmp_path / "run", data, **options).run()


def test_what_may_change_does_not_stop_a_resume(tmp_path, data, caplog):
    training(tmp_path / "run", data).run()
    shutil.move(tmp_path / "run", tmp_path / "moved")
    shutil.move(data, tmp_path / "elsewhere")
    resumed = training(
        tmp_path / "moved",
        tmp_path / "elsewhere",
        epochs=2,
        workers=1,
        cache_dir=tmp_path / "cache",
        val_interval=2,
        sw_batch=1,
        handlers=[History(tmp_path / "moved" / "history.jsonl"), Progress()],
    )
    caplog.set_level("INFO")
    resumed.run()
    assert resumed.state.epoch == 2
    assert (
        "with another number of epochs the schedule is another: schedules.CosineAnnealingLR.T_max (was " in caplog.text
    )


def test_a_run_without_a_schedule_is_given_more_epochs(tmp_path, data):
    training(tmp_path, data, schedule=None).run()
    resumed = training(tmp_path, data, schedule=None, epochs=2)
    resumed.run()
    assert resumed.state.epoch == 2
    with pytest.raises(InputError, match=r"differs in .*schedules \(was \[\], is \{'CosineAnnealingLR"):
        training(tmp_path, data, epochs=3).run()


def test_another_device_and_version_are_said_and_accepted(tmp_path, data, caplog, monkeypatch):
    training(tmp_path, data).run()
    monkeypatch.setattr(
        "akd_monai.handlers._fingerprint.place_of",
        lambda engine: {"device": "cuda", "versions": {"python": "3.11", "torch": "9.0", "monai": "9.0"}},
    )
    caplog.set_level("INFO")
    resumed = training(tmp_path, data, epochs=2)
    resumed.amp = True
    # as on a GPU, where mixed precision has an effect; the steps of this test have none
    resumed.add_event_handler(Events.STARTED, lambda engine: setattr(engine, "amp", False))
    resumed.run()
    assert resumed.state.epoch == 2
    assert "resumed under other conditions, so last digits may differ: device (was 'cpu', is 'cuda')" in caplog.text
    assert "versions.torch (was " in caplog.text


def test_a_checkpoint_of_before_is_accepted_with_a_note(tmp_path, data, caplog):
    training(tmp_path, data).run()
    old = {name: value for name, value in saved(tmp_path).items() if name not in ("facts", "place")}
    old["fingerprint"]["cases"] = 12345
    save_atomic({**old, "format": 1}, tmp_path / "resume.pt")
    resumed = training(tmp_path, data, epochs=2)
    resumed.run()
    assert resumed.state.epoch == 2
    assert "started by an earlier version: loss, transforms, optimizer and data are not compared" in caplog.text
    assert saved(tmp_path)["facts"]["loss"]["class"] == "DiceFocalLoss"


@pytest.mark.fault(
    "Privacy",
    "a checkpoint is passed on",
    injected="home, user and data folder are searched in its bytes",
    outcome="not there",
)
def test_no_path_and_no_user_is_in_a_checkpoint(tmp_path, data):
    training(tmp_path / "run", data, cache_dir=tmp_path / "cache").run()
    content = (tmp_path / "run" / "resume.pt").read_bytes()
    assert str(tmp_path).encode() not in content
    assert str(Path.home()).encode() + b"/" not in content


def test_facts_are_the_same_in_every_process(tmp_path, data):
    program = (
        "import sys, json; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path; from test_same_run import training\n"
        "from akd_monai.handlers._facts import facts_of\n"
        "print(json.dumps(facts_of(training(sys.argv[2], Path(sys.argv[3])), []), sort_keys=True))"
    )
    seen = set()
    for seed in ("1", "2"):
        result = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", program, str(Path(__file__).parent), str(tmp_path), str(data)],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": seed, "OMP_NUM_THREADS": "1"},
        )
        seen.add(result.stdout.splitlines()[-1])
    (facts,) = seen
    assert json.loads(facts)["train"]["dataset"]["data"]["order"] == ["BMC/Case00", "BMC/Case01", "BMC/Case02"]


def test_the_number_of_a_data_list_follows_the_content_alone(data, tmp_path):
    cases = cases_of(data, (0, 1))
    number = fingerprint(cases)
    copied = tmp_path / "copy"
    shutil.copytree(data, copied)
    assert fingerprint(cases_of(copied, (0, 1))) == number
    assert fingerprint(cases_of(data, (1, 0))) == number
    assert fingerprint(cases_of(data, (0, 2))) != number
    path = data / "Case00_segmentation.nii"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    assert fingerprint(cases) != number
