# SPDX-License-Identifier: Apache-2.0
"""A small distillation, with or without a teacher cache, for the tests of teachers."""

from __future__ import annotations

from collections import namedtuple

import pytest
import torch
from ignite.engine import Events
from monai.transforms import Compose, RandFlipd, RandRotate90d
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from akd_monai.data import KeyedSampler, SliceDataset
from akd_monai.engines import DistillationTrainer
from akd_monai.handlers import KeyedRandomness
from akd_monai.losses import DistillationCriterion

BOTH = ("image", "label")
SIZE = 11
VIEWS = (RandFlipd(BOTH, spatial_axis=0, prob=0.5), RandRotate90d(BOTH, prob=0.75, max_k=3))
Steps = namedtuple("Steps", "terms trainer student images")


class Net(nn.Module):
    """Two convolutions with batch normalisation and dropout between them; the stride leaves odd features."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1, stride=2), nn.BatchNorm2d(width), nn.ReLU(), nn.Dropout2d(0.2)
        )
        self.up = nn.ConvTranspose2d(width, width, 3, stride=2, padding=1)
        self.head = nn.Conv2d(width, classes, 3, padding=1)
        self.gain = 1.0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.gain * self.head(self.up(self.body(x)))


def cases(classes=2, shift=0.0):
    generator = torch.Generator().manual_seed(1)
    found = []
    for number in range(2):
        image = torch.rand((1, SIZE, SIZE, 4), generator=generator) + shift
        label = (image * classes).long().clamp(0, classes - 1).float()
        found.append({"image": image, "label": label, "case_id": f"A/{number}"})
    return found


def all_terms(affinity="body"):
    return [
        {"name": "logits", "loss": "logits", "weight": 0.2},
        {
            "name": "gram",
            "loss": "gram",
            "weight": 0.9,
            "student_layer": "body",
            "teacher_layer": "body",
            "adapter": "conv1x1",
        },
        {"name": "affinity", "loss": "affinity", "weight": 0.9, "student_layer": affinity},
    ]


def networks(classes=2):
    torch.manual_seed(0)
    return Net(4, classes), Net(6, classes)


def run(
    cache=None, *, classes=2, steps=50, terms=None, transforms=VIEWS, teacher=None, data=None, identify=False, workers=0,
    dataset=None, **options
):  # fmt: skip
    student, fresh = networks(classes)
    teacher = teacher or fresh
    images = []
    watch = teacher.register_forward_pre_hook(lambda _, given: images.append(len(given[0])))
    dataset = dataset or SliceDataset(
        data or cases(classes), Compose(list(transforms)), background_ratio=None, identify=identify
    )
    sampler = KeyedSampler(dataset, seed=3, num_samples=20)
    loader = DataLoader(dataset, batch_size=4, sampler=sampler, drop_last=True, num_workers=workers)
    trainer = DistillationTrainer(
        teacher=teacher,
        distillation=DistillationCriterion(all_terms() if terms is None else terms),
        input_shape=(1, SIZE, SIZE),
        teacher_options={"cache_dir": cache, **options},
        device="cpu",
        max_epochs=-(-steps // 5),
        train_data_loader=loader,
        network=student,
        optimizer=torch.optim.Adam(student.parameters(), lr=0.01),
        loss_function=lambda logits, label: F.cross_entropy(logits, label[:, 0].long()),
        train_handlers=[KeyedRandomness(seed=1, sampler=sampler, batch_size=4)],
        decollate=False,
    )
    seen = []
    trainer.add_event_handler(
        Events.ITERATION_COMPLETED, lambda e: seen.append({k: float(v) for k, v in e.state.loss_terms.items()})
    )
    trainer.run()
    watch.remove()
    return Steps(seen, trainer, student, sum(images))


def equal(one, other):
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


def close(one, other, tolerance=1e-5):
    assert len(one) == len(other) > 0
    for a, b in zip(one, other, strict=True):
        assert a.keys() == b.keys()
        for name in a:
            assert a[name] == pytest.approx(b[name], rel=tolerance, abs=1e-9), name
