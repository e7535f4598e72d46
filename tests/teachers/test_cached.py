# SPDX-License-Identifier: Apache-2.0
"""Training from a teacher cache: equal to training beside the teacher, and never from stale outputs."""

from __future__ import annotations

import copy

import pytest
from monai.transforms import ScaleIntensityd
from teacher_tools import VIEWS, all_terms, cases, close, equal, networks, run
from torch import nn


@pytest.mark.parametrize("classes", [2, 3])
def test_every_term_of_50_steps_equals_the_online_run_and_a_second_run_needs_no_teacher(tmp_path, classes):
    online = run(classes=classes)
    filling = run(tmp_path, classes=classes)
    filled = run(tmp_path, classes=classes)
    assert len(online.terms) == 50
    assert set(online.terms[0]) == {"task", "logits", "gram", "affinity"}
    assert online.terms == filling.terms == filled.terms  # exactly: a float32 cache keeps every bit
    assert online.images > 200
    # two volumes of four slices in eight views, each at most once, and one image to learn the shapes
    assert filling.images - 1 <= 64
    assert filled.images == filled.trainer.teacher_source.computed == 0
    assert filled.trainer.teacher_source.served == 200
    assert equal(online.student, filled.student)


def test_another_student_and_method_share_the_cache(tmp_path):
    run(tmp_path)
    assert run(tmp_path, terms=all_terms("up")[::2]).images == 0
    labels = run(tmp_path, terms=all_terms()[2:])
    assert labels.images == 0
    assert labels.trainer.teacher_source.labels_only
    close(labels.terms, run(terms=all_terms()[2:]).terms)


def test_a_layer_that_the_cache_lacks_is_added_to_it(tmp_path):
    run(tmp_path, terms=all_terms()[:1])
    added = run(tmp_path)
    assert added.images > 0
    close(added.terms, run().terms)
    assert run(tmp_path).images == 0


def test_workers_change_nothing(tmp_path):
    one = run(tmp_path, steps=10)
    assert one.terms == run(tmp_path, steps=10, workers=2).terms
    assert one.terms == run(tmp_path, steps=10, identify=True).terms


@pytest.mark.fault(
    "Teacher cache",
    "images or teacher change under a cache",
    injected="weights, buffers, structure, settings, images, transforms",
    outcome="computed again",
)
@pytest.mark.parametrize("what", ["weight", "buffer", "structure", "setting", "volume", "transform"])
def test_what_has_changed_is_computed_again(tmp_path, what):
    run(tmp_path, steps=10)
    teacher, data, transforms = networks()[1], cases(), VIEWS
    if what == "weight":
        teacher.head.weight.data[0, 0, 0, 0] += 1.0
    elif what == "buffer":
        teacher.body[1].running_var *= 2
    elif what == "structure":
        teacher.body[2] = nn.LeakyReLU(0.3)
    elif what == "setting":
        teacher.gain = 3.0
    elif what == "volume":
        data[0]["image"][0, 5, 5] += 1.0
        data[1]["image"][0, 5, 5] += 1.0
    else:
        transforms = (ScaleIntensityd("image"), *VIEWS)
    same = {"teacher": teacher, "data": data, "transforms": transforms, "steps": 10}
    changed = run(tmp_path, **same)
    online = run(**{**same, "teacher": copy.deepcopy(teacher)})
    assert changed.images > 0
    close(online.terms, changed.terms)


def test_a_weight_that_changes_after_the_trainer_was_made_is_noticed(tmp_path):
    teacher = networks()[1]
    first = run(tmp_path, steps=5, teacher=teacher)
    teacher.head.bias.data += 1
    first.trainer.state.max_epochs = 2
    before = first.trainer.teacher_source.computed
    first.trainer.run()
    assert first.trainer.teacher_source.computed > before


def test_half_precision_changes_each_term_by_little_and_the_affinity_not_at_all(tmp_path):
    online, half = run(steps=5), run(tmp_path, steps=5, cache_dtype="float16")
    assert online.terms[0]["affinity"] == pytest.approx(half.terms[0]["affinity"], rel=1e-6)
    for name in ("logits", "gram"):
        assert online.terms[0][name] == pytest.approx(half.terms[0][name], rel=2e-3)
        assert online.terms[0][name] != half.terms[0][name]
    assert run(tmp_path, steps=5, cache_dtype="float16").terms == half.terms


def test_a_killed_run_leaves_a_cache_with_which_the_next_one_resumes(tmp_path):
    complete = run(tmp_path / "complete", steps=20)
    part = run(tmp_path / "part", steps=5)
    torn = sorted((tmp_path / "part").rglob("*.row"))[-1]
    before = torn.read_bytes()
    # what a process killed inside a write leaves, and what a disk may lose of a complete row
    (torn.parent / ".tmp-1-1-row").write_bytes(before[:100])
    torn.write_bytes(before[:-1])
    resumed = run(tmp_path / "part", steps=20)
    assert resumed.terms == complete.terms
    assert equal(resumed.student, complete.student)
    assert part.images + resumed.images == complete.images + 1  # the torn one
    assert torn.read_bytes() == before


def test_an_old_cache_is_not_misread(tmp_path, monkeypatch):
    monkeypatch.setattr("akd_monai.teachers._folders._FORMAT", 1)
    run(tmp_path, steps=5)
    folders = {path.name for path in tmp_path.iterdir()}
    monkeypatch.undo()
    assert run(tmp_path, steps=5).images > 0
    assert len({path.name for path in tmp_path.iterdir()} - folders) == 1
