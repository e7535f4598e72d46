# SPDX-License-Identifier: Apache-2.0
"""A distillation whose terms have no weight is the student's own training by MONAI, to the last bit."""

from __future__ import annotations

import sys
from pathlib import Path

import monai
import numpy as np
import pytest
import torch
from small_students import deep, flat, nested, stepwise, write_big, write_student, write_volumes

from akd_monai.bundle import DistillationWorkflow, distill_bundle

LOADS = ("logits", "gram", "affinity")
# config, classes, suffix of the file, and what starts it
STYLES = {
    "JSON": (nested, 2, "json", "run"),
    "top-level YAML": (flat, 2, "yaml", "training"),
    "scripts": (stepwise, 2, "json", "run"),
    "sigmoid": (lambda data: nested(data, 3, sigmoid=True), 3, "json", "run"),
    "deep supervision": (deep, 2, "json", "run"),
}


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    """A folder, after which neither seeds nor modules of a bundle are left."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    monai.utils.set_determinism(None)
    for name in [name for name in sys.modules if name.split(".")[0] == "scripts"]:
        del sys.modules[name]


def two_bundles(root: Path, style: str) -> tuple[Path, Path]:
    config, classes, suffix, _ = STYLES[style]
    data = write_volumes(root / "data", parts=3 if style == "sigmoid" else 0)
    student = write_student(root / "student", config(data), classes=classes, suffix=suffix)
    return write_big(root / "teacher", config(data), classes=classes), student


def weights(path: Path) -> dict[str, torch.Tensor]:
    return torch.load(path, weights_only=True)


@pytest.mark.parametrize("style", STYLES)
def test_without_weight_a_foreign_run_equals_plain_monai_to_the_bit(scratch, monkeypatch, style):
    teacher, student = two_bundles(scratch, style)
    monkeypatch.syspath_prepend(student)
    path = next((student / "configs").glob("train.*"))
    monai.bundle.run(
        run_id=STYLES[style][3],
        config_file=str(path),
        meta_file=str(student / "configs" / "metadata.json"),
        bundle_root=str(student),
        ckpt_dir=str(scratch / "plain"),
    )
    plain = weights(scratch / "plain" / "model.pt")
    drawn = torch.rand(()), np.random.rand()
    found = distill_bundle(teacher, student, **{f"lambda_{name}": 0 for name in LOADS})
    assert found == student / "models" / "model.pt"
    distilled = weights(found)
    assert plain.keys() == distilled.keys()
    assert all(torch.equal(plain[name], distilled[name]) for name in plain)
    # and nothing was drawn beside
    assert (torch.rand(()), np.random.rand()) == drawn


@pytest.mark.parametrize("style", ["scripts", "sigmoid", "deep supervision"])
def test_with_weight_every_style_is_trained_by_all_its_terms(scratch, style):
    teacher, student = two_bundles(scratch, style)
    workflow = DistillationWorkflow(teacher, student)
    found = workflow.train()
    terms = workflow._trainer().state.loss_terms
    assert set(terms) == {"task", "logits", "affinity"}
    assert all(torch.isfinite(value) and value > 0 for value in terms.values())
    assert workflow._trainer().teacher_output.activation == ("sigmoid" if style == "sigmoid" else "softmax")
    assert found == student / "models" / "model.pt"
