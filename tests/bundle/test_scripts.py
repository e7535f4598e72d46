# SPDX-License-Identifier: Apache-2.0
"""Modules in bundles' folders: a student's by name from anywhere, a trusted teacher's beside it under private names."""

from __future__ import annotations

import sys

from monai.bundle import ConfigParser

from akd_monai.bundle._saved_weights import SavedWeights
from akd_monai.bundle._scripts import bundle_on_path, with_private_modules


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
