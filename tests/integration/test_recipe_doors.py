# SPDX-License-Identifier: Apache-2.0
"""A recipe gives the same weights, bit for bit, as a word of ``distill`` and as one more config file of MONAI's command."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from bundle_tools import small_bundle
from foreign_tools import STUDENT, foreign_bundle, foreign_teacher, write_cubes

import akd_monai.bundle
from akd_monai.__main__ import main
from akd_monai.bundle import recipe_path

GENERIC = Path(akd_monai.bundle.__file__).with_name("distill.json")
LAYERS = {"distillation_layers": {"high": "model.1.submodule", "low": "model.0"}}
LAYERS_OF_TEACHER = {"distillation_layers": {"high": "down_1.convs", "low": "conv_0"}}


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def weights(path):
    content = torch.load(path, weights_only=True)
    if "parts" in content:
        return content["parts"]["network"]
    return content.get("model", content)


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.slow
def test_a_bundle_of_the_project(run_warm, tmp_path, data_dir, teacher):
    by_monai, by_command, plain = (small_bundle("enet", tmp_path / name) for name in ("monai", "command", "plain"))
    configs = f"['configs/train.json','configs/distill.json',{str(recipe_path('careful'))!r}]"
    of_data = (f"--dataset_dir={data_dir}", "--sites=['I2CVB']")
    run_warm(by_monai, configs, f"--teacher_bundle={teacher}", *of_data, "--lambda_gram=0.5")
    both = ("distill", f"--teacher={teacher}", *of_data, "--lambda_gram=0.5")
    main([*both, f"--student={by_command}", "--recipe=careful"])
    main([*both, f"--student={plain}"])
    for file in ("eval/resume.pt", "models/model.pt"):
        assert equal(weights(by_monai / file), weights(by_command / file))
    # the recipe makes a difference
    assert not equal(weights(by_command / "models/model.pt"), weights(plain / "models/model.pt"))


@pytest.mark.slow
def test_a_foreign_student(run_warm, tmp_path):
    data = write_cubes(tmp_path / "data")
    teacher = foreign_teacher(tmp_path / "teacher", data, **LAYERS_OF_TEACHER)
    by_monai, by_command = (foreign_bundle(tmp_path / name, STUDENT, data, **LAYERS) for name in ("monai", "command"))
    configs = f"['configs/train.json',{str(GENERIC)!r},{str(recipe_path('emkd'))!r}]"
    run_warm(by_monai, configs, f"--teacher_bundle={teacher}")
    main(["distill", f"--teacher={teacher}", f"--student={by_command}", "--recipe=emkd"])
    assert equal(weights(by_monai / "models/model.pt"), weights(by_command / "models/model.pt"))
