# SPDX-License-Identifier: Apache-2.0
"""The page on losses of other methods: its command, its terms and its program, and that no loss is missing."""

from __future__ import annotations

import json

import pytest
import torch
from docs_tools import DOCS, blocks, commands
from foreign_tools import STUDENT, foreign_bundle, foreign_teacher, write_cubes

from akd_monai.__main__ import main
from akd_monai.bundle import DistillationWorkflow
from akd_monai.losses import LOSSES

PAGE = "explanation/compared-losses.md"
LAYERS = {"student_layer": "model.1.submodule", "teacher_layer": "down_1.convs"}


@pytest.fixture
def seen(tmp_path, monkeypatch):
    """The terms of each run, in a folder with the bundles of the page."""
    data = write_cubes(tmp_path / "data")
    foreign_teacher(tmp_path / "teacher_bundle", data)
    foreign_bundle(tmp_path / "student_bundle", STUDENT, data)
    monkeypatch.chdir(tmp_path)
    found = []
    run = DistillationWorkflow.run

    def watched(self):
        run(self)
        found.append(self.parser.get_parsed_content("train#trainer").state.loss_terms)

    monkeypatch.setattr(DistillationWorkflow, "run", watched)
    return found


def test_every_loss_is_in_both_tables():
    page = (DOCS / PAGE).read_text(encoding="utf-8")
    for name in set(LOSSES.names) - {"logits", "gram", "affinity"}:
        assert page.count(f"\n| `{name}` | ") == 2


def test_the_program_runs():
    exec(blocks(PAGE, "python")[0], {})


@pytest.mark.slow
def test_the_command_and_the_terms_of_emkd_train(seen):
    for command in commands(PAGE):
        main(command)
    terms = json.loads(blocks(PAGE, "json")[0])
    for name in ("importance", "regions"):
        terms[name]["resize"] = True
    off = {f"lambda_{name}": 0.0 for name in ("logits", "gram", "affinity")}
    ids = {f"distillation#terms#{name}": term for name, term in terms.items()}
    workflow = DistillationWorkflow(
        "teacher_bundle", "student_bundle", distillation_resume="never", **LAYERS, **off, **ids
    )
    workflow.initialize()
    workflow.run()
    workflow.finalize()
    assert [set(found) for found in seen] == [{"task", "attention"}, {"task", "prediction", "importance", "regions"}]
    assert all(torch.isfinite(value) and value > 0 for found in seen for value in found.values())
