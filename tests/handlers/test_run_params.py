# SPDX-License-Identifier: Apache-2.0
"""What a table of runs tells apart: role, teacher, terms, commit, scores of a test, three cases."""

from __future__ import annotations

import hashlib
import math
import subprocess

import pandas as pd
import pytest
import torch
from ignite.engine import Engine
from monai.engines import SupervisedTrainer
from torch import nn

from akd_monai.engines import DistillationTrainer
from akd_monai.handlers import _evaluation_pictures
from akd_monai.handlers._evaluation_pictures import chosen_cases
from akd_monai.handlers._evaluation_scores import defined, evaluation_scores
from akd_monai.handlers._run_params import training_params
from akd_monai.handlers._run_tags import version_tags
from akd_monai.losses import DistillationCriterion
from akd_monai.networks._origin import with_origin
from akd_monai.teachers import EmaTeacher, TeacherEnsemble

BATCH = {"image": torch.ones(1, 1, 4, 4), "label": torch.zeros(1, 1, 4, 4, dtype=torch.long)}


def cross_entropy(logits, label):
    return nn.functional.cross_entropy(logits, label[:, 0])


def common(student):
    return {
        "device": "cpu",
        "max_epochs": 1,
        "train_data_loader": [BATCH],
        "network": student,
        "optimizer": torch.optim.SGD(student.parameters(), lr=0.1),
        "loss_function": cross_entropy,
    }


def teacher(folder, name):
    file = folder / f"{name}.pt"
    file.write_bytes(name.encode())
    return with_origin(nn.Conv2d(1, 2, 1), folder / name, file), hashlib.sha256(name.encode()).hexdigest()


def distilled(teacher, weight=0.2, **options):
    student = nn.Sequential(nn.Conv2d(1, 3, 1), nn.Conv2d(3, 2, 1))
    terms = [
        {"name": "soft", "loss": "logits", "weight": weight, "schedule": {"ramp_epochs": 5}},
        {"name": "off", "loss": "gram", "weight": 0},
    ]
    criterion = DistillationCriterion(terms)
    return DistillationTrainer(teacher=teacher, distillation=criterion, **common(student), **options)


def test_a_distilled_training_names_teacher_terms_and_options(tmp_path):
    network, sha256 = teacher(tmp_path, "big_unet")
    params = training_params(distilled(network))
    options = params.pop("soft_options")
    assert params == {
        "role": "distilled",
        "network": "Sequential",
        "learning_rate": 0.1,
        "device": "cpu",
        "amp": False,
        "data_cache": "none",
        "teacher": "big_unet",
        "teacher_sha256": sha256,
        "teacher_cache": "none",
        "terms": "soft",
        "lambda_soft": 0.2,
        "soft_layers": "logits",
    }
    assert options.startswith("LogitsKLLoss, ")
    assert options.endswith("temperature=1.0, schedule=(ramp_epochs=5)")


def test_each_of_several_teachers_is_named_and_so_is_their_cache(tmp_path):
    (one, first), (two, second) = teacher(tmp_path, "one"), teacher(tmp_path, "two")
    options = {"teacher_options": {"cache_dir": tmp_path / "cache", "cache_dtype": "float16"}}
    params = training_params(distilled(TeacherEnsemble([one, two], "mean"), **options))
    assert (params["teacher"], params["teacher_sha256"]) == ("one, two", f"{first}, {second}")
    assert (params["teacher_vote"], params["teacher_cache"]) == ("mean", "files, float16")


def test_an_average_of_the_student_has_no_weights_of_its_own():
    params = training_params(distilled(EmaTeacher(0.9)))
    assert (params["teacher"], params["ema_decay"], "teacher_sha256" in params) == ("self", 0.9, False)


def test_a_training_without_an_active_term_is_plain(tmp_path):
    network, _ = teacher(tmp_path, "big_unet")
    params = training_params(distilled(network, weight=0))
    assert params["role"] == "alone"
    assert params.keys() == training_params(SupervisedTrainer(**common(nn.Conv2d(1, 2, 1)))).keys()
    assert training_params(SupervisedTrainer(**common(nn.Conv2d(1, 2, 1))), "teacher")["role"] == "teacher"
    assert training_params(Engine(lambda engine, batch: None)) == {}


def git(folder, *command):
    author = ["-c", "user.name=a", "-c", "user.email=a@b"]
    return subprocess.run(
        ["git", "-C", str(folder), *author, *command], capture_output=True, text=True, check=True
    ).stdout


def test_the_commit_of_the_working_folder_and_what_differs_from_it(tmp_path):
    assert not {"git.commit", "git.changed"} & version_tags(tmp_path).keys()
    git(tmp_path, "init")
    assert "git.commit" not in version_tags(tmp_path)
    (tmp_path / "train.json").write_text("{}")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "first")
    tags = version_tags(tmp_path)
    assert tags["git.commit"] == git(tmp_path, "rev-parse", "HEAD").strip()
    assert "git.changed" not in tags
    assert tags["version.torch"] == torch.__version__
    (tmp_path / "train.json").write_text("[]")
    (tmp_path / "untracked.json").write_text("{}")
    assert version_tags(tmp_path)["git.changed"] == "1"
    # a git that fails has not said that nothing differs
    (tmp_path / ".git" / "index").write_bytes(b"damaged")
    assert version_tags(tmp_path)["git.changed"] == "unknown"


def table():
    rows = [
        ("HK", "a", "zone 1", 0.5, 2.0),
        ("HK", "a", "zone 2", 0.7, math.nan),
        ("BMC", "b", "zone 1", 0.9, 4.0),
        ("BMC", "b", "zone 2", math.nan, math.nan),
    ]
    return pd.DataFrame(rows, columns=["site", "case_id", "class", "dice", "hd95_mm"])


def test_scores_are_means_over_all_rows_by_site_by_class_and_by_both():
    evaluator = Engine(lambda engine, batch: None)
    evaluator.state.metrics = {"undefined_dice": 1, "dice_mean": 0.7}
    scores = evaluation_scores(evaluator, "test", table())
    undefined = {"test_hd95_mm_zone_2", "test_dice_BMC_zone_2", "test_hd95_mm_BMC_zone_2"}
    undefined |= {"test_hd95_mm_HK_zone_2"}
    assert scores.keys() - defined(scores).keys() == undefined
    assert defined(scores) == pytest.approx(
        {
            "test_cases": 2,
            "test_dice": (0.5 + 0.7 + 0.9) / 3,
            "test_dice_HK": 0.6,
            "test_dice_BMC": 0.9,
            "test_dice_zone_1": 0.7,
            "test_dice_zone_2": 0.7,
            "test_dice_HK_zone_1": 0.5,
            "test_dice_HK_zone_2": 0.7,
            "test_dice_BMC_zone_1": 0.9,
            "test_hd95_mm": 3.0,
            "test_hd95_mm_HK": 2.0,
            "test_hd95_mm_BMC": 4.0,
            "test_hd95_mm_zone_1": 3.0,
            "test_hd95_mm_HK_zone_1": 2.0,
            "test_hd95_mm_BMC_zone_1": 4.0,
            "test_undefined_dice": 1,
        }
    )


def test_no_mean_replaces_another_of_a_like_name():
    rows = [("A-1", "a", "腺", 0.2), ("A 1", "b", "腺", 0.4), ("A 1", "b", "区", 0.9)]
    frame = pd.DataFrame(rows, columns=["site", "case_id", "class", "dice"])
    scores = evaluation_scores(Engine(lambda engine, batch: None), "test", frame)
    assert {name: scores[name] for name in ("test_dice_A_1", "test_dice_A_1_2")} == pytest.approx(
        {"test_dice_A_1": 0.2, "test_dice_A_1_2": (0.4 + 0.9) / 2}
    )
    # classes whose names have no letter that MLflow takes without quotes
    assert (scores["test_dice_"], scores["test_dice__2"]) == pytest.approx(((0.2 + 0.4) / 2, 0.9))


def test_an_evaluator_without_a_table_gives_its_own_metrics():
    evaluator = Engine(lambda engine, batch: None)
    evaluator.state.metrics = {"val_mean_dice": 0.25}
    assert evaluation_scores(evaluator, "validation", None) == {"validation_val_mean_dice": 0.25}


def test_no_picture_of_an_earlier_evaluation_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(_evaluation_pictures, "_mask_layout", lambda _: "layout")
    monkeypatch.setattr(_evaluation_pictures, "_picture", lambda name, dice, case, layout: name.encode())
    evaluator = Engine(lambda engine, batch: None)
    frame = pd.DataFrame({"case_id": list("abc"), "dice": [0.2, 0.4, 0.9]})
    found = []
    for table in (frame, frame[:1]):
        written = _evaluation_pictures.write_pictures(evaluator, table, tmp_path)
        found.append({path.name: path.read_text() for path in sorted(tmp_path.iterdir())})
        assert sorted(written) == sorted(tmp_path.iterdir())
    assert found == [{"worst.png": "a", "median.png": "b", "best.png": "c"}, {"worst.png": "a"}]


def test_the_worst_case_is_one_without_a_dice_and_no_case_comes_twice():
    frame = pd.DataFrame({"case_id": ["a", "a", "b", "c"], "dice": [0.2, 0.4, math.nan, 0.9]})
    assert {rank: name for rank, (name, _) in chosen_cases(frame).items()} == {"worst": "b", "median": "a", "best": "c"}
    assert chosen_cases(frame)["median"][1] == pytest.approx(0.3)
    assert list(chosen_cases(frame[frame.case_id == "c"])) == ["worst"]
