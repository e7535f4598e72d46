# SPDX-License-Identifier: Apache-2.0
"""A complete training step: plain, beside a teacher, and from a teacher cache."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from copy import deepcopy
from itertools import cycle
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Events
from monai.engines import SupervisedTrainer
from monai.losses import DiceFocalLoss
from torch import Tensor, nn
from torch.nn import functional as F

from akd_monai.engines import DistillationTrainer
from akd_monai.losses import DistillationCriterion
from akd_monai.networks import count_operations
from akd_monai.networks.nets import DeepLabV3Plus, UNetPlusPlus
from akd_monai.teachers.online import OnlineTeacher
from akd_monai.teachers.options import TeacherOptions
from benchmarks.affinity import make_labels
from benchmarks.common import Goal, Result, Settings, Timing, check_equal, interleaved, peak_bytes, times
from benchmarks.losses import STUDENTS, student_layer

TEACHERS: dict[str, tuple[type[nn.Module], str]] = {
    "UNet++": (UNetPlusPlus, "node_3_0"),
    "DeepLabV3+": (DeepLabV3Plus, "exit"),
}
NETWORKS = STUDENTS | {name: kind for name, (kind, _) in TEACHERS.items()}
GOALS = {
    ("UNet++", "ERFNet"): 15.0,
    ("UNet++", "ENet"): 30.0,
    ("UNet++", "ESPNet"): 45.0,
    ("DeepLabV3+", "ERFNet"): 2.2,
    ("DeepLabV3+", "ENet"): 3.5,
    ("DeepLabV3+", "ESPNet"): 5.0,
}
HALF = TeacherOptions(dtype="bfloat16", channels_last=True)


def make_batches(size: int, side: int, count: int = 2) -> list[dict[str, Any]]:
    """Return synthetic batches that say which slices they are, as the data sets of the package do."""
    labels = make_labels(size * count, side, 0.0)[:, None].float()
    images = torch.randn(labels.shape, generator=torch.Generator().manual_seed(0)) + 2 * labels
    return [
        {
            "image": images[start : start + size],
            "label": labels[start : start + size],
            "volume_key": ["synthetic"] * size,
            "slice_index": torch.arange(start, start + size),
            "view": torch.zeros(size, dtype=torch.long),
        }
        for start in range(0, size * count, size)
    ]


def decided(teacher: nn.Module) -> nn.Module:
    """Let a teacher of random weights decide on regions as a trained one does: foreground where the image is bright.

    By itself it decides on one class everywhere, which leaves the affinity term no border to look at.
    """

    def decide(_: nn.Module, inputs: tuple[Tensor, ...], logits: Tensor) -> Tensor:
        coarse = F.avg_pool2d(inputs[0], 16) - 1  # the images of make_batches are 2 brighter inside
        margin = 4 * F.interpolate(coarse, logits.shape[2:], mode="bilinear").to(logits.dtype)
        return logits + torch.cat([-margin, margin], 1)

    teacher.register_forward_hook(decide)
    return teacher


def terms(layer: str, teacher_layer: str) -> DistillationCriterion:
    """Return the three terms of the bundles."""
    features = {"student_layer": layer, "teacher_layer": teacher_layer, "adapter": "conv1x1"}
    return DistillationCriterion(
        [
            {"name": "logits", "loss": "logits", "weight": 0.2},
            {"name": "gram", "loss": "gram", "weight": 0.9, **features},
            {"name": "affinity", "loss": "affinity", "weight": 0.9, "student_layer": layer},
        ]
    )


def make_ready(trainer: SupervisedTrainer) -> None:
    """Do what a run does before its first iteration."""
    trainer.scaler = torch.amp.GradScaler(trainer.state.device.type) if trainer.amp else None
    trainer.state.iteration = trainer.state.epoch_length = 1
    if isinstance(trainer, DistillationTrainer):
        trainer.teacher_source.start(trainer)


def iterate(trainer: SupervisedTrainer, batch: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Do one iteration without the engine around it and return its loss and terms."""
    trainer.state.batch = batch
    trainer.fire_event(Events.ITERATION_STARTED)
    output = trainer._iteration(trainer, batch)
    return {"total": output["loss"].detach(), **getattr(trainer.state, "loss_terms", {})}


class TrainerStep:
    """One iteration of the trainer itself, batch after batch, without the engine around it.

    Args:
        name: of the network that is trained.
        batches: used in turn.
        device: of the run.
        teacher: network and layer, ``None`` for a plain step.
        options: of the teacher.
        amp: whether to train by automatic mixed precision, on CUDA.
    """

    def __init__(
        self,
        name: str,
        batches: list[dict[str, Any]],
        device: str,
        teacher: tuple[nn.Module, str] | None = None,
        options: Mapping[str, Any] | None = None,
        amp: bool = False,
    ) -> None:
        torch.manual_seed(0)
        student = NETWORKS[name](spatial_dims=2, in_channels=1, out_channels=2).to(device)
        shared: dict[str, Any] = {
            "device": torch.device(device),
            "max_epochs": 1,
            "train_data_loader": batches,
            "network": student,
            "optimizer": torch.optim.Adam(student.parameters(), lr=1e-4, fused=True),
            "loss_function": DiceFocalLoss(include_background=False, to_onehot_y=True, softmax=True, batch=True),
            "decollate": False,
            "amp": amp,
        }
        if teacher is None:
            self.trainer: SupervisedTrainer = SupervisedTrainer(**shared)
        else:
            self.trainer = DistillationTrainer(
                teacher=teacher[0],
                distillation=terms(student_layer(name), teacher[1]),
                input_shape=batches[0]["image"].shape[1:],
                teacher_options=options,
                **shared,
            )
        make_ready(self.trainer)
        self.batches = cycle(batches)

    def __call__(self) -> dict[str, torch.Tensor]:
        """Do the step and return its loss and terms."""
        return iterate(self.trainer, next(self.batches))


def run(settings: Settings) -> Result:
    """Measure every student with every teacher."""
    with tempfile.TemporaryDirectory(prefix="akd_benchmark_", ignore_cleanup_errors=True) as folder:
        return _run(settings, Path(folder))


def _run(settings: Settings, folder: Path) -> Result:
    side = 64 if settings.quick else 384
    batches = make_batches(2, side)
    result = Result(
        "A training step without the teacher in it",
        f"One step of the trainer (forward, losses, backward, Adam) on 2 synthetic slices of {side} x {side}: plain, with "
        "the three terms and the teacher run on every batch, and with the teacher's maps read from a filled cache. "
        "Weights are random; the brightness of the image is added to the teacher's logits, so that it decides on regions as "
        "a trained one does. Memory is what a step holds at its peak beyond networks and optimizers.",
        [
            *("teacher", "student", "plain ms", "online ms", "cached ms", "cached, half ms", "online / cached"),
            *("plain MB", "online MB", "cached MB"),
        ],
    )
    for teacher, (kind, layer) in TEACHERS.items():
        torch.manual_seed(0)
        network = decided(kind(spatial_dims=2, in_channels=1, out_channels=2)).to(settings.device).eval()
        _measure(settings, result, folder / layer, teacher, (network, layer), batches)
    return result


def _measure(
    settings: Settings,
    result: Result,
    cache: Path,
    name: str,
    teacher: tuple[nn.Module, str],
    batches: list[dict[str, Any]],
) -> None:
    device = torch.device(settings.device)
    works: dict[str, Callable[[], object]] = {}
    forms: dict[str, dict[str, Any]] = {
        "online": {},
        "cached": {"cache_dir": cache},
        "half": {"cache_dir": cache, "cache_dtype": "float16"},
    }
    for student in STUDENTS:
        works[f"{student} plain"] = TrainerStep(student, batches, settings.device)
        found = {}
        for form, options in forms.items():
            step = TrainerStep(student, batches, settings.device, teacher, options)
            torch.manual_seed(1)
            found[form] = step()
            step()  # the second batch, so that the cache is full
            works[f"{student} {form}"] = step
        check_equal(f"{student}, cached step", found["cached"], found["online"], rtol=1e-5)
        check_equal(f"{student}, cached step in half precision", found["half"], found["online"], rtol=5e-3, atol=1e-4)
    image = batches[0]["image"].to(device)
    plain = OnlineTeacher(teacher[0], [teacher[1]], TeacherOptions(), device)
    half = OnlineTeacher(deepcopy(teacher[0]), [teacher[1]], HALF, device)
    works |= {"teacher": lambda: plain(image, None), "half teacher": lambda: half(image, None)}
    timing = interleaved(works, settings)
    looks = operations(teacher[0], image)
    for student in STUDENTS:
        peaks = [peak_bytes(works[f"{student} {form}"], settings.device) for form in ("plain", "online", "cached")]
        # A backward pass has twice the operations of a forward pass.
        by_count = 1 + looks / (3 * operations(NETWORKS[student](spatial_dims=2, in_channels=1, out_channels=2), image))
        _row(result, name, student, timing, peaks, by_count)
    gain = times(timing["teacher"], timing["half teacher"])
    result.notes.append(
        f"{name} forward: {timing['teacher'].text()} ms; bfloat16 and channels last: {timing['half teacher'].text()} ms, "
        f"{gain:.2f}x. How far decisions agree is measured with trained teachers: docs/explanation/teacher-cache.md."
    )


def operations(network: nn.Module, image: Tensor) -> float:
    """Return the operations of a forward pass for the first of some images."""
    with torch.no_grad():
        return count_operations(network.to(image.device).eval(), image[:1])["conv"]


def _row(result: Result, name: str, student: str, timing: dict[str, Timing], peaks: list[int], by_count: float) -> None:
    plain, online, cached, half = (timing[f"{student} {form}"] for form in ("plain", "online", "cached", "half"))
    gain = times(online, cached)
    row = [name, student, plain.text(), online.text(), cached.text(), half.text(), f"{gain:.3g}x"]
    result.rows.append([*row, *(f"{peak / 1e6:.4g}" for peak in peaks)])
    result.goals.append(
        Goal(
            f"step, {student} from {name}: online step over cached step",
            GOALS[name, student],
            gain,
            floor=f"the student's own step is left: without any teacher it would be {times(online, plain):.3g}, and by the"
            f" operations of both networks {by_count:.3g}",
        )
    )
    parts = timing["teacher"].median + cached.median
    result.goals.append(
        Goal(
            f"step, {student} from {name}: online step over teacher and cached step",
            1.05,
            online.median / parts,
            at_most=True,
            floor="the sum of the parts",
        )
    )
