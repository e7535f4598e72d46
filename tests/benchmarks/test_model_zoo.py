# SPDX-License-Identifier: Apache-2.0
"""The command that tries the Model Zoo: what it shrinks, the data it writes, the page; no bundle of the zoo is needed."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))
from benchmarks.model_zoo.bundles import BUNDLES  # noqa: E402
from benchmarks.model_zoo.data import write_data  # noqa: E402
from benchmarks.model_zoo.guard import doubts_of_log, doubts_of_weights, hashes  # noqa: E402
from benchmarks.model_zoo.page import zoo_page  # noqa: E402
from benchmarks.model_zoo.shrinking import shrinking  # noqa: E402


def test_what_is_shrunk_and_what_is_not():
    config = {
        "epochs": 300,
        "max_epochs": "@epochs",
        "network_def": {"patch_size": [96, 96]},
        "train": {
            "steps": [{"spatial_size": [16, 96], "num_samples": 4}],
            "loader": {"batch_size": 1, "num_workers": 4},
        },
        "validate": {"inferer": {"roi_size": "@size"}, "dataset": {"cache_rate": 0.5}},
        "im_shape": [96, 96],
    }
    assert shrinking(config, 32) == {
        "epochs": 1,
        "train#steps#0#spatial_size": [16, 32],
        "train#steps#0#num_samples": 1,
        "train#loader#num_workers": 0,
        "validate#dataset#cache_rate": 0.0,
    }


def test_volumes_have_the_bundles_spacing_classes_and_channels(tmp_path):
    ids = write_data(BUNDLES["brats_mri_segmentation"], tmp_path)
    listed = json.loads(Path(ids["data_list_file_path"]).read_text())
    assert [len(listed[part]) for part in ("training", "validation")] == [1, 1]
    assert len(listed["training"][0]["image"]) == 4
    label = np.asarray(nib.load(listed["training"][0]["label"]).dataobj)
    assert set(np.unique(label)) == {0, 1, 2, 4}

    write_data(BUNDLES["spleen_ct_segmentation"], tmp_path / "spleen")
    images = sorted((tmp_path / "spleen" / "imagesTr").iterdir())
    assert len(images) == 11
    assert nib.load(images[0]).header.get_zooms() == pytest.approx((1.5, 1.5, 2.0))
    assert min(nib.load(images[0]).shape) >= 32


@pytest.mark.parametrize(
    "name", ["prostate_mri_anatomy", "endoscopic_tool_segmentation", "ventricular_short_axis_3label"]
)
def test_the_ids_lead_to_the_files(tmp_path, name):
    (place,) = write_data(BUNDLES[name], tmp_path).values()
    found = Path(place)
    assert found.is_file() or any(found.rglob("*"))


def test_the_page_counts_and_says_why_not():
    works = {"outcome": "works", "traceback": False, "trusted": False}
    trusted = {**works, "trusted": True}
    failed = {"outcome": "the teacher | has 2 outputs", "traceback": False, "trusted": False}
    names = [*BUNDLES]
    results = {names[0]: {"teacher": works, "student": failed}, names[1]: {"teacher": trusted, "student": failed}}
    page = zoo_page(results, "the command", "abc")
    assert "at commit abc" in page
    assert f"As teacher of a light student 2 of {len(BUNDLES)} work, as student under itself 0" in page
    assert "No command ended with a traceback." in page
    assert f"| {names[0]} | not tried | not tried | not tried | works | no (1) |" in page
    assert f"| {names[1]} | not tried | not tried | not tried | works, trusted | no (1) |" in page
    assert page.count("the teacher | has 2 outputs") == 1
    results[names[0]]["student"] = {**failed, "traceback": True}
    assert "1 commands ended with a traceback." in zoo_page(results, "the command", "abc")


def test_overrides_of_a_user_and_scripted_teachers_are_told():
    name = "pancreas_ct_dints_segmentation"
    works = {"outcome": "works", "traceback": False, "trusted": True, "command": "--teacher_weights models/model.ts"}
    page = zoo_page({name: {"teacher": works}}, "the command", "abc")
    assert "| works, trusted, TorchScript |" in page
    assert "- pancreas_ct_dints_segmentation: `--arch_ckpt $torch.load(@arch_ckpt_path, map_location='cpu'" in page
    assert "- brats_mri_segmentation: `--loss#squared_pred False` (the loss cannot square" in page


def test_what_plain_monai_cannot_build_either_is_told():
    failed = {"outcome": "img_size", "traceback": False, "trusted": False}
    results = {"swin_unetr_btcv_segmentation": {"profile": failed}, "vista3d": {"profile": {**failed, "outcome": "x"}}}
    page = zoo_page(results, "the command", "abc")
    assert "\n1. plain MONAI fails too: `img_size`\n2. `x`\n" in page


def _log(activation="softmax", affinity="0.25"):
    return (
        f"INFO - teacher and student are compared as {activation} outputs\n"
        f"INFO - training: epoch 1/1, task 0.5, logits 0.1, affinity {affinity}, total 0.8, val 0.1, 00:00 elapsed\n"
    )


@pytest.mark.parametrize(
    ("log", "doubts"),
    [
        (_log(), []),
        (_log("sigmoid"), ["the activation was sigmoid, wanted softmax"]),
        (_log(affinity="0.0000"), ["affinity is 0.0"]),
        (_log(affinity="nan"), ["affinity is nan"]),
        (_log().replace(", affinity 0.25", ""), ["affinity is nan"]),
        ("", ["the activation was not told, wanted softmax", "no epoch was told"]),
    ],
)
def test_a_run_that_is_silently_wrong_is_seen_in_its_log(log, doubts):
    assert doubts_of_log(log, "softmax", ["task", "logits", "affinity", "total"]) == doubts


def test_weights_must_be_named_new_and_fit_strictly(tmp_path, monkeypatch):
    network = torch.nn.Linear(2, 1)
    monkeypatch.setattr("benchmarks.model_zoo.guard.draw_network", lambda bundle, overrides: torch.nn.Linear(2, 1))
    path = tmp_path / "model.pt"
    torch.save(network.state_dict(), path)
    before = hashes(tmp_path)
    log = f"Student: {path}\n"
    assert doubts_of_weights("", before, tmp_path, None) == ["no weights were named"]
    assert doubts_of_weights(log, before, tmp_path, None) == ["the weights are those of before the run"]
    torch.nn.init.ones_(network.weight)
    torch.save(network.state_dict(), path)
    assert doubts_of_weights(log, before, tmp_path, None) == []
    torch.save(torch.nn.Linear(3, 1).state_dict(), path)
    (doubt,) = doubts_of_weights(log, before, tmp_path, None)
    assert "do not fit the student" in doubt
    assert "shape" in doubt
    path.unlink()
    assert doubts_of_weights(log, before, tmp_path, None) == ["the weights that were named do not exist"]


def test_nineteen_bundles():
    assert len(BUNDLES) == 19
