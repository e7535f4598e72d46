# SPDX-License-Identifier: Apache-2.0
"""The optimizer of adapters, for every class of optimizers that PyTorch and MONAI have."""

from __future__ import annotations

import copy
import inspect

import monai.optimizers
import pytest
import torch
from monai.handlers import LrScheduleHandler
from torch import nn

from akd_monai.engines import DistillationTrainer
from akd_monai.errors import InputError
from akd_monai.losses import DistillationCriterion

TERMS = [
    {"name": "gram", "loss": "gram", "weight": 0.9, "student_layer": "0", "teacher_layer": "0", "adapter": "conv1x1"}
]
REFUSED = {"LBFGS": "its step needs a closure", "SparseAdam": "sparse gradients", "Muon": "Muon only supports 2D"}


def classes():
    for module in (torch.optim, monai.optimizers):
        for _, kind in inspect.getmembers(module, inspect.isclass):
            if issubclass(kind, torch.optim.Optimizer) and kind is not torch.optim.Optimizer:
                yield kind


def network(width):
    return nn.Sequential(nn.Conv2d(1, width, 3, padding=1), nn.Conv2d(width, 2, 1))


def trainer(optimizer_class, handlers=(), epochs=1, **options):
    torch.manual_seed(0)
    student, teacher = network(3), network(5)
    generator = torch.Generator().manual_seed(1)
    parameters = [p for p in student.parameters() if p.dim() == 2] if optimizer_class is MUON else student.parameters()
    parameters = list(parameters) or [nn.Parameter(torch.ones(2, 2))]
    optimizer = optimizer_class(parameters, **options)
    return DistillationTrainer(
        device="cpu",
        max_epochs=epochs,
        train_data_loader=[{"image": torch.rand(2, 1, 8, 8, generator=generator), "label": torch.zeros(2, 1, 8, 8)}]
        * 2,
        network=student,
        optimizer=optimizer,
        loss_function=lambda logits, label: logits.square().mean(),
        teacher=teacher,
        distillation=DistillationCriterion(TERMS),
        input_shape=(1, 8, 8),
        decollate=False,
        train_handlers=[handler(optimizer) for handler in handlers],
    )


MUON = getattr(torch.optim, "Muon", None)


@pytest.mark.parametrize("kind", sorted(set(classes()), key=lambda kind: kind.__name__), ids=lambda kind: kind.__name__)
def test_adapters_are_trained_by_the_class_of_the_students_optimizer(kind):
    if kind.__name__ in REFUSED:
        with pytest.raises(
            InputError, match=f"cannot be trained by {kind.__name__} .*{REFUSED[kind.__name__]}.*; choose"
        ):
            trainer(kind, lr=0.01)
        return
    run = trainer(kind, lr=0.01)
    before = copy.deepcopy(run.distillation.adapters.state_dict())
    run.run()
    assert type(run.adapter_optimizer) is kind
    assert run.adapter_optimizer.defaults == run.optimizer.defaults
    assert all(not torch.equal(value, before[name]) for name, value in run.distillation.adapters.state_dict().items())


class Passes(torch.optim.AdamW):
    """Keeps a setting that its constructor does not take, and passes the others on."""

    def __init__(self, params, *, extra=1.0, **options):
        super().__init__(params, **options)
        self.defaults["more"] = extra


def test_settings_that_a_class_passes_on_are_kept():
    run = trainer(Passes, lr=0.02, weight_decay=0.3)
    settings = run.adapter_optimizer.param_groups[0]
    assert (settings["lr"], settings["weight_decay"]) == (0.02, 0.3)


def test_a_schedule_of_the_student_is_followed():
    seen = []

    def schedule(optimizer):
        return LrScheduleHandler(torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.1), print_lr=False)

    run = trainer(torch.optim.AdamW, [schedule], epochs=3, lr=0.01)
    run.optimizer.register_step_post_hook(lambda *_: seen.append(run.adapter_optimizer.param_groups[0]["lr"]))
    run.run()
    assert seen == pytest.approx([1e-2, 1e-2, 1e-3, 1e-3, 1e-4, 1e-4])


def test_an_adapter_is_trained_as_a_layer_of_the_student_would_be():
    """Adam's first step from a gradient g is lr * g / (|g| + eps), so that every weight moves by lr."""
    run = trainer(torch.optim.Adam, lr=0.01)
    (before,) = [p.detach().clone() for p in run.distillation.adapters.parameters()]
    run.optimizer.register_step_post_hook(lambda *_: run.terminate())
    run.run()
    (after,) = run.distillation.adapters.parameters()
    torch.testing.assert_close((after - before).abs().flatten(), torch.full((15,), 0.01), rtol=1e-3, atol=0)
