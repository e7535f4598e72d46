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
from akd_monai.teachers._activations import needs_of, output_for
from akd_monai.teachers.cached import CachedTeacher
from akd_monai.teachers.online import OnlineTeacher, TeacherOutputs
from akd_monai.teachers.options import TeacherOptions
from akd_monai.teachers.output import TeacherOutput

__all__ = ["TeacherSource", "teacher_source"]


class TeacherSource(Protocol):
    """What a trainer asks for the teacher's outputs: :class:`OnlineTeacher`, :class:`CachedTeacher`, or your own."""

    @property
    def computed(self) -> int:
        """Number of images that went through the teacher."""

    @property
    def served(self) -> int:
        """Number of images for which outputs were returned."""

    def start(self, trainer: SupervisedTrainer) -> None:
        """Prepare for a run."""

    def __call__(self, image: torch.Tensor, batch: Any) -> TeacherOutputs:
        """Return logits ``[B, K, *spatial]`` and features by layer for the images of a batch."""

    def shapes(self, input_shape: Sequence[int]) -> dict[str, tuple[int, ...]]:
        """Return ``(C, *spatial)`` of each layer, of the logits under ``""``, for an input ``(C, *spatial)``."""


def teacher_source(
    teacher: nn.Module,
    distillation: DistillationCriterion,
    options: TeacherOptions | Mapping[str, Any] | None,
    device: torch.device,
    ambient: torch.dtype | None = None,
    output: TeacherOutput | Mapping[str, Any] | None = None,
) -> TeacherSource:
    """Return the source of outputs that ``options`` ask for.

    Args:
        teacher: the network, in ``eval`` mode on ``device``.
        distillation: the terms that need the outputs.
        options: :class:`TeacherOptions`, or a mapping with its fields.
        device: of the run.
        ambient: type of the trainer's autocast, None when it has none.
        output: what is taken from the network's output, as :class:`TeacherOutput` or a mapping with its fields; without an
            activation it is that of the terms.

    Raises:
        InputError: if an option is wrong, the terms and ``output`` have different activations, or the cache cannot store
            what a term needs.
        UnknownNameError: for a layer or an option that does not exist.

    Example:
        >>> terms = DistillationCriterion([{"name": "soft", "loss": "logits", "weight": 0.2}])
        >>> source = teacher_source(nn.Conv2d(1, 2, 1).eval(), terms, {"cache_dir": "cache"}, torch.device("cpu"))
        >>> type(source).__name__
        'CachedTeacher'
    """
    chosen = TeacherOptions.read(options)
    taken = output_for(distillation.active, output)
    online = OnlineTeacher(teacher, distillation.teacher_layers, chosen, device, ambient, taken)
    cache = chosen.cache
    if cache is None:
        return online
    needs = {term.name: needs_of(term, taken.activation) for term in distillation.active}
    if chosen.cache_dtype != "float32":
        _check_half(needs, chosen.cache_dtype)
    return CachedTeacher(online, cache, labels_only=all(need in (None, "labels") for need in needs.values()))


def _check_half(needs: Mapping[str, TeacherNeeds | None], dtype: str) -> None:
    """Refuse a loss that could tell half precision differences from logits in another way than by rounding."""
    for name, need in needs.items():
        if need == "logits":
            raise InputError(
                f"term {name!r} needs the teacher's logits as they are, but cache_dtype {dtype!r} keeps their "
                "differences: set cache_dtype to float32, or teacher_needs of the loss if it needs less."
            )
