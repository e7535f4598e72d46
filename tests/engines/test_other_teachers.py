# SPDX-License-Identifier: Apache-2.0
"""Trainers with several teachers, a teacher on the target's statistics, and an average of the student; over a kill too."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from ignite.engine import Events
from monai.transforms import Compose
from teacher_tools import SIZE, VIEWS, Net, cases, equal
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from akd_monai.data import KeyedSampler, SliceDataset
from akd_monai.engines import DistillationTrainer
from akd_monai.errors import InputError
from akd_monai.handlers import InitialWeights, KeyedRandomness, ResumableCheckpoint
from akd_monai.losses import DistillationCriterion
from akd_monai.teachers import EmaTeacher, TeacherEnsemble, _target_norm, adapt_batch_norm, combine_logits
from akd_monai.teachers._target_images import image_batches

SOFT = [{"name": "soft", "loss": "logits", "weight": 0.5}]
GRAM = [
    {
        "name": "gram",
        "loss": "gram",
        "student_layer": "body",
        "teacher_layer": "body",
        "adapter": "conv1x1",
    }
]


def network(seed: int, width: int = 6) -> Net:
    torch.manual_seed(seed)
    return Net(width, 2)


def made(
    teacher: nn.Module,
    *,
    terms=SOFT,
    folder: Path | None = None,
    epochs: int = 3,
    stop_at: int = 0,
    further=(),
    **options,
):
    """Return a trainer of 5 steps an epoch, which may be killed after a step."""
    student = network(0, 4)
    dataset = SliceDataset(cases(), Compose(list(VIEWS)), background_ratio=None)
    sampler = KeyedSampler(dataset, seed=3, num_samples=20)
    handlers = [KeyedRandomness(seed=1, sampler=sampler, batch_size=4), *further]
    if folder is not None:
        handlers.append(ResumableCheckpoint(folder, interval=1))
    trainer = DistillationTrainer(
        teacher=teacher,
        distillation=DistillationCriterion(terms),
        input_shape=(1, SIZE, SIZE),
        teacher_options=options,
        device="cpu",
        max_epochs=epochs,
        train_data_loader=DataLoader(dataset, batch_size=4, sampler=sampler, drop_last=True),
        network=student,
        optimizer=torch.optim.Adam(student.parameters(), lr=0.01),
        loss_function=lambda logits, label: F.cross_entropy(logits, label[:, 0].long()),
        train_handlers=handlers,
        decollate=False,
    )
    if stop_at:
        trainer.add_event_handler(Events.ITERATION_STARTED(once=stop_at), _killed)
    return trainer


class Killed(Exception):
    """Stands for a kill."""


def _killed(_):
    raise Killed


def resumed(folder: Path, teacher, between=lambda: None, **options):
    """Return a trainer that was killed in its ninth step and ran to its end when it was started again."""
    with pytest.raises(Killed):
        made(teacher(), folder=folder, stop_at=9, **options).run()
    between()
    trainer = made(teacher(), folder=folder, **options)
    trainer.run()
    assert trainer.state.iteration == 15
    return trainer


def several() -> TeacherEnsemble:
    return TeacherEnsemble([network(seed) for seed in (1, 2, 3)], "agreement")


def test_the_terms_see_the_combined_logits_and_the_mean_loss_over_the_teachers():
    values = {}
    for name, teacher in {"all": several(), **{str(seed): network(seed) for seed in (1, 2, 3)}}.items():
        trainer = made(teacher, terms=GRAM, epochs=1)
        trainer.add_event_handler(
            Events.ITERATION_COMPLETED(once=1), lambda e, name=name: values.update({name: e.state.loss_terms["gram"]})
        )
        trainer.run()
    alone = [values[str(seed)].item() for seed in (1, 2, 3)]
    assert values["all"].item() == pytest.approx(sum(alone) / 3, rel=1e-5)
    assert max(alone) > 1.01 * min(alone)

    seen = []
    trainer = made(several(), epochs=1)
    trainer.distillation.register_forward_pre_hook(lambda _, given: seen.append(given[1]))
    images = []
    trainer.network.register_forward_pre_hook(lambda _, given: images.append(given[0]))
    trainer.run()
    with torch.no_grad():
        outputs = [network(seed).eval()(images[0]) for seed in (1, 2, 3)]
    torch.testing.assert_close(seen[0], combine_logits(outputs, "agreement"))
    assert not seen[0].requires_grad


def test_an_average_learns_with_its_student_and_survives_a_kill(tmp_path):
    expected = made(EmaTeacher(0.9))
    expected.run()
    average = expected.teacher.network
    assert int(expected.teacher.average.n_averaged) == 16
    assert not equal(average, expected.network)
    assert not average.training
    trainer = resumed(tmp_path, lambda: EmaTeacher(0.9))
    assert equal(trainer.network, expected.network)
    assert equal(trainer.teacher.network, average)


def test_an_average_starts_as_the_student_with_the_weights_that_its_handlers_have_loaded(tmp_path):
    torch.save(network(9, 4).state_dict(), tmp_path / "initial.pt")
    trainer = made(EmaTeacher(0.9), epochs=1, further=[InitialWeights(tmp_path / "initial.pt")])
    first = []
    trainer.add_event_handler(
        Events.ITERATION_STARTED(once=1), lambda e: first.append(equal(network(9, 4), e.teacher.network))
    )
    trainer.run()
    assert first == [True]


def test_statistics_of_the_target_are_estimated_once_and_kept_over_a_kill(tmp_path, monkeypatch):
    stored = network(5)
    expected = made(network(5), norm="target", norm_images=16)
    expected.run()
    found = expected.teacher
    assert not equal(found, stored)
    assert all(torch.equal(a, b) for a, b in zip(found.parameters(), stored.parameters(), strict=True))
    plain = made(network(5))
    plain.run()
    assert equal(plain.teacher, stored)
    assert not equal(plain.network, expected.network)

    def without_images():
        monkeypatch.setattr(_target_norm, "image_batches", None)

    trainer = resumed(tmp_path, lambda: network(5), without_images, norm="target", norm_images=16)
    assert equal(trainer.teacher, found)
    assert equal(trainer.network, expected.network)


def test_statistics_of_the_target_have_a_cache_of_their_own(tmp_path):
    made(network(5), epochs=1, cache_dir=tmp_path).run()
    trainer = made(network(5), epochs=1, cache_dir=tmp_path, norm="target", norm_images=16)
    trainer.run()
    assert trainer.teacher_source.computed > 0
    assert len(list(tmp_path.iterdir())) == 2
    again = made(network(5), epochs=1, cache_dir=tmp_path, norm="target", norm_images=16)
    again.run()
    assert again.teacher_source.computed == 0


def other_vote() -> TeacherEnsemble:
    return TeacherEnsemble([network(seed) for seed in (1, 2, 3)], "mean")


def other_weights() -> TeacherEnsemble:
    return TeacherEnsemble([network(seed) for seed in (1, 4, 3)], "agreement")


OTHERS = {
    "vote": (several, other_vote, {}, "teacher.vote (was 'agreement', is 'mean')"),
    "weights": (several, other_weights, {}, "teacher.members.2.weights (was"),
    "fewer": (several, lambda: network(1), {}, "teacher.class (was 'TeacherEnsemble', is 'Net')"),
    "decay": (lambda: EmaTeacher(0.9), lambda: EmaTeacher(0.8), {}, "teacher.decay (was 0.9, is 0.8)"),
    "norm": (lambda: network(5), lambda: network(5), {"norm": "target"}, "teacher.batch_norm (was absent, is {"),
}


@pytest.mark.fault(
    "The same run, or none",
    "several teachers, an average of the student, statistics of the target",
    injected="one of three teachers replaced, another vote, another decay, statistics that were not re-estimated before",
    outcome="refused, naming what differs and which teacher",
)
@pytest.mark.parametrize("name", OTHERS)
def test_a_run_with_another_teacher_is_not_resumed(tmp_path, name):
    first, second, options, message = OTHERS[name]
    with pytest.raises(Killed):
        made(first(), folder=tmp_path, stop_at=3).run()
    with pytest.raises(InputError, match=re.escape(message)):
        made(second(), folder=tmp_path, **options).run()


def test_several_teachers_are_each_adapted_to_the_target():
    trainer = made(TeacherEnsemble([network(1), network(2)]), epochs=1, norm="target", norm_images=8)
    trainer.run()
    one, other = trainer.teacher
    assert not torch.equal(one.body[1].running_mean, network(1).body[1].running_mean)
    assert not torch.equal(one.body[1].running_mean, other.body[1].running_mean)


@pytest.mark.parametrize(
    ("teacher", "options", "message"),
    [
        (lambda: EmaTeacher(), {"cache_dir": "cache"}, "cannot be cached; leave out teacher_cache"),
        (lambda: nn.Conv2d(1, 2, 1), {"norm": "target"}, "Conv2d has no batch normalisation with stored statistics"),
        (several, {"norm": "other"}, "norm of teacher_options must be one of 'stored', 'target', got 'other'"),
        (several, {"norm_images": 1}, "norm_images of teacher_options must be an integer of at least 2, got 1"),
    ],
)
def test_what_does_not_go_together_is_refused_before_any_step(teacher, options, message):
    with pytest.raises(InputError, match=message):
        made(teacher(), **options)


def test_a_teacher_of_a_plain_loop_is_adapted_as_by_a_trainer():
    """``adapt_batch_norm`` on the same images gives the same statistics, since nothing else is done to a teacher."""

    trainer = made(network(5), epochs=1, norm="target", norm_images=16)
    trainer.run()
    plain = network(5)
    adapt_batch_norm(plain, image_batches(trainer, 16))
    assert equal(plain, trainer.teacher)
