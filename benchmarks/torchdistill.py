# SPDX-License-Identifier: Apache-2.0
"""One step through torchdistill and one through this package: the same networks, losses and images.

torchdistill is installed for this alone: ``pip install --no-deps torchdistill torchvision`` (its own requirements would
replace PyTorch). It only uses the Python part of torchvision, so that a torchvision built for another PyTorch serves.
"""

from __future__ import annotations

import contextlib
import copy
import importlib.util
import io
import logging
import shutil
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from monai.losses import DiceFocalLoss
from torch import Tensor, nn

from akd_monai.engines import DistillationTrainer
from akd_monai.losses import AdaptiveAffinityLoss, DistillationCriterion, LogitsKLLoss
from akd_monai.networks.nets import ENet, UNetPlusPlus
from benchmarks.affinity import make_labels
from benchmarks.common import Goal, Result, Settings, check_equal, interleaved, times
from benchmarks.step import decided, iterate, make_ready

WEIGHTS = {"logits": 0.2, "affinity": 0.9}
LIMIT_ONLINE, LIMIT_HALF, LIMIT_CACHED = 1.05, 1.9, 20.0
PEER, ALONE = "torchdistill DistillationBox", "the student alone, without distillation"
ONLINE = "DistillationTrainer, teacher in the loop"
HALF = "DistillationTrainer, teacher in bfloat16 and channels last"
CACHED = "DistillationTrainer, filled teacher cache in half precision"
# What torchvision would have registered had its compiled part loaded; nothing here calls them.
_OPERATORS = [
    "roi_align",
    "_roi_align_backward",
    "ps_roi_align",
    "_ps_roi_align_backward",
    "roi_pool",
    "_roi_pool_backward",
    "ps_roi_pool",
    "_ps_roi_pool_backward",
    "nms",
    "qnms",
    "qroi_align",
    "deform_conv2d",
    "_deform_conv2d_backward",
]


class Term(nn.Module):
    """A loss on the logits of both networks, as torchdistill calls one."""

    def __init__(self, loss: nn.Module) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, student: dict[str, Any], teacher: dict[str, Any], _: Tensor) -> Tensor:
        """Return the loss of two dictionaries of maps."""
        return self.loss(student["."]["output"], teacher["."]["output"])


class Task(nn.Module):
    """The segmentation loss, as torchdistill calls one."""

    def __init__(self, loss: nn.Module) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, student: dict[str, Any], _: dict[str, Any], label: Tensor) -> Tensor:
        """Return the loss of the student's logits."""
        return self.loss(student["."]["output"], label)


def task_loss() -> nn.Module:
    """Return the segmentation loss of the bundles."""
    return DiceFocalLoss(include_background=False, to_onehot_y=True, softmax=True, batch=True)


def terms() -> dict[str, nn.Module]:
    """Return the distillation losses on logits."""
    return {"logits": LogitsKLLoss(), "affinity": AdaptiveAffinityLoss()}


def load_torchdistill() -> type:
    """Return torchdistill's DistillationBox.

    Raises:
        ImportError: if torchdistill or torchvision is not installed.
    """
    for package in ("torchdistill", "torchvision"):
        if importlib.util.find_spec(package) is None:
            raise ImportError(f"{package} is not installed: pip install --no-deps torchdistill torchvision.")
    try:
        importlib.import_module("torchvision")
    except RuntimeError:
        library = torch.library.Library("torchvision", "FRAGMENT")
        for operator in _OPERATORS:
            library.define(f"{operator}(Tensor x) -> Tensor")
    return importlib.import_module("torchdistill.core.distillation").DistillationBox


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep the logs of both packages to themselves."""
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(logging.NOTSET)


def through_torchdistill(teacher: nn.Module, student: nn.Module, image: Tensor, label: Tensor) -> Callable[[], float]:
    """Return a work that does one step by torchdistill and returns the loss."""
    weighted = {"task": {"criterion": Task(task_loss()), "weight": 1.0}}
    weighted |= {name: {"criterion": Term(loss), "weight": WEIGHTS[name]} for name, loss in terms().items()}
    config = {
        "num_epochs": 1,
        "teacher": {"forward_proc": "forward_batch_only", "requires_grad": False},
        "student": {"forward_proc": "forward_batch_only"},
        "optimizer": {"key": "Adam", "kwargs": {"lr": 1e-4, "fused": True}},
        "criterion": {"key": "WeightedSumLoss", "kwargs": {"sub_terms": weighted}},
    }
    with quiet():
        box = load_torchdistill()(teacher, student, {}, config, image.device, None, False, 1)
    box.teacher_model.eval()
    box.student_model.train()

    def work() -> float:
        box.pre_forward_process()
        loss = box.forward_process(image, label, {})
        box.post_forward_process(loss=loss)
        return float(loss.detach())

    return work


def through_trainer(
    teacher: nn.Module, student: nn.Module, image: Tensor, label: Tensor, options: dict[str, Any] | None = None
) -> Callable[[], float]:
    """Return a work that does one step by this package's trainer and returns the loss."""
    chosen = DistillationCriterion([{"name": n, "loss": loss, "weight": WEIGHTS[n]} for n, loss in terms().items()])
    batch = {
        "image": image,
        "label": label,
        "volume_key": ["synthetic"] * len(image),
        "slice_index": torch.arange(len(image)),
        "view": torch.zeros(len(image), dtype=torch.long),
    }
    trainer = DistillationTrainer(
        device=image.device,
        max_epochs=1,
        train_data_loader=[batch],
        network=student,
        optimizer=torch.optim.Adam(student.parameters(), lr=1e-4, fused=True),
        loss_function=task_loss(),
        teacher=teacher,
        distillation=chosen,
        teacher_options=options,
        decollate=False,
    )
    make_ready(trainer)
    return lambda: float(iterate(trainer, batch)["total"])


def student_alone(_: nn.Module, student: nn.Module, image: Tensor, label: Tensor) -> Callable[[], float]:
    """Return a work that trains the student on its labels: what no distillation can be faster than."""
    optimizer, task = torch.optim.Adam(student.parameters(), lr=1e-4, fused=True), task_loss()
    student.train()

    def work() -> float:
        optimizer.zero_grad()
        loss = task(student(image), label)
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    return work


def run(settings: Settings) -> Result:
    """Measure one step of UNet++ to ENet."""
    result = Result(
        "Beside torchdistill",
        "One training step, UNet++ to ENet (random weights, no dropout; the brightness of the image is added to the"
        " teacher's logits, so that it decides on regions), 2 slices of 192 x 192, Dice + focal loss, logits and affinity"
        " term. The first losses agree with torchdistill's to 1e-4, from the half precision cache to 1e-3, with the teacher"
        " in bfloat16 to 2e-2.",
        ["loop", "ms", "times torchdistill's speed"],
    )
    try:
        load_torchdistill()
    except ImportError as error:
        result.notes.append(f"Not measured: {error}")
        return result
    folder = tempfile.mkdtemp(prefix="akd_benchmark_")
    try:
        _measure(result, settings, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return result


def _measure(result: Result, settings: Settings, folder: str) -> None:
    side = 32 if settings.quick else 192
    torch.manual_seed(0)
    teacher = decided(UNetPlusPlus(spatial_dims=2, in_channels=1, out_channels=2)).to(settings.device).eval()
    student = ENet(spatial_dims=2, in_channels=1, out_channels=2, dropout=0.0).to(settings.device)
    label = make_labels(2, side, 0.0)[:, None].float().to(settings.device)
    image = torch.randn(2, 1, side, side, device=settings.device) + 2 * label
    half = {"dtype": "bfloat16", "channels_last": True}
    ways: dict[str, Callable[..., Callable[[], float]]] = {
        PEER: through_torchdistill,
        ONLINE: through_trainer,
        HALF: partial(through_trainer, options=half),
        CACHED: partial(through_trainer, options={"cache_dir": folder, "cache_dtype": "float16"}),
        ALONE: student_alone,
    }
    works = {name: way(copy.deepcopy(teacher), copy.deepcopy(student), image, label) for name, way in ways.items()}
    first = {name: work() for name, work in works.items()}
    for name, rtol in ((ONLINE, 1e-4), (CACHED, 1e-3), (HALF, 2e-2)):
        check_equal(f"first loss, {name}", first[name], first[PEER], rtol=rtol)
    timing = interleaved(works, settings)
    for way, measured in timing.items():
        result.rows.append([way, measured.text(), f"{times(timing[PEER], measured):.3g}x"])
    floor = "both run the same two forward passes; there is nothing else to save"
    gain = times(timing[PEER], timing[ONLINE])
    what = "torchdistill's step, over ours with the teacher in the loop: 1 is equal"
    result.goals.append(Goal(what, 1 / LIMIT_ONLINE, gain, floor=floor))
    gain = times(timing[PEER], timing[HALF])
    what = "step with the teacher in bfloat16 and channels last, times torchdistill's speed"
    result.goals.append(Goal(what, LIMIT_HALF, gain, floor="the gain of bfloat16 is the processor's"))
    floor = f"the student alone, without distillation, is {times(timing[PEER], timing[ALONE]):.3g} times as fast"
    gain = times(timing[PEER], timing[CACHED])
    result.goals.append(Goal("step from the cache, times torchdistill's speed", LIMIT_CACHED, gain, floor=floor))
