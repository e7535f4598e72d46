# SPDX-License-Identifier: Apache-2.0
"""A cell of an experiment that learns in two processes, from its command to its result."""

from __future__ import annotations

import json

import pytest

from akd_monai.experiments import run_experiment
from akd_monai.files import write_json

MATRIX = {
    "sites": ["RUNMC", "I2CVB"],
    "targets": ["I2CVB"],
    "run_folds": [0],
    "teachers": {"light": {"bundle": "unetplusplus", "settings": {"network_def#features": [4, 4, 8, 8, 8]}}},
    "students": ["enet"],
    "gpus_per_cell": 2,
    "settings": {"epochs": 1, "spatial_size": [32, 32], "batch_size": 2, "num_workers": 0},
}


@pytest.mark.slow
def test_a_cell_learns_in_two_processes(tmp_path, data_dir):
    file = write_json(tmp_path / "two.json", {**MATRIX, "dataset_dir": str(data_dir)})
    folder = run_experiment(file, only=["train/*/teacher-light/*"])
    cell = folder / "cells" / "train" / "I2CVB" / "teacher-light" / "sources" / "seed-0"
    assert json.loads((cell / "result.json").read_text())["cell"] == "train/I2CVB/teacher-light/sources/seed-0"
    assert json.loads((cell / "eval" / "training.json").read_text())["processes"] == 2
    assert (cell / "models" / "model.pt").is_file()
