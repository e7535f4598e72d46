# SPDX-License-Identifier: Apache-2.0
"""Distillation mixed into the trainer class that a student names."""

from __future__ import annotations

import copyreg
import inspect
from functools import cache
from typing import Any, cast

from monai.bundle import ComponentLocator
from monai.engines import AdversarialTrainer, GanTrainer, SupervisedTrainer, Trainer
from monai.utils import optional_import

from akd_monai.engines.mixin import DistillationMixin
from akd_monai.engines.trainer import DistillationTrainer
from akd_monai.errors import InputError

__all__ = ["distillation_trainer"]

_OWN = set(inspect.signature(DistillationMixin).parameters) - {"kwargs"}


def distillation_trainer(trainer: type | str) -> type[DistillationMixin]:
    """Return ``trainer`` with :class:`DistillationMixin` mixed in; of one class always the same one.

    Its ``_iteration`` and its further arguments stay: whatever its constructor takes is passed on.

    Args:
        trainer: a class of trainers, or its name as a config's ``_target_`` gives it.

    Raises:
        InputError: if it is no trainer of MONAI's kind, trains several networks, or has an argument that the mixin needs.

    Example:
        >>> distillation_trainer("SupervisedTrainer") is DistillationTrainer
        True
        >>> class Own(SupervisedTrainer):
        ...     pass
        >>> distillation_trainer(Own).__mro__[1:3] == (DistillationMixin, Own)
        True
    """
    return _mixed(_located(trainer) if isinstance(trainer, str) else trainer)


def _located(name: str) -> Any:
    module = ComponentLocator().get_component_module_name(name)
    if isinstance(module, list):
        module = module[0]
    place, _, short = f"{module}.{name}".rpartition(".") if module else name.rpartition(".")
    found, is_there = optional_import(place, name=short)
    if not place or not is_there:
        remedy = "give a class of MONAI, or its full path"
        raise InputError(f"the student's trainer {name!r} cannot be imported", remedy=remedy)
    return found


@cache
def _mixed(trainer: Any) -> type[DistillationMixin]:
    if trainer is SupervisedTrainer:
        return DistillationTrainer
    if isinstance(trainer, type) and issubclass(trainer, DistillationMixin):
        return trainer
    _check(trainer)
    about = {"__doc__": f"{trainer.__name__} with the terms of a frozen teacher.", "__module__": trainer.__module__}
    mixed = _Mixture(f"Distillation{trainer.__name__}", (DistillationMixin, trainer), about)
    return cast(type[DistillationMixin], mixed)


class _Mixture(type):
    """A class made here, which other processes make again from the class that was mixed."""


def _pickled(mixed: _Mixture) -> tuple[Any, tuple[type]]:
    return distillation_trainer, (mixed.__bases__[1],)


copyreg.pickle(_Mixture, _pickled)


def _check(trainer: Any) -> None:
    name = getattr(trainer, "__name__", repr(trainer))
    if not (isinstance(trainer, type) and issubclass(trainer, Trainer)):
        raise InputError(
            f"the student's trainer {name} is no class of MONAI's trainers, wanted a monai.engines.Trainer."
        )
    if issubclass(trainer, (GanTrainer, AdversarialTrainer)):
        raise InputError(f"the student's trainer {name} trains several networks, and only one can be distilled.")
    taken = sorted(_OWN & set(inspect.signature(trainer).parameters))
    if taken:
        raise InputError(
            f"the student's trainer {name} has arguments of its own under names that a distillation needs: "
            f"{', '.join(taken)}",
            remedy="rename them",
        )
