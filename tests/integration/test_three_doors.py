# SPDX-License-Identifier: Apache-2.0
"""The command line, ``DistillationWorkflow`` and MONAI's own command give one run: the same weights, bit for bit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from bundle_tools import run_bundle, small_bundle
from foreign_tools import STUDENT, foreign_bundle, foreign_teacher, write_cubes

import akd_monai.bundle
from akd_monai.__main__ import main
from akd_monai.bundle import DistillationWorkflow

GENERIC = Path(akd_monai.bundle.__file__).with_name("distill.json")
LAYERS = {"distillation_layers": {"high": "model.1.submodule"}}
LAYERS_OF_TEACHER = {"distillation_layers": {"high": "down_1.convs"}}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Sums are added up in the same order here and in processes started with one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def run(workflow: DistillationWorkflow) -> dict[str, torch.Tensor]:
    """Run a workflow and return the terms of its last iteration."""
    workflow.initialize()
    workflow.run()
    workflow.finalize()
    return workflow.parser.get_parsed_content("train#trainer").state.loss_terms


def weights(path: Path) -> dict[str, torch.Tensor]:
    content = torch.load(path, weights_only=True)
    if "parts" in content:
        return content["parts"]["network"]
    return content.get("model", content)


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.slow
def test_a_bundle_of_the_project(tmp_path, data_dir, teacher):
    by_monai, by_python, by_command = (small_bundle("enet", tmp_path / name) for name in ("monai", "python", "command"))
    run_bundle(
        by_monai, "['configs/train.json','configs/distill.json']", f"--teacher_bundle={teacher}",
        f"--dataset_dir={data_dir}", "--sites=['I2CVB']", "--lambda_affinity=0.0",
    )  # fmt: skip
    terms = run(
        DistillationWorkflow(teacher, by_python, terms=["logits", "gram"], dataset_dir=str(data_dir), sites=["I2CVB"])
    )
    assert set(terms) == {"task", "logits", "gram"}
    main([
        "distill", f"--teacher={teacher}", f"--student={by_command}", f"--dataset_dir={data_dir}", "--sites=['I2CVB']",
        "--terms=logits,gram",
    ])  # fmt: skip
    for file in ("eval/resume.pt", "models/model.pt"):
        expected = weights(by_monai / file)
        assert equal(expected, weights(by_python / file))
        assert equal(expected, weights(by_command / file))


@pytest.mark.slow
def test_a_foreign_student_whose_metadata_names_its_layers(tmp_path):
    data = write_cubes(tmp_path / "data")
    teacher = foreign_teacher(tmp_path / "teacher", data, **LAYERS_OF_TEACHER)
    names = ("monai", "python", "command", "without")
    by_monai, by_python, by_command, without = (
        foreign_bundle(tmp_path / name, STUDENT, data, **LAYERS) for name in names
    )
    run_bundle(by_monai, f"['configs/train.json',{str(GENERIC)!r}]", f"--teacher_bundle={teacher}")
    terms = run(DistillationWorkflow(teacher, by_python))
    assert set(terms) == {"task", "logits", "gram", "affinity"}
    main(["distill", f"--teacher={teacher}", f"--student={by_command}"])
    expected = weights(by_monai / "models" / "model.pt")
    assert equal(expected, weights(by_python / "models" / "model.pt"))
    assert equal(expected, weights(by_command / "models" / "model.pt"))
    # the layers make a difference
    run(DistillationWorkflow(teacher, without, lambda_gram=0.0))
    assert not equal(expected, weights(without / "models" / "model.pt"))


@pytest.mark.slow
def test_a_layer_that_only_one_bundle_names_leaves_the_gram_term_out(tmp_path, caplog):
    data = write_cubes(tmp_path / "data")
    teacher = foreign_teacher(tmp_path / "teacher", data)
    student = foreign_bundle(tmp_path / "student", STUDENT, data, **LAYERS)
    with caplog.at_level("INFO", logger="akd_monai"):
        terms = run(DistillationWorkflow(teacher, student))
    assert set(terms) == {"task", "logits", "affinity"}
    assert "No features are compared" in caplog.text
