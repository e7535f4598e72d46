# SPDX-License-Identifier: Apache-2.0
"""The distillation trainer: what it adds to a plain run, and what it must not touch."""

from __future__ import annotations

import copy

import pytest
import torch
from ignite.engine import Events
from monai.engines import SupervisedTrainer
from torch import nn
from torch.nn import functional as F

from akd_monai.engines import DistillationTrainer
from akd_monai.errors import InputError, UnknownNameError
from akd_monai.handlers import KeyedRandomness
from akd_monai.losses import DistillationCriterion


class Small(nn.Module):
    """Two convolutions with batch normalisation and dropout between them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(), nn.Dropout2d(0.3)
        )
        self.head = nn.Conv2d(width, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x))


def batches(count=4, size=3):
    generator = torch.Generator().manual_seed(3)
    for _ in range(count):
        image = torch.rand(size, 1, 8, 8, generator=generator)
        yield {"image": image, "label": (image > 0.5).long()}


def networks():
    torch.manual_seed(0)
    return Small(4), Small(6)


def run(student, teacher=None, terms=(), epochs=2, start=True, **options):
    shared = {
        "device": "cpu",
        "max_epochs": epochs,
        "train_data_loader": list(batches()),
        "network": student,
        "optimizer": torch.optim.Adam(student.parameters(), lr=0.05),
        "loss_function": lambda logits, label: F.cross_entropy(logits, label[:, 0]),
        "train_handlers": [KeyedRandomness(seed=1)],
        "decollate": False,
        **options,
    }
    if teacher is None:
        trainer = SupervisedTrainer(**shared)
    else:
        trainer = DistillationTrainer(
            teacher=teacher, distillation=DistillationCriterion(list(terms)), input_shape=(1, 8, 8), **shared
        )
    if start:
        trainer.run()
    return trainer


def all_terms(**weights):
    given = {"logits": 0.2, "gram": 0.9, "affinity": 0.9, **weights}
    return [
        {"name": "logits", "loss": "logits", "weight": given["logits"]},
        {
            "name": "gram",
            "loss": "gram",
            "weight": given["gram"],
            "student_layer": "body",
            "teacher_layer": "body",
            "adapter": "conv1x1",
        },
        {"name": "affinity", "loss": "affinity", "weight": given["affinity"], "student_layer": "body"},
    ]


def same(a, b):
    return all(torch.equal(x, b[key]) for key, x in a.items())


def test_without_weight_the_run_equals_a_plain_run_to_the_bit():
    student, teacher = networks()
    plain = copy.deepcopy(student)
    run(plain)
    run(student, teacher, all_terms(logits=0, gram=0, affinity=0))
    assert same(plain.state_dict(), student.state_dict())


def test_with_weight_the_run_differs_and_no_term_is_idle():
    start, teacher = networks()
    plain = copy.deepcopy(start)
    run(plain)
    for name in ("logits", "gram", "affinity"):
        weights = dict.fromkeys(("logits", "gram", "affinity"), 0.0) | {name: 0.5}
        student = copy.deepcopy(start)
        trainer = run(student, teacher, all_terms(**weights))
        assert not same(plain.state_dict(), student.state_dict()), name
        assert set(trainer.state.loss_terms) == {"task", name}


def test_teacher_parameters_and_buffers_do_not_change():
    student, teacher = networks()
    teacher.train()  # a careless caller
    before = copy.deepcopy(teacher.state_dict())
    run(student, teacher, all_terms())
    assert same(before, teacher.state_dict())
    assert not teacher.training


def test_teacher_is_set_to_eval_again_when_a_caller_trains_it_before_the_run():
    student, teacher = networks()
    trainer = DistillationTrainer(
        teacher=teacher,
        distillation=DistillationCriterion(all_terms()[:1]),
        device="cpu",
        max_epochs=1,
        train_data_loader=list(batches()),
        network=student,
        optimizer=torch.optim.SGD(student.parameters(), lr=0.1),
        loss_function=lambda logits, label: F.cross_entropy(logits, label[:, 0]),
    )
    teacher.train()
    before = copy.deepcopy(teacher.state_dict())
    trainer.run()
    assert same(before, teacher.state_dict())


def test_student_holds_no_adapter_and_loads_into_a_bare_network():
    student, teacher = networks()
    trainer = run(student, teacher, all_terms())
    Small(4).load_state_dict(student.state_dict())
    assert [tuple(p.shape) for p in trainer.distillation.adapters.parameters()] == [(6, 4, 1, 1)]


def test_adapters_learn_at_the_students_learning_rate():
    student, teacher = networks()
    trainer = run(student, teacher, all_terms(), epochs=1, start=False)
    before = copy.deepcopy(trainer.distillation.adapters.state_dict())
    trainer.optimizer.param_groups[0]["lr"] = 0.01
    trainer.run()
    assert not same(before, trainer.distillation.adapters.state_dict())
    assert trainer.adapter_optimizer.param_groups[0]["lr"] == 0.01
    assert type(trainer.adapter_optimizer) is torch.optim.Adam


def test_adapters_step_once_for_accumulated_batches():
    student, teacher = networks()
    trainer = run(student, teacher, all_terms(), epochs=1, accumulation_steps=2)
    steps = {int(s["step"]) for s in trainer.adapter_optimizer.state.values()}
    assert steps == {2}  # four batches, two of them accumulated


@pytest.mark.parametrize("fused", [False, True])
def test_adapters_do_not_step_where_the_students_gradients_overflowed(fused):
    student, teacher = networks()
    optimizer = torch.optim.Adam(student.parameters(), lr=0.05, fused=fused)
    trainer = run(student, teacher, all_terms(), epochs=1, start=False, optimizer=optimizer)
    student.head.bias.register_hook(lambda grad: grad * (torch.inf if trainer.state.iteration == 2 else 1))
    kept = {}

    def scale(engine):
        engine.amp, engine.scaler = True, torch.amp.GradScaler("cpu")

    def keep(engine):
        kept[engine.state.iteration] = copy.deepcopy([student.state_dict(), engine.distillation.adapters.state_dict()])

    trainer.add_event_handler(Events.EPOCH_STARTED, scale)
    trainer.add_event_handler(Events.ITERATION_COMPLETED, keep)
    trainer.run()
    weights = [{k: v for k, v in kept[i][0].items() if "running" not in k and "tracked" not in k} for i in (1, 2, 3)]
    assert same(weights[0], weights[1])
    assert not same(weights[1], weights[2])
    assert same(kept[1][1], kept[2][1])
    assert not same(kept[2][1], kept[3][1])
    assert {int(s["step"]) for s in trainer.adapter_optimizer.state.values()} == {3}  # of four


def test_total_is_the_task_plus_the_weighted_terms():
    student, teacher = networks()
    seen = []
    trainer = run(student, teacher, all_terms(), epochs=1, start=False)
    trainer.add_event_handler(
        Events.ITERATION_COMPLETED,
        lambda engine: seen.append((float(engine.state.output["loss"]), dict(engine.state.loss_terms))),
    )
    trainer.run()
    for total, terms in seen:
        assert total == pytest.approx(sum(float(v) for v in terms.values()), rel=1e-6)


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_a_compiled_student_takes_the_steps_of_a_plain_one(backend):
    student, teacher = networks()
    student.body[3] = nn.Identity()  # compiled dropout draws other masks
    plain, found = copy.deepcopy(student), {}
    torch._dynamo.reset()
    for network, options in ((plain, {}), (student, {"compile": True, "compile_kwargs": {"backend": backend}})):
        trainer = run(network, teacher, all_terms(), start=False, **options)
        seen = found.setdefault(network, [])
        trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda e, seen=seen: seen.append({**e.state.loss_terms}))
        trainer.run()
    assert len(found[student]) == 8
    torch.testing.assert_close(found[student], found[plain], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(student.state_dict(), plain.state_dict(), rtol=1e-4, atol=1e-5)


def test_features_are_not_kept_after_a_step():
    student, teacher = networks()
    trainer = run(student, teacher, all_terms())
    assert trainer.teacher_source.taps._found == {}
    assert not student.body._forward_hooks


def test_unknown_layer_lists_what_resembles_it():
    student, teacher = networks()
    terms = [{"name": "affinity", "loss": "affinity", "weight": 1.0, "student_layer": "bodyy"}]
    with pytest.raises(UnknownNameError, match=r"unknown layer 'bodyy' in Small. Did you mean 'body'"):
        run(student, teacher, terms)


def test_a_loader_without_a_batch_is_refused():
    data = torch.utils.data.DataLoader(list(range(3)), batch_size=4, drop_last=True)
    with pytest.raises(InputError, match=r"there is no batch to train on.*drop_last leaves a batch"):
        run(networks()[0], networks()[1], train_data_loader=data)


def test_adapter_without_input_shape_is_explained():
    student, teacher = networks()
    with pytest.raises(InputError, match=r"give input_shape, for instance \[1, 384, 384\]"):
        DistillationTrainer(
            teacher=teacher,
            distillation=DistillationCriterion(all_terms()),
            device="cpu",
            max_epochs=1,
            train_data_loader=list(batches()),
            network=student,
            optimizer=torch.optim.SGD(student.parameters(), lr=0.1),
            loss_function=F.cross_entropy,
        )


def test_teacher_with_several_outputs_is_explained():
    student, _ = networks()

    class Deep(Small):
        def forward(self, x):
            return [super().forward(x)] * 2

    with pytest.raises(
        InputError, match=r"teacher: several outputs could be its logits: .*; choose one by teacher_head"
    ):
        run(student, Deep(4), all_terms()[:1])


def test_teacher_is_in_eval_mode_as_soon_as_the_trainer_stands():
    student, teacher = networks()
    teacher.train()
    run(student, teacher, all_terms()[:1], start=False)
    assert not any(module.training for module in teacher.modules())
    assert not any(parameter.requires_grad for parameter in teacher.parameters())


def test_a_run_reports_how_often_the_teacher_was_called(caplog):
    student, teacher = networks()
    with caplog.at_level("INFO", logger="akd_monai.engines"):
        run(student, teacher, all_terms()[:1])
    # two epochs of four batches of three
    assert "teacher: 24 forward passes, outputs provided for 24 images" in caplog.messages
