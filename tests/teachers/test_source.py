# SPDX-License-Identifier: Apache-2.0
"""Which source of outputs the options and terms of a distillation get."""

from __future__ import annotations

import pytest
import torch
from teacher_tools import all_terms, close, run
from torch import nn
from torch.nn import functional as F

from akd_monai.errors import InputError
from akd_monai.losses import AdaptiveAffinityLoss, DistillationCriterion, DistillationLoss, LogitsKLLoss
from akd_monai.teachers import CachedTeacher, OnlineTeacher, teacher_source

CPU = torch.device("cpu")


class LabelLoss(DistillationLoss):
    """A loss of a plug-in: the student's cross-entropy on the teacher's decisions."""

    teacher_needs = "labels"

    def forward(self, student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(student, teacher.argmax(1))


class SquaredDecisions(AdaptiveAffinityLoss):
    """A loss that inherits from one that needs labels, and reads more."""

    def forward(self, student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
        return super().forward(student, teacher) + teacher.square().mean()


def term(loss, **settings):
    return [{"name": "own", "loss": loss, "weight": 1.0, **settings}]


def source_of(terms, **options):
    return teacher_source(nn.Conv2d(1, 2, 1).eval(), DistillationCriterion(terms), options, CPU)


def test_without_a_folder_the_teacher_is_run_on_every_batch():
    assert isinstance(source_of(all_terms()[:1]), OnlineTeacher)
    assert isinstance(source_of(all_terms()[:1], cache_dir="cache"), CachedTeacher)


@pytest.mark.parametrize(
    ("terms", "labels_only"),
    [
        (term(LabelLoss()), True),
        (term(AdaptiveAffinityLoss()), True),
        (term(LabelLoss(), resize=True), False),
        (term(SquaredDecisions()), False),
        (term(LogitsKLLoss()), False),
        (term(nn.MSELoss()), False),
        ([*term(LabelLoss()), *all_terms()[:1]], False),
    ],
    ids=["plug-in", "affinity", "resized", "derived", "differences", "unknown", "two terms"],
)
def test_labels_alone_are_read_where_every_loss_says_that_it_needs_no_more(terms, labels_only):
    assert source_of(terms, cache_dir="cache").labels_only is labels_only


def test_a_loss_of_a_plug_in_that_needs_labels_trains_the_same_from_the_cache(tmp_path):
    online = run(steps=20, terms=term(LabelLoss()))
    for dtype in ("float32", "float16"):
        cached = run(tmp_path, steps=20, terms=term(LabelLoss()), cache_dtype=dtype)
        assert cached.trainer.teacher_source.labels_only
        assert cached.terms == online.terms


def test_a_derived_loss_gets_the_logits_themselves(tmp_path):
    close(
        run(steps=10, terms=term(SquaredDecisions())).terms,
        run(tmp_path, steps=10, terms=term(SquaredDecisions())).terms,
    )


@pytest.mark.parametrize(
    ("loss", "settings"),
    [(nn.MSELoss(), {}), (LogitsKLLoss(), {"resize": True}), (SquaredDecisions(), {})],
    ids=["unknown", "resized", "derived"],
)
def test_half_differences_are_refused_for_a_loss_that_needs_logits(loss, settings):
    with pytest.raises(InputError, match=r"term 'own' needs the teacher's logits as they are.*cache_dtype to float32"):
        source_of(term(loss, **settings), cache_dir="cache", cache_dtype="float16")


def test_an_unknown_loss_trains_the_same_from_a_float32_cache(tmp_path):
    terms = [{"name": "mse", "loss": nn.MSELoss(), "weight": 1.0}]
    close(run(terms=terms, steps=10).terms, run(tmp_path, terms=terms, steps=10).terms)


@pytest.mark.parametrize("terms", [term(LogitsKLLoss()), term(LabelLoss())], ids=["differences", "labels"])
def test_half_differences_serve_a_loss_that_needs_no_more(terms):
    assert isinstance(source_of(terms, cache_dir="cache", cache_dtype="float16"), CachedTeacher)
