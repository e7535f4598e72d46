# SPDX-License-Identifier: Apache-2.0
"""Two bundles that know nothing of this package, in 3D and with three classes, as teacher and student."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from foreign_tools import STUDENT, TEACHER, foreign_bundle, foreign_teacher, network, write_cubes

from akd_monai.__main__ import user_error
from akd_monai.bundle import DistillationWorkflow
from akd_monai.errors import InputError


@pytest.fixture
def bundles(tmp_path):
    data = write_cubes(tmp_path / "data")
    return foreign_teacher(tmp_path / "teacher", data), foreign_bundle(tmp_path / "student", STUDENT, data)


def texts(root: Path) -> dict[str, str]:
    return {p.name: p.read_text() for p in (root / "configs").iterdir()}


@pytest.mark.slow
def test_unmodified_bundles_are_distilled_and_leave_a_plain_student(bundles):
    teacher, student = bundles
    before = texts(teacher) | {f"student {name}": text for name, text in texts(student).items()}
    workflow = DistillationWorkflow(teacher, student, student_layer="model.1.submodule", teacher_layer="down_1.convs")
    workflow.initialize()
    workflow.run()
    terms = workflow.parser.get_parsed_content("train#trainer").state.loss_terms
    assert set(terms) == {"task", "logits", "gram", "affinity"}
    assert all(torch.isfinite(value) and value > 0 for value in terms.values())
    state = torch.load(student / "models" / "model.pt", weights_only=True)
    network(STUDENT).load_state_dict(state.get("model", state), strict=True)
    assert before == texts(teacher) | {f"student {name}": text for name, text in texts(student).items()}


@pytest.mark.slow
def test_bundles_that_do_not_fit_are_told_apart_before_anything_runs(bundles, tmp_path):
    _, student = bundles
    other = foreign_bundle(tmp_path / "other", TEACHER | {"out_channels": 4}, tmp_path / "data", classes=4)
    with pytest.raises(InputError, match="the teacher has 4 classes, the student 3"):
        DistillationWorkflow(other, student)


@pytest.mark.slow
def test_a_cache_is_refused_where_the_data_set_does_not_name_its_slices(bundles, tmp_path):
    workflow = DistillationWorkflow(*bundles, teacher_cache=str(tmp_path / "cache"))
    workflow.initialize()
    with pytest.raises(RuntimeError) as caught:  # MONAI wraps what a config raises
        workflow.run()
    assert "use akd_monai.data.SliceDataset or leave out teacher_cache" in str(user_error(caught.value))
    assert not (tmp_path / "cache").exists()
