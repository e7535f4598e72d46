# SPDX-License-Identifier: Apache-2.0
"""Batches of one image in the Gram loss: the last one of an epoch passes with a warning, a run of them is refused."""

from __future__ import annotations

import logging

import pytest
import torch
from torch import nn

from akd_monai.errors import InputError
from akd_monai.losses import DistillationCriterion, GramKernelLoss, gram_loss


def maps(batch, dims=2, channels=3):
    rng = torch.Generator().manual_seed(batch)
    shape = (batch, channels, *(4,) * dims)
    return torch.randn(shape, generator=rng).requires_grad_(), torch.randn(shape, generator=rng)


def warnings(caplog):
    return [record.message for record in caplog.records if record.levelno == logging.WARNING]


def test_the_last_batch_of_each_epoch_may_be_one_image(caplog):
    loss = GramKernelLoss()
    for size in (4, 4, 1, 4, 4, 1):
        student, teacher = maps(size)
        value = loss(student, teacher)
        (gradient,) = torch.autograd.grad(value, student)
        assert (value.item() > 1e-3) == (size == 4)
        assert (gradient.abs().max().item() > 1e-4) == (size == 4)
    (message,) = warnings(caplog)
    assert message.startswith("a batch of one image adds 0 to the Gram loss")


def test_a_run_in_batches_of_one_is_refused_at_its_second_step(caplog):
    loss = GramKernelLoss()
    loss(*maps(1))
    assert len(warnings(caplog)) == 1
    with pytest.raises(InputError, match="set mode to 'channel', or use batches of two or more images"):
        loss(*maps(1))


def test_a_run_resumed_just_before_its_last_batch_passes():
    loss = GramKernelLoss()
    for size in (1, 4, 1, 1):
        loss(*maps(size))


@pytest.mark.parametrize(
    ("options", "dims"),
    [({"mode": "channel"}, 2), ({"mode": "spatial"}, 2), ({"mode": "auto"}, 3), ({"normalize": "dim"}, 2)],
)
def test_other_modes_compare_something_in_one_image(options, dims, caplog):
    loss = GramKernelLoss(**options)
    for _ in range(3):
        student, teacher = maps(1, dims)
        value = loss(student, teacher)
        assert value > 1e-3
        assert torch.autograd.grad(value, student)[0].abs().max() > 1e-4
    assert warnings(caplog) == []


def test_the_term_names_itself_and_a_copy_remembers_nothing_of_its_weights():
    term = {"name": "kernel", "loss": "gram", "student_layer": "a", "teacher_layer": "a"}
    criterion = DistillationCriterion([term])
    student, teacher = maps(1)
    criterion(student, teacher, {"a": student}, {"a": teacher})
    with pytest.raises(InputError, match="term 'kernel': mode 'batch' compares the images"):
        criterion(student, teacher, {"a": student}, {"a": teacher})
    assert criterion.state_dict() == {}


@pytest.mark.parametrize(("dims", "kind"), [(2, nn.Conv2d), (3, nn.Conv3d)])
def test_auto_with_an_adapter_is_the_loss_of_the_adapted_map(dims, kind):
    entry = {
        "loss": "gram",
        "options": {"mode": "auto"},
        "student_layer": "a",
        "teacher_layer": "a",
        "adapter": "conv1x1",
    }
    criterion = DistillationCriterion({"kernel": entry})
    criterion.build_adapters({"a": 3}, {"a": 5}, spatial_dims=dims, seed=0)
    (student, _), (teacher, _) = maps(2, dims), maps(2, dims, channels=5)
    adapter = criterion.adapters["kernel"]
    assert type(adapter) is kind
    found = criterion(student, teacher, {"a": student}, {"a": teacher.detach()})["kernel"]
    expected = gram_loss(adapter(student), teacher, mode="batch" if dims == 2 else "channel")
    torch.testing.assert_close(found, expected)
