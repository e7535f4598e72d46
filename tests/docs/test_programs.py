# SPDX-License-Identifier: Apache-2.0
"""The programs of the how-to pages run as they stand."""

from __future__ import annotations

import ast
import importlib
import json
import re
import sys
from inspect import getsource, signature
from pathlib import Path

import pytest
import torch
from docs_tools import DOCS, blocks, commands
from foreign_tools import STUDENT, foreign_bundle, foreign_teacher, write_cubes
from monai.bundle import ConfigParser

from akd_monai.__main__ import main
from akd_monai.bundle import DistillationWorkflow, check_settings, distill_bundle, workflow
from akd_monai.losses import LOSSES, compared

LOOP = "how-to/distil-in-a-loop.md"
LOSS = "how-to/add-loss.md"
ANY_TWO = "how-to/distil-any-two-bundles.md"
UNLABELLED = "how-to/distil-unlabelled.md"


@pytest.fixture
def own_losses(tmp_path, monkeypatch):
    """The page's module of losses, importable from the working folder, and forgotten afterwards."""
    (tmp_path / "my_losses.py").write_text(blocks(LOSS, "python")[0])
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    yield
    sys.modules.pop("my_losses", None)
    LOSSES.components.pop("confidence", None)


@pytest.fixture
def bundles(tmp_path):
    data = write_cubes(tmp_path / "data")
    return foreign_teacher(tmp_path / "teacher_bundle", data), foreign_bundle(
        tmp_path / "student_bundle", STUDENT, data
    )


def test_a_plain_loop_trains_student_and_adapter():
    scope: dict = {}
    exec(blocks(LOOP, "python")[0], scope)
    assert len(scope["history"]) == 20
    assert max(scope["history"][-2:]) < min(scope["history"][:2])
    before: dict = {}
    exec(blocks(LOOP, "python")[0].split("history = []")[0], before)
    assert not torch.equal(scope["adapter"].weight, before["adapter"].weight)
    same = zip(scope["teacher"].state_dict().values(), before["teacher"].state_dict().values(), strict=True)
    assert all(torch.equal(one, other) for one, other in same)


def test_the_trainer_without_bundles(capsys):
    scope: dict = {}
    exec(blocks(LOOP, "python")[1], scope)
    terms = scope["trainer"].state.loss_terms
    assert set(terms) == {"task", "logits", "gram", "affinity"}
    assert all(torch.isfinite(value) and value > 0 for value in terms.values())
    assert set(scope["trainer"].distillation.adapters) == {"gram", "affinity"}
    assert "'gram'" in capsys.readouterr().out


def test_a_loss_takes_one_short_file_and_a_line_of_the_registry():
    program = blocks(LOSS, "python")[0]
    assert len(program.splitlines()) <= 60
    assert program.count("LOSSES.add") == 1
    registry = (DOCS.parent / "akd_monai" / "losses" / "registry.py").read_text(encoding="utf-8")
    for name in compared.__all__:
        tree = ast.parse(getsource(getattr(compared, name)))
        for node in ast.walk(tree):
            if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node):
                node.body = node.body[1:] or [ast.Pass()]
        assert len(ast.unparse(tree).splitlines()) <= 60
        assert registry.count(f"compared.{name})") == 1


def test_an_own_loss_in_the_registry(own_losses):
    scope: dict = {}
    exec(blocks(LOSS, "python")[1], scope)
    # the teacher's largest probability is e^2 / (1 + e^2), the student's 1/2
    assert scope["terms"]["sure"].item() == pytest.approx(0.5 * (0.8807970779778823 - 0.5), abs=1e-6)


@pytest.mark.slow
def test_commands_with_an_own_term_and_changed_terms(own_losses, bundles, monkeypatch):
    seen = []
    run = DistillationWorkflow.run

    def watched(self):
        run(self)
        trainer = self.parser.get_parsed_content("train#trainer")
        losses = dict(trainer.distillation.losses)
        seen.append((set(trainer.state.loss_terms), losses))

    monkeypatch.setattr(DistillationWorkflow, "run", watched)
    for command in commands(LOSS):
        main(command)
    exec(blocks(LOSS, "python")[2], {})
    added, changed, both = seen
    assert added[0] == {"task", "logits", "affinity", "sure"}
    assert added[1]["sure"].power == 1.0
    assert changed[0] == {"task", "logits"}
    assert changed[1]["logits"].temperature == 4.0
    assert both[0] == {"task", "logits", "sure"}
    assert both[1]["sure"].power == 2.0


def test_flags_of_the_page_are_ids(bundles):
    """Every flag of the how-to that begins with two dashes is an argument or an id of the overlay."""
    overlay = ConfigParser.load_config_file(str(Path(workflow.__file__).with_name("distill.json")))
    student = ConfigParser.load_config_file(str(bundles[1] / "configs" / "train.json"))
    known = {*signature(distill_bundle).parameters, *overlay, *student, "epochs"}
    assert any("--classes" in command for command in commands(ANY_TWO))
    for command in commands(ANY_TWO):
        if command[0] == "distill":
            flags = [word[2:].split("#")[0].split("=")[0] for word in command if word.startswith("--")]
            assert set(flags) <= known


def test_a_trainer_with_unlabelled_images(capsys):
    exec(blocks(UNLABELLED, "python")[0], {})
    assert capsys.readouterr().out == "['task', 'unlabelled']\n"


def test_flags_of_unlabelled_images_are_ids_of_every_overlay():
    """Flags and rows of the table are ids of the project's own bundle, and but for the first row of the generic overlay."""
    root = Path(__file__).resolve().parents[2] / "bundles" / "prostate_mri_enet" / "configs"
    own = {**json.loads((root / "train.json").read_text()), **json.loads((root / "distill.json").read_text())}
    generic = ConfigParser.load_config_file(str(Path(workflow.__file__).with_name("distill.json")))
    rows = re.findall(r"^\| `(\w+)` \|", (DOCS / UNLABELLED).read_text(encoding="utf-8"), re.MULTILINE)
    assert rows[0] == "labelled_cases"
    assert set(rows) <= own.keys()
    assert set(rows[1:]) <= generic.keys()
    for command in commands(UNLABELLED):
        flags = {word[2:].split("=")[0] for word in command if word.startswith("--")}
        assert flags <= {*signature(distill_bundle).parameters, *own, "config_file"}
    shown = {
        "labelled_cases": 4,
        "unlabelled_batch_size": 8,
        "pseudo_labels": "soft",
        "confidence": 0.8,
        "lambda_task": 0,
    }
    check_settings(**shown)
