# SPDX-License-Identifier: Apache-2.0
"""A teacher in TorchScript, ``models/model.ts``: a program that is run only when it is trusted, and has no layers."""

from __future__ import annotations

import sys
from pathlib import Path

import monai
import pytest
import torch
from monai.networks.nets import UNet
from small_students import CROP, TEACHER, nested, write_big, write_student, write_volumes

from akd_monai.__main__ import main
from akd_monai.bundle import DistillationWorkflow, load_network
from akd_monai.errors import InputError

NO_RESUME = {"distillation_resume": "off"}
IMAGE = torch.linspace(-1, 2, CROP**3).reshape(1, 1, CROP, CROP, CROP)


@pytest.fixture
def bundles(tmp_path, monkeypatch):
    """A teacher as weights and the same one as TorchScript alone, and a student."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    data = write_volumes(tmp_path / "data", count=2)
    config = nested(data, epochs=1)
    plain, scripted = (write_big(tmp_path / name, config) for name in ("plain", "scripted"))
    network = UNet(**TEACHER, out_channels=2)
    weights = scripted / "models" / "model.pt"
    network.load_state_dict(torch.load(weights, weights_only=True))
    weights.unlink()
    torch.jit.script(network.eval()).save(scripted / "models" / "model.ts")
    yield plain, scripted, write_student(tmp_path / "student", config)
    monai.utils.set_determinism(None)


def trained(teacher: Path, student: Path, **options) -> tuple[DistillationWorkflow, dict[str, torch.Tensor]]:
    workflow = DistillationWorkflow(teacher, student, **NO_RESUME, **options)
    return workflow, torch.load(workflow.train(), weights_only=True)


def test_it_is_run_only_when_it_is_trusted(bundles, capsys):
    _, scripted, student = bundles
    message = r"model.ts: is TorchScript, a program that would be run; pass --trust_teacher to distill"
    with pytest.raises(InputError, match=message):
        load_network(scripted)
    with pytest.raises(SystemExit) as stop:
        main(["distill", f"--teacher={scripted}", f"--student={student}"])
    assert stop.value.code == 2
    assert "is TorchScript, a program that would be run" in capsys.readouterr().err.strip().splitlines()[-1]
    assert not list((student / "models").iterdir())


def test_it_teaches_what_its_weights_teach(bundles):
    plain, scripted, student = bundles
    assert torch.allclose(load_network(scripted, trust_bundle=True)(IMAGE), load_network(plain)(IMAGE), atol=1e-6)
    workflow, found = trained(scripted, student, trust_teacher=True)
    terms = workflow._trainer().state.loss_terms
    assert set(terms) == {"task", "logits", "affinity"}
    _, expected = trained(plain, student)
    assert all(torch.allclose(found[name], expected[name], atol=1e-4) for name in expected)


def test_weights_are_preferred_where_there_are_both(bundles):
    plain, scripted, student = bundles
    (scripted / "models" / "model.pt").write_bytes((plain / "models" / "model.pt").read_bytes())
    workflow, _ = trained(scripted, student)
    assert not isinstance(workflow._trainer().teacher, torch.jit.ScriptModule)


def test_a_layer_of_it_is_refused(bundles):
    _, scripted, student = bundles
    with pytest.raises(
        InputError, match=r"a TorchScript teacher \(models/model.ts\) has no features by layer; leave out"
    ):
        DistillationWorkflow(scripted, student, trust_teacher=True, teacher_layer="model.0")


def test_a_file_that_is_no_program_is_told(bundles):
    _, scripted, _ = bundles
    (scripted / "models" / "model.ts").write_bytes(b"nonsense")
    with pytest.raises(InputError, match=r"model.ts: cannot be loaded as TorchScript"):
        load_network(scripted, trust_bundle=True)
