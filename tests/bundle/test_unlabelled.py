# SPDX-License-Identifier: Apache-2.0
"""Images without labels at the doors of a bundle: the project's own, and students that know nothing of them."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import monai
import nibabel as nib
import pytest
import torch
from bundle_tools import FEATURES, SIZE, small_bundle
from small_students import deep, flat, nested, stepwise, unet, write_big, write_student, write_volumes

from akd_monai.__main__ import user_error
from akd_monai.bundle import DistillationWorkflow, check_settings
from akd_monai.data import datalist
from akd_monai.errors import InputError
from akd_monai.files import read_json
from akd_monai.networks.nets import UNetPlusPlus
from akd_monai.prostate import make_phantom

BUNDLES = Path(__file__).resolve().parents[2] / "bundles"
SMALL = {"epochs": 1, "batch_size": 2, "samples_per_epoch": 4, "folds": None}


@pytest.fixture(autouse=True)
def no_seeds_or_modules_are_left(monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    monai.utils.set_determinism(None)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Five cases with masks of one site, and one image below ``unlabelled``."""
    folder = tmp_path_factory.mktemp("data") / "phantom"
    make_phantom(folder, cases_per_site=6, sites=["HK"], size=SIZE, slices=4, seed=0, progress=False)
    (folder / "manifest.json").unlink()
    case = datalist(folder, "all")[-1]
    lone = folder / "unlabelled" / "HK"
    lone.mkdir(parents=True)
    Path(case["image"]).rename(lone / Path(case["image"]).name)
    Path(case["label"]).unlink()
    return folder


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    root = small_bundle("unetplusplus", tmp_path_factory.mktemp("bundles") / "teacher")
    torch.manual_seed(3)
    torch.save(UNetPlusPlus(2, 1, 2, features=FEATURES).state_dict(), root / "models" / "model.pt")
    return root


def trained(teacher, student, **options):
    """Return the trainer of a distillation that has run."""
    workflow = DistillationWorkflow(teacher, student, **options)
    workflow.train()
    return workflow._trainer()


def same(a, b):
    a, b = a.network.state_dict(), b.network.state_dict()
    return all(torch.equal(value, b[name]) for name, value in a.items())


def of_site(root, teacher, data, **options):
    given = {**SMALL, "dataset_dir": str(data), "unlabelled_batch_size": 3, "labelled_cases": 2, **options}
    return trained(teacher, small_bundle("enet", root), **given)


def spoiled(data, copy):
    """Return a copy of the data in which the labels of all cases but the labelled and the validation ones are no files."""
    shutil.copytree(data, copy)
    parts = [datalist(copy, part, folds=None, labelled_cases=2) for part in ("training", "validation")]
    kept = [case["case_id"] for case in parts[0] + parts[1]]
    for case in datalist(copy, "all"):
        if case["case_id"] not in kept:
            Path(case["label"]).write_bytes(b"no label is read")
    return copy, kept


def test_labels_of_unlabelled_cases_are_never_opened(tmp_path, teacher, prepared):
    without, kept = spoiled(prepared, tmp_path / "spoiled")
    assert len(kept) == 3
    trainer = of_site(tmp_path / "one", teacher, without)
    assert same(trainer, of_site(tmp_path / "two", teacher, prepared))
    record = json.loads((tmp_path / "one" / "eval" / "training.json").read_text())
    assert record["labelled_cases"] == 2
    assert len(record["case_ids"]) == 2
    assert len(record["unlabelled_case_ids"]) == 3
    assert record["unlabelled_case_ids"][-1].startswith("unlabelled/HK/")
    assert not set(record["unlabelled_case_ids"]) & set(kept)
    assert sorted(trainer.state.loss_terms) == ["affinity", "gram", "logits", "task", "unlabelled"]


def test_the_weights_are_those_of_today_without_images(tmp_path, teacher, prepared):
    found = []
    for number, options in enumerate(({}, {"lambda_unlabelled": 0.5, "pseudo_labels": "soft", "confidence": 0.5})):
        off = {"unlabelled_batch_size": 0, "labelled_cases": None, **options}
        found.append(of_site(tmp_path / str(number), teacher, prepared, **off))
    assert found[0].unlabelled is None
    assert same(*found)
    assert "unlabelled_case_ids" not in json.loads((tmp_path / "0" / "eval" / "training.json").read_text())


def test_without_weight_of_the_task_labels_change_nothing(tmp_path, teacher, prepared):
    """The labels of the labelled cases are emptied, which would also change the choice of slices."""
    emptied = shutil.copytree(prepared, tmp_path / "emptied")
    for case in datalist(emptied, "training", folds=None, labelled_cases=2):
        label = nib.load(case["label"])
        nib.save(nib.Nifti1Image((label.get_fdata() * 0).astype("uint8"), label.affine), case["label"])
    found = []
    for name, data in (("full", prepared), ("empty", emptied)):
        found.append(of_site(tmp_path / name, teacher, data, lambda_task=0, val_interval=9))
    assert "task" not in found[0].state.loss_terms
    assert same(*found)


def test_images_that_are_not_there_are_said(tmp_path, teacher, prepared):
    shutil.copytree(prepared / "HK", tmp_path / "data" / "HK")
    with pytest.raises(RuntimeError) as caught:
        of_site(tmp_path / "student", teacher, tmp_path / "data", labelled_cases=None)
    words = str(user_error(caught.value))
    assert words.startswith(
        "unlabelled_batch_size is 3, but there is no unlabelled image; keep labels of some cases only"
    )


@pytest.mark.parametrize("value", [0, True, 1.5, "2"], ids=repr)
def test_a_number_of_labelled_cases_that_makes_no_sense_is_said(value):
    with pytest.raises(InputError, match="labelled_cases must be an integer of at least 1, or None, got"):
        check_settings(labelled_cases=value)


@pytest.mark.parametrize("bundle", sorted(BUNDLES.iterdir()), ids=lambda path: path.name)
def test_every_bundle_has_the_number_of_labelled_cases(bundle):
    config = read_json(bundle / "configs" / "train.json")
    assert config["labelled_cases"] is None
    for name in ("train.json", "multi_gpu_train.json"):
        assert "labelled_cases=@labelled_cases" in read_json(bundle / "configs" / name)["initialize"][0]
    for part in ("train", "validate"):
        assert "labelled_cases=@labelled_cases" in config[part]["dataset"]["data"]


@pytest.fixture
def volumes(tmp_path):
    """Volumes with labels, and a list of two images that have none."""
    data = write_volumes(tmp_path / "data")
    images = write_volumes(tmp_path / "images", count=2)
    for label in images.glob("label*"):
        label.unlink()
    listed = images / "list.json"
    listed.write_text(json.dumps([{"image": "image0.npy"}, {"image": "image1.npy"}]))
    return data, listed


STYLES = {"nested": nested, "flat": flat, "several heads": deep, "a step of its own": stepwise}


@pytest.mark.parametrize(
    ("style", "pseudo_labels"),
    [
        ("nested", "hard"),
        ("flat", "soft"),
        ("several heads", "hard"),
        ("several heads", "soft"),
        ("a step of its own", "hard"),
    ],
)
def test_a_foreign_student_is_trained_on_a_list_of_images(tmp_path, volumes, style, pseudo_labels):
    data, listed = volumes
    config = STYLES[style](data)
    bundles = write_big(tmp_path / "teacher", nested(data)), write_student(tmp_path / "student", config)
    trainer = trained(*bundles, unlabelled_data=str(listed), unlabelled_batch_size=1, pseudo_labels=pseudo_labels)
    assert set(trainer.state.loss_terms) >= {"task", "unlabelled", "logits"}
    assert trainer.state.loss_terms["unlabelled"].item() > 0
    images = [str(listed.parent / f"image{number}.npy") for number in (0, 1)]
    assert [case["image"] for case in trainer.unlabelled.dataset.data] == images
    # two crops of one labelled volume
    assert trainer.unlabelled.labelled == 2


def test_a_foreign_student_of_overlapping_classes(tmp_path, volumes):
    images = volumes[1].parent
    data = write_volumes(tmp_path / "parts", parts=2)
    config = nested(data, classes=2, sigmoid=True, network_def=unet(2))
    bundles = write_big(tmp_path / "teacher", config), write_student(tmp_path / "student", config)
    given = [{"image": str(images / "image0.npy"), "label": "none"}]
    trainer = trained(*bundles, unlabelled_data=given, unlabelled_batch_size=2, confidence=0.5)
    assert trainer.teacher_output.activation == "sigmoid"
    assert 0 <= trainer.state.loss_terms["unlabelled"].item() <= 1
    assert trainer.unlabelled.labelled == 2


def test_transforms_of_a_foreign_student_that_need_a_label_are_refused(tmp_path, volumes):
    data, listed = volumes
    config = nested(data)
    crop = {"_target_": "CropForegroundd", "keys": ["image", "label"], "source_key": "label"}
    config["train"]["deterministic_transforms"].append(crop)
    bundles = write_big(tmp_path / "teacher", nested(data)), write_student(tmp_path / "student", config)
    with pytest.raises(RuntimeError) as caught:
        trained(*bundles, unlabelled_data=str(listed), unlabelled_batch_size=1)
    words = str(user_error(caught.value))
    assert "cannot be prepared by the student's training transforms (KeyError" in words
    assert "give unlabelled_transform" in words
