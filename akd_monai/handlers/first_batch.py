# SPDX-License-Identifier: Apache-2.0
"""What the first batch of a distillation shows about its teacher, before any weight is changed."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.handlers import CheckpointSaver
from monai.utils.enums import CommonKeys as Keys
from torch import Tensor

from akd_monai.errors import InputError
from akd_monai.handlers._agreement import Agreement, measure_agreement
from akd_monai.handlers._events import attached_handlers
from akd_monai.handlers.findings import Check, Finding, read_allowed, settle
from akd_monai.teachers import EmaTeacher

__all__ = ["FirstBatch"]

logger = logging.getLogger(__name__)

# a mean Dice below this is that of a network that was made for something else
_LEAST_DICE = 0.1
# another order of the classes must explain the labels this well, and better by this much
_GOOD_DICE = 0.7
_BETTER_BY = 0.4


class FirstBatch:
    """Compare a teacher with the first batch of a distillation, after its forward pass and before its first step.

    What the run computes anyway is read: the images, the labels, and the logits of both networks. No batch is drawn, no
    random number is used and no network is run, so that the weights of a run are the same, bit for bit, without it.

    Refused are values that are not finite in the images or in the teacher's logits (``values``), and a teacher whose
    classes stand in another order than the labels (``assignment``): its mean Dice with the labels is below 0.3, say, and
    above 0.7 once its classes are permuted. Warnings: images far outside of the values that the teacher's metadata gives
    (``values``), and a mean Dice of the teacher below 0.1 (``agreement``), which a teacher of another task has, but
    also a batch that shows little of any class. Labels without any structure are noted (``labels``).

    If the run is refused, its savers of final checkpoints (MONAI's ``CheckpointSaver``) save nothing.

    Args:
        value_range: least and largest value of the images that the teacher was trained on; not compared by default.
        allow: checks whose findings are only logged, see :func:`~akd_monai.handlers.findings.read_allowed`.

    Raises:
        InputError: during training, see above.
        UnknownNameError: if ``allow`` names no check.

    Example:
        >>> from torch import nn
        >>> from akd_monai.engines import DistillationTrainer
        >>> from akd_monai.losses import DistillationCriterion
        >>> class Swapped(nn.Module):  # class 1 wherever the image is 0
        ...     def forward(self, image):
        ...         return torch.cat([image, 1 - image], 1)
        >>> image = torch.tensor([[0.0, 0.0], [0.0, 1.0]]).reshape(1, 1, 2, 2)
        >>> student = nn.Conv2d(1, 2, 1)
        >>> trainer = DistillationTrainer(
        ...     device="cpu", max_epochs=1, train_data_loader=[{"image": image, "label": image}], network=student,
        ...     optimizer=torch.optim.SGD(student.parameters(), lr=0.1), loss_function=lambda x, y: x.mean(),
        ...     teacher=Swapped(), distillation=DistillationCriterion([{"name": "soft", "loss": "logits"}]),
        ...     train_handlers=[FirstBatch()])
        >>> trainer.run()
        Traceback (most recent call last):
        ...
        akd_monai.errors.InputError: teacher and student do not fit each other: assignment mean Dice 0.00 ...
    """

    def __init__(self, value_range: Sequence[float] | None = None, allow: str | Iterable[str] | None = None) -> None:
        self.value_range = value_range
        self.allow: list[Check] = read_allowed(allow)
        self._hook: Any = None

    def attach(self, engine: Engine) -> None:
        """Follow ``engine``, a distillation trainer; another engine is left alone."""
        engine.add_event_handler(Events.STARTED, self._start)

    def _start(self, engine: Engine) -> None:
        distillation = getattr(engine, "distillation", None)
        if not isinstance(distillation, torch.nn.Module):
            return
        self._stop()
        # the criterion is called with what the run has computed
        self._hook = distillation.register_forward_pre_hook(lambda _, given: self._check(engine, given))

    def _stop(self) -> None:
        if self._hook is not None:
            self._hook.remove()
            self._hook = None

    def _check(self, engine: Engine, given: Sequence[Any]) -> None:
        self._stop()
        output: dict[Any, Any] = engine.state.output if isinstance(engine.state.output, dict) else {}
        try:
            with torch.no_grad():
                settle(list(self._findings(engine, given[1], output)), self.allow)
        except InputError:
            _save_nothing(engine)
            raise

    def _findings(self, engine: Engine, teacher: Tensor, output: dict[Any, Any]) -> Iterator[Finding]:
        image = output.get(Keys.IMAGE)
        if isinstance(image, Tensor):
            yield from _values_of(image, teacher, self.value_range)
        unlabelled = getattr(engine, "unlabelled", None)
        label = output.get(Keys.LABEL) if unlabelled is None or unlabelled.uses_labels else None
        if isinstance(getattr(engine, "teacher", None), EmaTeacher):
            # it starts as the student, which need not know anything yet
            label = None
        is_sigmoid = getattr(getattr(engine, "teacher_output", None), "activation", "softmax") == "sigmoid"
        if isinstance(label, Tensor) and bool(torch.isfinite(teacher).all()):
            # images without labels come after the others
            found = measure_agreement(teacher[: len(label)], label, is_sigmoid=is_sigmoid or teacher.shape[1] == 1)
            if found is not None:
                yield from _of_agreement(found)


def _save_nothing(engine: Engine) -> None:
    """Keep savers from writing untrained weights over those of an earlier run when the engine fails."""
    for handler in attached_handlers(engine):
        if isinstance(handler, CheckpointSaver):
            save = handler.exception_raised
            if engine.has_event_handler(save, Events.EXCEPTION_RAISED):
                engine.remove_event_handler(save, Events.EXCEPTION_RAISED)
                # the saver raises the error again, and Ignite relies on one that does
                engine.add_event_handler(Events.EXCEPTION_RAISED, _raise)


def _raise(_: Engine, error: Exception) -> None:
    raise error


def _values_of(image: Tensor, teacher: Tensor, value_range: Sequence[float] | None) -> Iterator[Finding]:
    least, largest = (float(value) for value in torch.aminmax(image.float()))
    shown = f"{least:.4g} to {largest:.4g}"
    if not bool(torch.isfinite(image).all()):
        yield Finding("values", "danger", "any", shown, "the images of the first batch are not finite")
    elif not bool(torch.isfinite(teacher).all()):
        yield Finding(
            "values", "danger", "logits not finite", shown, "the teacher gives no finite logits for the images"
        )
    elif _is_far_outside(least, largest, value_range):
        wanted = " to ".join(f"{value:g}" for value in value_range or ())
        yield Finding("values", "warning", wanted, shown, "the teacher's metadata give another range of values")


def _is_far_outside(least: float, largest: float, value_range: object) -> bool:
    """Return whether values leave a range by more than its width, as augmentation or normalisation would not explain."""
    if not isinstance(value_range, (list, tuple)) or len(value_range) != 2:
        return False
    if not all(isinstance(bound, (int, float)) for bound in value_range):
        return False
    low, high = value_range
    width = high - low
    return bool(width > 0 and (least < low - width or largest > high + width))


def _of_agreement(found: Agreement) -> Iterator[Finding]:
    if found.dice is None:
        yield Finding(
            "labels", "note", "unknown", "no structure", "the labels of the first batch show background alone"
        )
        return
    dice = f"mean Dice {found.dice:.2f}"
    logger.info("The teacher and the labels of the first batch agree by a %s over the classes present.", dice)
    if found.best is not None and found.best >= max(_GOOD_DICE, found.all_classes + _BETTER_BY):
        order = ", ".join(f"{ours} is the teacher's {theirs}" for ours, theirs in enumerate(found.order))
        meaning = f"with the classes in another order it is {found.best:.2f}: label {order}; say it by --classes"
        yield Finding("assignment", "danger", dice, "the labels", meaning)
    elif found.dice < _LEAST_DICE:
        meaning = (
            "the teacher hardly segments what the labels of the first batch show; check that it is trained for this"
        )
        yield Finding("agreement", "warning", dice, "the labels", meaning)
