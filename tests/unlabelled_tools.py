# SPDX-License-Identifier: Apache-2.0
"""A small distillation with images without labels, for the tests of their parts."""

from __future__ import annotations

import torch
from monai.transforms import Compose, RandFlipd
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from akd_monai.data import KeyedSampler, SliceDataset
from akd_monai.engines import DistillationTrainer
from akd_monai.handlers import KeyedRandomness, LossTerms
from akd_monai.losses import DistillationCriterion

BOTH = ("image", "label")
SIZE = 8


class Net(nn.Module):
    """Two convolutions with batch normalisation and dropout between them; returns one head or two."""

    def __init__(self, width: int, classes: int = 2, heads: int = 1, dims: int = 2) -> None:
        super().__init__()
        conv, norm = (nn.Conv2d, nn.BatchNorm2d) if dims == 2 else (nn.Conv3d, nn.BatchNorm3d)
        self.body = nn.Sequential(conv(1, width, 3, padding=1), norm(width), nn.ReLU(), nn.Dropout(0.3))
        self.head = conv(width, classes, 1)
        self.heads = heads

    def forward(self, x):
        logits = self.head(self.body(x))
        return logits if self.heads == 1 else [logits, 2 * logits]


def cases(count, first=0, labels=True):
    """Return cases of 3 slices in memory; the label is where the image is above one half."""
    found = []
    for number in range(first, first + count):
        generator = torch.Generator().manual_seed(number)
        case = {"image": torch.rand(1, SIZE, SIZE, 3, generator=generator), "case_id": f"A/{number}"}
        if labels:
            case["label"] = (case["image"] > 0.5).float()
        found.append(case)
    return found


def networks(**student):
    torch.manual_seed(0)
    light = Net(4, **student)
    return light, Net(6, classes=student.get("classes", 2), dims=student.get("dims", 2))


def task_loss(logits, label):
    logits = logits[0] if isinstance(logits, list) else logits
    return F.cross_entropy(logits, label[:, 0].long())


def trainer_of(
    student, teacher, unlabelled=None, *, terms=(), epochs=2, data=None, loss=task_loss, workers=0, cache=None,
    handlers=(), loader=None, activation="softmax", **options,
):  # fmt: skip
    """Return a trainer of two slices a batch, three batches an epoch."""
    sampler = None
    if loader is None:
        transform = Compose([RandFlipd(BOTH, spatial_axis=0, prob=0.5)])
        dataset = SliceDataset(data or cases(2), transform, background_ratio=None)
        sampler = KeyedSampler(dataset, seed=3)
        loader = DataLoader(dataset, sampler=sampler, batch_size=2, num_workers=workers)
    return DistillationTrainer(
        device="cpu",
        max_epochs=epochs,
        train_data_loader=loader,
        network=student,
        optimizer=torch.optim.SGD(student.parameters(), lr=0.1),
        loss_function=loss,
        train_handlers=[KeyedRandomness(seed=1, sampler=sampler), LossTerms(), *handlers],
        teacher=teacher,
        teacher_output={"activation": activation},
        distillation=DistillationCriterion(list(terms)),
        teacher_options={"cache_dir": cache},
        unlabelled=unlabelled,
        **options,
    )


def run(*given, **options):
    trainer = trainer_of(*given, **options)
    trainer.run()
    return trainer


def weights(trainer):
    return {name: value.clone() for name, value in trainer.network.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(value, b[name]) for name, value in a.items())
