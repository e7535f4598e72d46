# SPDX-License-Identifier: Apache-2.0
"""What a frozen teacher adds to a trainer of MONAI, whichever class that is."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from ignite.engine import Engine, Events
from monai.data import MetaTensor
from monai.utils.enums import CommonKeys as Keys
from torch import nn

from akd_monai.engines._adapters import AdapterOptimizer
from akd_monai.engines._first_terms import warn_of_large_terms
from akd_monai.engines._semi_supervised import semi_supervised
from akd_monai.engines._teacher_setup import build_adapters, prepared_teacher, set_up_teacher
from akd_monai.engines.unlabelled import UnlabelledOptions
from akd_monai.errors import InputError
from akd_monai.losses import DistillationCriterion
from akd_monai.networks import FeatureTaps
from akd_monai.networks.heads import Head, select_head
from akd_monai.teachers._target_norm import TargetNorm
from akd_monai.teachers.average import EmaTeacher
from akd_monai.teachers.options import TeacherOptions
from akd_monai.teachers.output import TeacherOutput
from akd_monai.teachers.source import TeacherSource

__all__ = ["DistillationMixin"]

logger = logging.getLogger(__name__)

if TYPE_CHECKING:
    from monai.engines import SupervisedTrainer as _Trainer
else:
    # the class that it is mixed into, see distillation_trainer
    _Trainer = object


class DistillationMixin(_Trainer):
    r"""Extend the loss of a trainer by terms that compare its network with a frozen ``teacher``.

    Mixed into a class by :func:`distillation_trainer`; :class:`DistillationTrainer` is the mixture with MONAI's own. The
    trainer's ``loss_function`` is replaced and its ``_iteration`` is run inside feature taps, nothing else, so that a step
    of a class's own, its handlers, inferer, AMP and optimizer stay what they are.

    The first batch of a run shows whether such a step works with it. It has to store the network's input as
    ``engine.state.output["image"]``, to call ``engine.loss_function(prediction, label)`` once and to propagate the result
    back; a step that does not is refused by the name of its class.

    Args:
        teacher: network that returns logits for the student's input; a :class:`~akd_monai.teachers.TeacherEnsemble` of
            several; or an :class:`~akd_monai.teachers.EmaTeacher`, which averages the student's own weights.
        distillation: the named, weighted terms, see :class:`akd_monai.losses.DistillationCriterion`.
        input_shape: ``(channels, *spatial)`` of one input, used once to find the channels of the tapped layers;
            needed only when an adapter has to be built for a term.
        seed: of the adapters' initial weights.
        teacher_options: whether the teacher's outputs are cached, and how they are computed, as
            :class:`~akd_monai.teachers.TeacherOptions` or a mapping with its fields.
        teacher_output: which head of the teacher is meant, and which of its classes make up the student's, as
            :class:`~akd_monai.teachers.TeacherOutput` or a mapping with its fields; of several teachers a list of them.
        student_head: which output of a student that returns several is distilled, see
            :func:`~akd_monai.networks.select_head`; its own loss sees all of them.
        unlabelled: images without labels that are joined to each batch, and what is learnt on them, as
            :class:`~akd_monai.engines.UnlabelledOptions` or a mapping with its fields. The terms see all images of a
            batch, but for those that need labels, which see the labelled ones.
        kwargs: all arguments of the class that it is mixed into.

    Raises:
        UnknownNameError: when a tapped layer does not exist in the student or the teacher.
        InputError: when an adapter has to be built and ``input_shape`` is missing, when student and teacher logits do not
            fit each other, or when the class does not train one network with one loss.
    """

    teacher_output: TeacherOutput
    teacher_source: TeacherSource
    teacher_norm: TargetNorm | None

    def __init__(
        self,
        *,
        teacher: nn.Module,
        distillation: DistillationCriterion,
        input_shape: Sequence[int] | None = None,
        seed: int = 0,
        teacher_options: TeacherOptions | Mapping[str, Any] | None = None,
        teacher_output: TeacherOutput | Mapping[str, Any] | Sequence[TeacherOutput | Mapping[str, Any]] | None = None,
        student_head: Head = None,
        unlabelled: UnlabelledOptions | Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        _check_parts(self)
        self.teacher = prepared_teacher(self, teacher)
        self.distillation = distillation
        self.student_head = student_head
        self.unlabelled = semi_supervised(unlabelled, self.data_loader, distillation)
        # both raise at once, before any data is read, when a layer does not exist
        set_up_teacher(self, teacher_options, teacher_output)
        FeatureTaps(self.network, distillation.student_layers).close()
        build_adapters(self, input_shape, seed)
        self.distillation.to(self.state.device)
        self.adapter_optimizer = AdapterOptimizer.follow(self, list(self.distillation.adapters.parameters()))
        self._task_loss = self.loss_function
        self.loss_function = self._total_loss
        self._student_taps: FeatureTaps | None = None
        self._has_loss = False
        self._was_propagated = False
        self.add_event_handler(Events.STARTED, self._start_teacher)
        self.add_event_handler(Events.ITERATION_STARTED, self._start_step)
        self.add_event_handler(Events.ITERATION_COMPLETED, self._check_step)
        self.add_event_handler(Events.COMPLETED, self._report_teacher)

    @property
    def _is_distilled(self) -> bool:
        return bool(self.distillation.active) or self.unlabelled is not None

    def _start_teacher(self, _: Engine) -> None:
        if self._is_distilled:
            logger.info("teacher and student are compared as %s outputs", self.teacher_output.activation)
            if isinstance(self.teacher, EmaTeacher):
                # handlers may have loaded weights since
                self.teacher.restart(self.network)
            if self.teacher_norm is not None:
                self.teacher_norm.start(self)
            self.teacher_source.start(self)

    def _report_teacher(self, _: Engine) -> None:
        if self.unlabelled is not None:
            self.unlabelled.close()
        if self._is_distilled:
            source = self.teacher_source
            logger.info("teacher: %d forward passes, outputs provided for %d images", source.computed, source.served)

    def _start_step(self, _: Engine) -> None:
        self._has_loss = False
        self._was_propagated = False
        length = self.state.epoch_length
        # a criterion of one's own may know no schedules, and some loaders no length
        if length and hasattr(self.distillation, "set_epoch"):
            self.distillation.set_epoch((self.state.iteration - 1) / length)

    def _check_step(self, _: Engine) -> None:
        """Refuse a step of the student's own that trains without the teacher, which nobody would notice."""
        if not self._is_distilled or self._was_propagated:
            return
        what = "does not propagate it back" if self._has_loss else "does not call it"
        raise self._unfit(f"the teacher is added by engine.loss_function, and its step {what}")

    def _iteration(self, engine: Any, batchdata: dict[str, torch.Tensor]) -> dict[str, Any]:
        # Hooks exist for one iteration only, so that validation on the same network keeps no features.
        with FeatureTaps(self.network, self.distillation.student_layers) as self._student_taps:
            if self.unlabelled is not None:
                # the teacher reads there which images they are
                batchdata = self.state.batch = self.unlabelled.joined(batchdata, self.state.iteration)
            output: dict[str, Any] = super()._iteration(engine, batchdata)
        self._student_taps = None
        return output

    def _total_loss(self, prediction: Any, *label: Any, **options: Any) -> Any:
        task = self._labelled_loss(prediction, *label, **options)
        if not self._is_distilled:
            if isinstance(task, torch.Tensor):
                self.state.loss_terms = {"task": task.detach().mean()}
            return task
        if not isinstance(task, torch.Tensor | None):
            raise self._unfit(f"its loss returns a {type(task).__name__}, wanted a tensor")
        terms = {} if task is None else {"task": task.mean()}
        terms.update(self._distillation_terms(terms.get("task"), prediction, *label))
        self.state.loss_terms = {name: value.detach() for name, value in terms.items()}
        if self.state.iteration == 1 and getattr(self.state, "rank", 0) == 0:
            warn_of_large_terms(self.state.loss_terms)
        total = torch.stack([value.float() for value in terms.values()]).sum()
        if total.requires_grad:
            total.register_hook(self._propagated)
        if self.unlabelled is not None:
            self.unlabelled.restore(self.state)
        return total

    def _labelled_loss(self, prediction: Any, *label: Any, **options: Any) -> Any:
        if self.unlabelled is None:
            return self._task_loss(prediction, *label, **options)
        return self.unlabelled.task(self._task_loss, prediction, *label, **options)

    def _propagated(self, _: torch.Tensor) -> None:
        self._was_propagated = True

    def _distillation_terms(
        self, task: torch.Tensor | None, prediction: Any, label: Any = None, *_: Any
    ) -> dict[str, torch.Tensor]:
        if self._has_loss:
            raise self._unfit("its step calls engine.loss_function several times a batch, wanted once")
        self._has_loss = True
        image = self._image()
        logits = select_head(
            prediction, self.student_head, where="student", network=self.network, image_size=image.shape[2:]
        )
        teacher_logits, teacher_features = self.teacher_source(_plain(image), self.state.batch)
        features = self._student_features()
        # a criterion of one's own may know no labels
        ground_truth: dict[str, Any] = {}
        if getattr(self.distillation, "needs_labels", False):
            ground_truth["labels"] = _plain(label)
        balance = {} if getattr(self.distillation, "balance", None) is None else {"task": task}
        terms = {}
        if self.unlabelled is not None:
            if ground_truth:
                ground_truth["labelled"] = self.unlabelled.labelled
            terms = self.unlabelled.term(
                self._task_loss,
                prediction,
                _plain(logits),
                teacher_logits,
                self.teacher_output.activation,
                _plain(label),
            )
        terms.update(
            self.distillation(
                self._compared(logits), teacher_logits, features, teacher_features, **ground_truth, **balance
            )
        )
        return terms

    def _compared(self, value: Any) -> Any:
        """Return a map of the student for the criterion, as it is where gradients with respect to it are compared."""
        return value if getattr(self.distillation, "balance", None) == "gradient" else _plain(value)

    def _image(self) -> torch.Tensor:
        output = self.state.output
        image = output.get(Keys.IMAGE) if isinstance(output, dict) else None
        if not isinstance(image, torch.Tensor):
            raise self._unfit(f"its step does not store the input as engine.state.output[{Keys.IMAGE.value!r}]")
        return image

    def _student_features(self) -> dict[str, torch.Tensor]:
        if not self.distillation.student_layers:
            return {}
        if self._student_taps is None:
            raise self._unfit("its iteration_update does not call engine._iteration")
        features = {name: self._compared(value) for name, value in self._student_taps.features.items()}
        # the graph holds what the backward pass needs
        self._student_taps.clear()
        return features

    def _unfit(self, what: str) -> InputError:
        return _unfit(type(self), what)


def _unfit(mixed: type, what: str) -> InputError:
    """Return the error for a trainer to which no teacher can be added, under the name that the student's config gives."""
    own = [kind for kind in mixed.__mro__ if not issubclass(kind, DistillationMixin)]
    name = own[0].__name__
    remedy = "change it, or name monai.engines.SupervisedTrainer as the student's trainer"
    return InputError(f"a student trained by {name} cannot be distilled: {what}", remedy=remedy)


def _check_parts(trainer: Any) -> None:
    for name in ("network", "optimizer", "loss_function"):
        if not hasattr(trainer, name):
            raise _unfit(type(trainer), f"it keeps no {name!r}, as MONAI's SupervisedTrainer does")
    epochs = trainer.state.max_epochs
    if epochs is not None and not float(epochs).is_integer():
        # Ignite would train the started epoch to its end
        raise InputError(f"max_epochs must be an integer, got {epochs!r}.")
    if trainer.state.epoch_length == 0:
        # MONAI's run would end at once, as if all were done
        raise InputError(
            "there is no batch to train on: an epoch has length 0",
            remedy="check that the data folder has images, and that drop_last leaves a batch",
        )


def _plain(value: Any) -> Any:
    """Return a tensor without metadata, which the losses do not use and which would slow each operation."""
    return value.as_tensor() if isinstance(value, MetaTensor) else value
