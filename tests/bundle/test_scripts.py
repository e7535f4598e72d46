# SPDX-License-Identifier: Apache-2.0
"""Modules in bundles' folders: a student's by name from anywhere, a trusted teacher's beside it under private names."""

from __future__ import annotations

import json
import random
import sys

import numpy as np
import torch
from monai.bundle import ConfigParser

from akd_monai.bundle._saved_weights import SavedWeights
from akd_monai.bundle._scripts import bundle_on_path, with_private_modules
from akd_monai.bundle.load import build_network


def bundle(root, value):
    (root / "configs").mkdir(parents=True)
    (root / "configs" / "metadata.json").write_text("{}")
    (root / "scripts").mkdir()
    (root / "scripts" / "__init__.py").write_text(f"from .number import VALUE\n\nOWN = {value}\n")
    (root / "scripts" / "number.py").write_text(
        f"VALUE = {value}\n\n\ndef late():\n    import scripts\n"
        "    from scripts.number import VALUE\n    return scripts.OWN + VALUE\n"
    )
    return root


def test_scripts_of_both_work_at_once(tmp_path):
    student, teacher = bundle(tmp_path / "student", 1), bundle(tmp_path / "teacher", 20)
    config = {"imports": ["$import scripts"], "late": {"_target_": "scripts.number.late"}, "own": "$scripts.OWN"}
    before = list(sys.path)
    with bundle_on_path(student):
        of_student = ConfigParser(dict(config))
        assert (of_student.get_parsed_content("late"), of_student.get_parsed_content("own")) == (2, 1)
        of_teacher = ConfigParser(with_private_modules(config, teacher))
        assert (of_teacher.get_parsed_content("late"), of_teacher.get_parsed_content("own")) == (40, 20)
        assert sys.modules["scripts"].OWN == 1
    assert sys.path == before
    assert not list(teacher.rglob("__pycache__"))
    with bundle_on_path(teacher):
        assert ConfigParser(dict(config)).get_parsed_content("own") == 20
    for name in [name for name in sys.modules if name.split(".")[0] == "scripts"]:
        del sys.modules[name]


def test_weights_that_lay_there_before_are_not_the_runs(tmp_path):
    (tmp_path / "model.pt").write_bytes(b"old")
    before = SavedWeights([tmp_path])
    assert before.of_run(None) is None
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "resume.pt").write_bytes(b"state")
    assert before.of_run(None) is None
    (tmp_path / "models" / "model_latest.pt").write_bytes(b"new")
    assert before.of_run(None) == tmp_path / "models" / "model_latest.pt"


def test_a_teacher_whose_code_sets_seeds_leaves_the_run_its_random_numbers(tmp_path):
    teacher = bundle(tmp_path / "teacher", 1)
    seeds = (
        "import random\n\nimport numpy as np\nimport torch\n\nrandom.seed(1)\nnp.random.seed(1)\ntorch.manual_seed(1)\n"
    )
    (teacher / "scripts" / "net.py").write_text(
        f"{seeds}\n\nclass Net(torch.nn.Conv2d):\n    def __init__(self):\n        super().__init__(1, 2, 1)\n"
    )
    config = {"imports": ["$import scripts"], "network_def": {"_target_": "scripts.net.Net"}}
    (teacher / "configs" / "inference.json").write_text(json.dumps(config))
    drawn = []
    for load in (lambda: None, lambda: build_network(teacher, trust_bundle=True)):
        random.seed(0)
        np.random.seed(0)
        torch.manual_seed(0)
        load()
        drawn.append((random.random(), np.random.random(), torch.rand(1).item()))
    assert drawn[0] == drawn[1]
