# SPDX-License-Identifier: Apache-2.0
"""A MONAI trainer whose loss also sees a frozen teacher."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.data import MetaTensor
from monai.engines import SupervisedTrainer
from monai.utils.enums import CommonKeys as Keys
from torch import nn

from akd_monai.engines._adapters import AdapterOptimizer
from akd_monai.errors import InputError
from akd_monai.losses import DistillationCriterion
from akd_monai.networks import FeatureTaps, probe_layers
from akd_monai.teachers.options import TeacherOptions
from akd_monai.teachers.source import teacher_source

__all__ = ["DistillationTrainer"]

logger = logging.getLogger(__name__)


class DistillationTrainer(SupervisedTrainer):
    r"""Train ``network`` on its labels and, by named terms, on the outputs of a frozen ``teacher`` for the same images.

    .. math:: L = L_\mathrm{task} + \sum_n w_n L_n

    Only the loss of :class:`monai.engines.SupervisedTrainer` is extended: AMP, gradient accumulation, inferer, events and
    handlers are MONAI's. The teacher receives the same batch as the student (augmentation included), in ``eval`` mode and
    without gradients; neither its parameters nor its buffers change. Terms of weight 0 are not computed, and a run
    without any other term equals a plain run bit for bit: the teacher is not called at all.

    Each iteration stores its terms, detached, in ``engine.state.loss_terms``: ``"task"`` and one entry a term.

    Adapters of the criterion (1x1 convolutions on student features) are trained by an optimizer of their own, of the same
    class, settings and learning rate as the student's. They are never part of ``network``.

    Args:
        teacher: network that returns one tensor of logits for the student's input.
        distillation: the named, weighted terms, see :class:`akd_monai.losses.DistillationCriterion`.
        input_shape: ``(channels, *spatial)`` of one input, used once to find the channels of the tapped layers;
            needed only when an adapter has to be built for a term.
        seed: of the adapters' initial weights.
        teacher_options: whether the teacher's outputs are cached, and how they are computed, as
            :class:`~akd_monai.teachers.TeacherOptions` or a mapping with its fields.
        kwargs: all arguments of :class:`monai.engines.SupervisedTrainer`.

    Raises:
        UnknownNameError: when a tapped layer does not exist in the student or the teacher.
        InputError: when an adapter has to be built and ``input_shape`` is missing, or when student and teacher logits
            do not fit each other.

    Attributes:
        teacher: the frozen network.
        distillation: the terms, with their adapters.
        teacher_source: where the teacher's outputs come from, a :class:`~akd_monai.teachers.TeacherSource`.
        adapter_optimizer: the adapters' optimizer, None without adapters.

    Example:
        >>> from akd_monai.losses import DistillationCriterion
        >>> student, teacher = nn.Conv2d(1, 2, 1), nn.Conv2d(1, 2, 1)
        >>> batch = {"image": torch.ones(1, 1, 4, 4), "label": torch.zeros(1, 1, 4, 4, dtype=torch.long)}
        >>> trainer = DistillationTrainer(
        ...     device="cpu", max_epochs=1, train_data_loader=[batch], network=student,
        ...     optimizer=torch.optim.SGD(student.parameters(), lr=0.1),
        ...     loss_function=lambda logits, label: torch.nn.functional.cross_entropy(logits, label[:, 0]),
        ...     teacher=teacher, distillation=DistillationCriterion([{"name": "logits", "loss": "logits", "weight": 0.2}]),
        ... )
        >>> trainer.run()
        >>> sorted(trainer.state.loss_terms)
        ['logits', 'task']

    Source: arXiv 2404.02738, eq. 8, for the sum; Hinton et al., 2015, arXiv:1503.02531, for the scheme.
    """

    def __init__(
        self,
        *,
        teacher: nn.Module,
        distillation: DistillationCriterion,
        input_shape: Sequence[int] | None = None,
        seed: int = 0,
        teacher_options: TeacherOptions | Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        device = self.state.device
        self.teacher = teacher.to(device).eval().requires_grad_(False)
        self.distillation = distillation
        # both raise at once, before any data is read, when a layer does not exist
        self.teacher_source = teacher_source(
            self.teacher, distillation, teacher_options, torch.device(device), self._ambient_dtype()
        )
        FeatureTaps(self.network, distillation.student_layers).close()
        self._build_adapters(input_shape, seed)
        self.distillation.to(device)
        self.adapter_optimizer = AdapterOptimizer.follow(self, list(self.distillation.adapters.parameters()))
        self._task_loss = self.loss_function
        self.loss_function = self._total_loss
        self.add_event_handler(Events.STARTED, self._start_teacher)
        self.add_event_handler(Events.COMPLETED, self._report_teacher)

    def _ambient_dtype(self) -> torch.dtype | None:
        """Return the type in which MONAI's trainer runs a step under AMP, None where it has no effect."""
        if not (self.amp and torch.cuda.is_available()):
            return None
        options: Mapping[str, Any] = self.amp_kwargs or {}
        dtype: torch.dtype = options.get("dtype", torch.float16)
        return dtype

    def _build_adapters(self, input_shape: Sequence[int] | None, seed: int) -> None:
        if not any(term.adapter == "conv1x1" for term in self.distillation.active):
            return
        if input_shape is None:
            raise InputError(
                "a distillation term has an adapter, whose channels are found by one forward pass: give "
                "input_shape, for instance [1, 384, 384], or set adapter to null on every term."
            )
        layers = [*self.distillation.student_layers, None]
        found = probe_layers(self.network, layers, (1, *input_shape), device=self.state.device)
        student = {name: shape[1] for name, shape in found.items()}
        teacher = {name: shape[0] for name, shape in self.teacher_source.shapes(input_shape).items()}
        self.distillation.build_adapters(student, teacher, spatial_dims=len(input_shape) - 1, seed=seed)

    def _start_teacher(self, _: Engine) -> None:
        if self.distillation.active:
            self.teacher_source.start(self)

    def _report_teacher(self, _: Engine) -> None:
        if self.distillation.active:
            source = self.teacher_source
            logger.info("teacher: %d forward passes, outputs provided for %d images", source.computed, source.served)

    def _iteration(self, engine: Any, batchdata: dict[str, torch.Tensor]) -> dict[str, Any]:
        # Hooks exist for one iteration only, so that validation on the same network keeps no features.
        with FeatureTaps(self.network, self.distillation.student_layers) as self._student_taps:
            output: dict[str, Any] = super()._iteration(engine, batchdata)
        return output

    def _total_loss(self, prediction: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        task: torch.Tensor = self._task_loss(prediction, label).mean()
        terms = {"task": task}
        if self.distillation.active:
            terms.update(self._distillation_terms(prediction))
        self.state.loss_terms = {name: value.detach() for name, value in terms.items()}
        if len(terms) == 1:
            return task
        return torch.stack([value.float() for value in terms.values()]).sum()

    def _distillation_terms(self, prediction: Any) -> dict[str, torch.Tensor]:
        if not isinstance(prediction, torch.Tensor):
            raise InputError(
                f"the student must return one tensor of logits to be distilled, got {type(prediction).__name__}; "
                "wrap the network so that forward returns its final logits."
            )
        teacher_logits, teacher_features = self.teacher_source(_plain(self.state.output[Keys.IMAGE]), self.state.batch)
        features = {name: _plain(value) for name, value in self._student_taps.features.items()}
        terms: dict[str, torch.Tensor] = self.distillation(
            _plain(prediction), teacher_logits, features, teacher_features
        )
        # the graph holds what the backward pass needs
        self._student_taps.clear()
        return terms


def _plain(value: torch.Tensor) -> torch.Tensor:
    """Return a tensor without metadata, which the losses do not use and which would slow each operation."""
    return value.as_tensor() if isinstance(value, MetaTensor) else value
