# SPDX-License-Identifier: Apache-2.0
"""Which statements of :class:`~akd_monai.losses.interface.DistillationLoss` hold for a loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import get_args

from torch import Tensor, nn

from akd_monai.errors import InputError, check_choice
from akd_monai.losses.interface import TeacherNeeds

__all__ = ["adapter_path", "is_altered", "needs_labels", "stated_needs"]

_TEACHER_NEEDS = get_args(TeacherNeeds)
# Methods that do not change what a loss computes from its maps, and what Python itself puts into a class.
_HARMLESS = frozenset({"__init__", "extra_repr", "__dict__", "__weakref__"})


def stated_needs(loss: nn.Module) -> TeacherNeeds:
    """Return what a loss reads of the teacher's logits; ``"logits"`` where no statement holds.

    Raises:
        InputError: if ``teacher_needs`` has another value.
    """
    if not _states(loss, "teacher_needs"):
        return "logits"
    needs: TeacherNeeds = loss.teacher_needs  # type: ignore[assignment]
    check_choice(f"teacher_needs of {type(loss).__name__}", needs, _TEACHER_NEEDS)
    return needs


def adapter_path(loss: nn.Module) -> Callable[[Tensor, Tensor, Tensor], Tensor | None] | None:
    """Return the method that computes a loss with its adapter, ``None`` where no statement holds."""
    if not _states(loss, "forward_with_adapter"):
        return None
    method: Callable[[Tensor, Tensor, Tensor], Tensor | None] = loss.forward_with_adapter  # type: ignore[assignment]
    return method


def needs_labels(loss: nn.Module) -> bool:
    """Return whether a loss takes the labels of the task as a third argument.

    Raises:
        InputError: if ``needs_labels`` is neither true nor false.
    """
    stated = getattr(loss, "needs_labels", False)
    if not isinstance(stated, bool):
        raise InputError(f"needs_labels of {type(loss).__name__} must be True or False, got {stated!r}.")
    return stated


def is_altered(module: nn.Module) -> bool:
    """Return whether this very module has hooks, or a ``forward`` other than that of its class."""
    hooks = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks)
    return "forward" in vars(module) or any(hooks)


def _states(loss: nn.Module, name: str) -> bool:
    """Return whether the class that makes a statement is followed by no subclass that changes the computation."""
    if is_altered(loss):
        return False
    for kind in type(loss).__mro__:
        if name in vars(kind):
            return True
        if _changes_computation(kind):
            return False
    return False


def _changes_computation(kind: type) -> bool:
    """Return whether a class defines a method or property that may alter what is computed."""
    return any(hasattr(value, "__get__") and name not in _HARMLESS for name, value in vars(kind).items())
