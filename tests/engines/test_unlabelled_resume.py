# SPDX-License-Identifier: Apache-2.0
"""A run with images without labels that is stopped anywhere, has workers, or stores the teacher's outputs, ends the same."""

from __future__ import annotations

import copy
import json

import pytest
import torch
from ignite.engine import Events
from monai.data import CacheDataset, DataLoader, list_data_collate
from monai.transforms import Compose, EnsureTyped, RandCropByPosNegLabeld, RandFlipd
from unlabelled_tools import BOTH, cases, networks, run, same, trainer_of, weights

from akd_monai.errors import InputError
from akd_monai.handlers import ResumableCheckpoint, RunRecord

IMAGES = cases(2, first=5, labels=False)
THREE = {"data": IMAGES, "batch_size": 3, "confidence": 0.5}
TERMS = [{"name": "logits", "loss": "logits", "weight": 0.3}]


def fresh(**options):
    return copy.deepcopy(networks(**options))


def stopping(trainer, iteration):
    """Have a run fail in the middle of a step."""

    def stop(engine):
        if engine.state.iteration == iteration:
            raise RuntimeError("killed")

    trainer.add_event_handler(Events.ITERATION_STARTED, stop)
    return trainer


def of(folder, given=THREE, **options):
    return trainer_of(*fresh(), given, terms=TERMS, handlers=[ResumableCheckpoint(folder, interval=1)], **options)


@pytest.mark.fault(
    "Stopped runs",
    "a distillation with unlabelled images that is stopped inside an epoch",
    injected="an error at the second and at the fifth of six steps",
    outcome="resumed; the weights are those of a run in one go, bit for bit",
)
@pytest.mark.parametrize("pseudo_labels", ["hard", "soft"])
def test_a_run_that_is_stopped_inside_an_epoch_ends_with_the_same_weights(tmp_path, pseudo_labels):
    given = {**THREE, "pseudo_labels": pseudo_labels}
    wanted = of(tmp_path / "whole", given)
    wanted.run()
    for iteration in (2, 5):
        with pytest.raises(RuntimeError, match="killed"):
            stopping(of(tmp_path / "parts", given), iteration).run()
    last = of(tmp_path / "parts", given)
    last.run()
    assert last.state.iteration == 6
    assert same(weights(wanted), weights(last))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"weight": 0.5}, r"unlabelled.weight \(was 1.0, is 0.5\)"),
        ({"batch_size": 2}, r"unlabelled.batch_size \(was 3, is 2\)"),
        ({"confidence": None}, r"unlabelled.confidence \(was 0.5, is None\)"),
        ({"data": cases(2, first=6, labels=False)}, r"unlabelled.images.data.A/5"),
        ({"batch_size": 0}, r"unlabelled \(was .*, is absent\)"),
    ],
    ids=lambda value: str(next(iter(value))) if isinstance(value, dict) else "",
)
def test_a_run_with_other_images_or_options_is_another_run(tmp_path, change, words):
    of(tmp_path, epochs=1).run()
    with pytest.raises(InputError, match="another run, which differs in .*" + words):
        of(tmp_path, {**THREE, **change}).run()


def test_worker_processes_change_nothing():
    assert same(weights(run(*fresh(), THREE)), weights(run(*fresh(), THREE, workers=2)))


@pytest.mark.parametrize("given", [{}, {"confidence": None}, {"pseudo_labels": "soft"}], ids=str)
def test_stored_outputs_of_the_teacher_change_nothing(tmp_path, given):
    given = {**THREE, **given}
    # without a term the decision is all that is needed
    terms = [] if given["confidence"] is None else TERMS
    wanted = run(*fresh(), given, terms=terms)
    first = run(*fresh(), given, terms=terms, cache=tmp_path)
    second = run(*fresh(), given, terms=terms, cache=tmp_path)
    assert same(weights(wanted), weights(first))
    assert same(weights(wanted), weights(second))
    assert first.teacher_source.served == second.teacher_source.served == 30
    # two flips of 6 labelled and 6 unlabelled slices
    assert 0 < first.teacher_source.computed <= 24
    assert second.teacher_source.computed == 0


def test_the_record_names_the_images(tmp_path):
    trainer = trainer_of(*fresh(), THREE, epochs=1, handlers=[RunRecord(tmp_path, {"labelled_cases": 2})])
    trainer.run()
    record = json.loads((tmp_path / "training.json").read_text())
    assert record["unlabelled_case_ids"] == ["A/5", "A/6"]
    assert record["case_ids"] == ["A/0", "A/1"]
    assert record["unlabelled"]["confidence"] == 0.5
    plain = trainer_of(*fresh(), epochs=1, handlers=[RunRecord(tmp_path)])
    plain.run()
    assert "unlabelled_case_ids" not in json.loads((tmp_path / "training.json").read_text())


def volumes(transforms):
    dataset = CacheDataset(cases(3), Compose([EnsureTyped(BOTH), *transforms]), progress=False)
    return DataLoader(dataset, batch_size=2, collate_fn=list_data_collate)


@pytest.mark.parametrize("pseudo_labels", ["hard", "soft"])
def test_volumes_of_a_data_set_of_monai_in_3d(pseudo_labels):
    """Two crops of each of 2 labelled volumes and of 1 unlabelled one, which their transforms draw anywhere."""
    crop = RandCropByPosNegLabeld(BOTH, label_key="label", spatial_size=(4, 4, 2), num_samples=2)
    found = []
    for _ in range(2):
        given = {"data": IMAGES, "batch_size": 1, "pseudo_labels": pseudo_labels}
        trainer = trainer_of(
            *fresh(dims=3), given, terms=TERMS, loader=volumes([crop, RandFlipd(BOTH, prob=0.5)]), epochs=1
        )
        trainer.data_loader.dataset.transform.set_random_state(1)
        shapes = []
        trainer.network.register_forward_pre_hook(lambda _, given, shapes=shapes: shapes.append(list(given[0].shape)))
        trainer.run()
        assert shapes == [[6, 1, 4, 4, 2], [4, 1, 4, 4, 2]]
        assert trainer.state.loss_terms["unlabelled"].item() > 0
        found.append(weights(trainer))
    assert same(*found)


def test_images_of_another_size_are_refused():
    images = [{"image": torch.rand(1, 10, 8, 3), "case_id": "B/0"}]
    with pytest.raises(InputError) as caught:
        run(*fresh(dims=3), {"data": images, "batch_size": 1}, loader=volumes([]))
    words = str(caught.value)
    assert "labelled and unlabelled images differ in size, [1, 8, 8, 3] and [1, 10, 8, 3]" in words
    assert "bring them to one size" in words
