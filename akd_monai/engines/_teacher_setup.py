# SPDX-License-Identifier: Apache-2.0
"""What a trainer does before its first step to be taught: teacher, its outputs, and adapters on the student's features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from akd_monai.errors import InputError
from akd_monai.networks import probe_layers
from akd_monai.networks._wrappers import frozen
from akd_monai.teachers._activations import outputs_for
from akd_monai.teachers._target_norm import target_norm
from akd_monai.teachers.average import EmaTeacher
from akd_monai.teachers.options import TeacherOptions
from akd_monai.teachers.output import TeacherOutput
from akd_monai.teachers.source import networks_of, teacher_source

__all__ = ["build_adapters", "prepared_teacher", "set_up_teacher"]

_Output = TeacherOutput | Mapping[str, Any]
_CONVOLUTION = "conv1x1"


def prepared_teacher(trainer: Any, teacher: nn.Module) -> nn.Module:
    """Return the teacher on the trainer's device, frozen; an average of the student follows it from here on."""
    if isinstance(teacher, EmaTeacher):
        teacher.follow(trainer.network, trainer.optimizer)
    return frozen(teacher.to(trainer.state.device))


def set_up_teacher(
    trainer: Any,
    options: TeacherOptions | Mapping[str, Any] | None,
    output: _Output | Sequence[_Output] | None,
) -> None:
    """Give a trainer its ``teacher_output``, ``teacher_source`` and ``teacher_norm``.

    Args:
        trainer: a distillation trainer, with its teacher, criterion and images without labels.
        options: whether the teacher's outputs are cached, and how they are computed.
        output: which head and classes of the teacher are meant; of several teachers a list.

    Raises:
        UnknownNameError: if a layer of the teacher does not exist, before any data is read.
        InputError: if the options do not fit the teacher.
    """
    outputs = outputs_for(trainer.distillation.active, output, len(networks_of(trainer.teacher)))
    # several teachers have one activation
    trainer.teacher_output = outputs[0]
    trainer.teacher_source = teacher_source(
        trainer.teacher,
        trainer.distillation,
        options,
        torch.device(trainer.state.device),
        _ambient_dtype(trainer),
        outputs if len(outputs) > 1 else trainer.teacher_output,
        further={} if trainer.unlabelled is None else trainer.unlabelled.teacher_needs,
    )
    trainer.teacher_norm = target_norm(trainer.teacher, options)


def build_adapters(trainer: Any, input_shape: Sequence[int] | None, seed: int) -> None:
    """Build the criterion's adapters for the channels of the tapped layers, found by one forward pass of each network.

    Args:
        trainer: a distillation trainer whose teacher is set up.
        input_shape: ``(channels, *spatial)`` of one input.
        seed: of the adapters' initial weights.

    Raises:
        InputError: if an adapter is wanted and ``input_shape`` is missing.
    """
    criterion = trainer.distillation
    wanted = [term for term in criterion.active if term.adapter == _CONVOLUTION]
    if not wanted:
        return
    if input_shape is None:
        raise InputError(
            "a distillation term has an adapter, whose channels are found by one forward pass: give "
            "input_shape, for instance [1, 384, 384], or set adapter to null on every term."
        )
    layers: list[str | None] = list(criterion.student_layers)
    if any(term.student_layer is None for term in wanted):
        layers.append(None)
    shape = (1, *input_shape)
    found = probe_layers(
        trainer.network, layers, shape, device=trainer.state.device, head=trainer.student_head, where="student"
    )
    student = {name: size[1] for name, size in found.items()}
    teacher = {name: size[0] for name, size in trainer.teacher_source.shapes(input_shape).items()}
    criterion.build_adapters(student, teacher, spatial_dims=len(input_shape) - 1, seed=seed)


def _ambient_dtype(trainer: Any) -> torch.dtype | None:
    """Return the type in which MONAI's trainer runs a step under AMP, None where it has no effect."""
    if not (trainer.amp and torch.cuda.is_available()):
        return None
    options: Mapping[str, Any] = trainer.amp_kwargs or {}
    dtype: torch.dtype = options.get("dtype", torch.float16)
    return dtype
