# SPDX-License-Identifier: Apache-2.0
"""What the three distillation terms add to a student's training step when the teacher's maps are given."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import torch
from monai.losses import DiceFocalLoss
from torch import Tensor, nn

from akd_monai.losses import DistillationCriterion
from akd_monai.networks import FeatureTaps
from akd_monai.networks.nets import ENet, ERFNet, ESPNet
from benchmarks.affinity import make_labels, naive
from benchmarks.common import Goal, Result, Settings, interleaved, times

STUDENTS: dict[str, type[nn.Module]] = {"ENet": ENet, "ESPNet": ESPNet, "ERFNet": ERFNet}
PARTS = Path(__file__).parents[1] / "akd_monai" / "bundle" / "parts" / "networks"
TEACHER_CHANNELS = 64
LIMITS = {"ENet": 1.05, "ESPNet": 1.10, "ERFNet": 1.10}


class NaiveAffinity(nn.Module):
    """The affinity term with the unfolded loss."""

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Compare a map with the labels of teacher logits."""
        labels = teacher.argmax(1)
        rows = ((2 * torch.arange(n, device=labels.device) + 1) * labels.shape[1] // (2 * n) for n in student.shape[2:])
        return naive(student, labels[:, next(rows)][:, :, next(rows)], 3)


def student_layer(name: str) -> str:
    """Return the layer that the bundle of a student distils."""
    content = json.loads((PARTS / f"{name.lower()}.json").read_text(encoding="utf-8"))
    found = re.search(r'"student_layer": "([^"@]+)"', json.dumps(content))
    if found is None:
        raise ValueError(f"the part of {name} names no student_layer.")
    return found.group(1)


def criterion(layer: str, affinity: object) -> DistillationCriterion:
    """Return the three terms with the weights of the bundles."""
    return DistillationCriterion(
        [
            {"name": "logits", "loss": "logits", "weight": 0.2},
            {
                "name": "gram",
                "loss": "gram",
                "weight": 0.9,
                "student_layer": layer,
                "teacher_layer": "high",
                "adapter": "conv1x1",
            },
            {"name": "affinity", "loss": affinity, "weight": 0.9, "student_layer": layer},
        ]
    )


class Step:
    """One training step of a student, with or without distillation from given teacher maps."""

    def __init__(self, name: str, batch: int, side: int, affinity: object | None, device: str) -> None:
        torch.manual_seed(0)
        self.layer = student_layer(name)
        self.network = STUDENTS[name](spatial_dims=2, in_channels=1, out_channels=2).to(device)
        self.terms = None if affinity is None else criterion(self.layer, affinity).to(device)
        self.task = DiceFocalLoss(include_background=False, to_onehot_y=True, softmax=True, batch=True)
        self.image = torch.randn(batch, 1, side, side, device=device)
        self.label = make_labels(batch, side, 0.0)[:, None].float().to(device)
        with torch.no_grad(), FeatureTaps(self.network, [self.layer]) as taps:
            self.network(self.image)
            channels, *size = taps.features[self.layer].shape[1:]
        margin = 4 * (2 * self.label - 1)
        self.logits = torch.cat([-margin, margin], 1) + 0.1 * torch.randn(batch, 2, side, side, device=device)
        self.feature = torch.randn(batch, TEACHER_CHANNELS, *size, device=device)
        parameters = list(self.network.parameters())
        if self.terms is not None:
            self.terms.build_adapters({self.layer: channels}, {"high": TEACHER_CHANNELS}, spatial_dims=2, seed=0)
            parameters += list(self.terms.adapters.to(device).parameters())
        self.optimizer = torch.optim.Adam(parameters, lr=1e-4, fused=True)

    def __call__(self) -> None:
        """Do the step."""
        self.optimizer.zero_grad()
        with FeatureTaps(self.network, [self.layer] if self.terms is not None else []) as taps:
            prediction = self.network(self.image)
            loss = self.task(prediction, self.label)
            if self.terms is not None:
                features = {"high": self.feature}
                loss = loss + sum(self.terms(prediction, self.logits, taps.features, features).values())
            loss.backward()
        self.optimizer.step()


def run(settings: Settings) -> Result:
    """Measure every student."""
    result = Result(
        "Distillation losses in the student's step",
        "One training step (forward, losses, backward, Adam) of a student on 2 slices of 384 x 384: plain, with the three"
        " terms and the teacher's maps given, and with the affinity term in its naive form.",
        ["student", "layer", "plain ms", "+ three terms ms", "ratio", "with naive affinity ms", "ratio"],
    )
    batch, side = (2, 32) if settings.quick else (2, 384)
    for name in STUDENTS:
        forms: dict[str, object | None] = {"plain": None, "terms": "affinity", "naive": NaiveAffinity()}
        works: dict[str, Callable[[], object]] = {
            form: Step(name, batch, side, affinity, settings.device) for form, affinity in forms.items()
        }
        timing = interleaved(works, settings)
        with_terms, with_naive = times(timing["terms"], timing["plain"]), times(timing["naive"], timing["plain"])
        row = [name, student_layer(name), timing["plain"].text(), timing["terms"].text(), f"{with_terms:.3f}"]
        result.rows.append([*row, timing["naive"].text(), f"{with_naive:.3f}"])
        floor = "the two maps of the terms have to be read and their gradients written; the adapter is a convolution"
        what = f"losses, {name}: step with the three terms over the plain step"
        result.goals.append(Goal(what, LIMITS[name], with_terms, at_most=True, floor=floor))
    return result
