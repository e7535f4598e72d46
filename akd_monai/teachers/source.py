# SPDX-License-Identifier: Apache-2.0
"""Where a distillation takes the teacher's outputs from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from monai.engines import SupervisedTrainer
from torch import nn

from akd_monai.errors import InputError
from akd_monai.losses import DistillationCriterion, TeacherNeeds
from akd_monai.teachers._activations import needs_of, outputs_for
from akd_monai.teachers.average import EmaTeacher
from akd_monai.teachers.cached import CachedTeacher
from akd_monai.teachers.combined import CombinedTeacher
from akd_monai.teachers.ensemble import TeacherEnsemble
from akd_monai.teachers.online import OnlineTeacher
from akd_monai.teachers.options import TeacherOptions
from akd_monai.teachers.output import TeacherOutput

__all__ = ["TeacherFeatures", "TeacherSource", "networks_of", "teacher_source"]


#: Features of a layer, ``[B, C, *spatial]``, or of several teachers a tuple with those of each.
TeacherFeatures = torch.Tensor | tuple[torch.Tensor, ...]


class TeacherSource(Protocol):
    """What a trainer asks for the teacher's outputs.

    It is an :class:`OnlineTeacher`, a :class:`CachedTeacher`, a :class:`CombinedTeacher`, or your own.
    """

    @property
    def computed(self) -> int:
        """Number of images that went through the teacher."""

    @property
    def served(self) -> int:
        """Number of images for which outputs were returned."""

    def start(self, trainer: SupervisedTrainer) -> None:
        """Prepare for a run."""

    def __call__(self, image: torch.Tensor, batch: Any) -> tuple[torch.Tensor, Mapping[str, TeacherFeatures]]:
        """Return logits ``[B, K, *spatial]`` and features by layer for the images of a batch.

        Of several teachers, the features of a layer are a tuple with those of each.
        """

    def shapes(self, input_shape: Sequence[int]) -> dict[str, tuple[int, ...]]:
        """Return ``(C, *spatial)`` of each layer, of the logits under ``""``, for an input ``(C, *spatial)``."""


def teacher_source(
    teacher: nn.Module,
    distillation: DistillationCriterion,
    options: TeacherOptions | Mapping[str, Any] | None,
    device: torch.device,
    ambient: torch.dtype | None = None,
    output: TeacherOutput | Mapping[str, Any] | Sequence[TeacherOutput | Mapping[str, Any]] | None = None,
    further: Mapping[str, TeacherNeeds] | None = None,
) -> TeacherSource:
    """Return the source of outputs that ``options`` ask for.

    Args:
        teacher: the network, in ``eval`` mode on ``device``; or a :class:`TeacherEnsemble`, or an :class:`EmaTeacher` that
            follows its student.
        distillation: the terms that need the outputs.
        options: :class:`TeacherOptions`, or a mapping with its fields.
        device: of the run.
        ambient: type of the trainer's autocast, None when it has none.
        output: what is taken from the network's output, as :class:`TeacherOutput` or a mapping with its fields; without an
            activation it is that of the terms. For several teachers it may be a list with one for each, or its ``head`` and
            ``classes`` may be.
        further: what is read of the logits beside the terms, by name.

    Raises:
        InputError: if an option is wrong, the terms and ``output`` have different activations, or the cache cannot store
            what a term needs, or the outputs of an average that changes with every step.
        UnknownNameError: for a layer or an option that does not exist.

    Example:
        >>> terms = DistillationCriterion([{"name": "soft", "loss": "logits", "weight": 0.2}])
        >>> source = teacher_source(nn.Conv2d(1, 2, 1).eval(), terms, {"cache_dir": "cache"}, torch.device("cpu"))
        >>> type(source).__name__
        'CachedTeacher'
    """
    chosen = TeacherOptions.read(options)
    networks = networks_of(teacher)
    outputs = outputs_for(distillation.active, output, len(networks))
    online = []
    for network, taken in zip(networks, outputs, strict=True):
        online.append(OnlineTeacher(network, distillation.teacher_layers, chosen, device, ambient, taken))
    members: list[OnlineTeacher | CachedTeacher] = list(online)
    cache = chosen.cache
    if cache is not None:
        _check_cacheable(teacher)
        needs = {term.name: needs_of(term, outputs[0].activation) for term in distillation.active}
        needs.update(further or {})
        if chosen.cache_dtype != "float32":
            _check_half(needs, chosen.cache_dtype)
        # the decisions of several teachers do not tell that of their mean
        labels_only = len(networks) == 1 and all(need in (None, "labels") for need in needs.values())
        members = [CachedTeacher(one, cache, labels_only) for one in online]
    if isinstance(teacher, TeacherEnsemble):
        return CombinedTeacher(members, teacher.vote, outputs[0].activation)
    return members[0]


def networks_of(teacher: nn.Module) -> list[nn.Module]:
    """Return the networks of a teacher: itself, those of an ensemble, or that of an average.

    An ensemble is a :class:`~akd_monai.teachers.TeacherEnsemble`, an average an :class:`~akd_monai.teachers.EmaTeacher`.

    Example:
        >>> len(networks_of(nn.Identity()))
        1
    """
    if isinstance(teacher, TeacherEnsemble):
        return list(teacher)
    return [teacher.network if isinstance(teacher, EmaTeacher) else teacher]


def _check_cacheable(teacher: nn.Module) -> None:
    if isinstance(teacher, EmaTeacher):
        raise InputError(
            "the teacher is an average of the student, whose outputs change with every step and cannot be cached",
            remedy="leave out teacher_cache",
        )


def _check_half(needs: Mapping[str, TeacherNeeds | None], dtype: str) -> None:
    """Refuse a loss that could tell half precision differences from logits in another way than by rounding."""
    for name, need in needs.items():
        if need == "logits":
            raise InputError(
                f"term {name!r} needs the teacher's logits as they are, but cache_dtype {dtype!r} keeps their "
                "differences: set cache_dtype to float32, or teacher_needs of the loss if it needs less."
            )
