# SPDX-License-Identifier: Apache-2.0
"""One named, weighted term of a distillation criterion, and how it is read from a config."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import nn

from akd_monai.errors import InputError, check_choice, check_number, near_matches
from akd_monai.losses.registry import check_loss_name, get_loss

CONV1X1 = "conv1x1"
_RESERVED = frozenset(dir(nn.ModuleDict()))


@dataclass
class DistillationTerm:
    """One term: which maps of student and teacher are compared, how, and how much it counts.

    Args:
        name: unique in the criterion; names the term in logs and its adapter in checkpoints.
        loss: module called as ``loss(student, teacher)`` that returns a scalar.
        weight: factor of the loss, finite and at least 0; 0 turns the term off.
        student_layer: module path of the student's map, ``None`` for its final logits.
        teacher_layer: module path of the teacher's map, ``None`` for its final logits.
        adapter: module applied to the student's map, ``"conv1x1"`` for a 1x1 convolution without bias that
            :meth:`DistillationCriterion.build_adapters` makes, or ``None``.
        resize: bring the larger map to the smaller one's size by adaptive average pooling.

    Raises:
        InputError: if a value is of the wrong kind or out of range.

    Example:
        >>> DistillationTerm("soft", nn.MSELoss(), weight=0.2).student_layer is None
        True
    """

    name: str
    loss: nn.Module
    weight: float = 1.0
    student_layer: str | None = None
    teacher_layer: str | None = None
    adapter: nn.Module | str | None = None
    resize: bool = False

    def __post_init__(self) -> None:
        check_term_name(self.name)
        if not isinstance(self.loss, nn.Module):
            raise InputError(f"term {self.name!r}: loss must be a module, got {type(self.loss).__name__}.")
        check_number(f"term {self.name!r}: weight", self.weight, at_least=0)
        for key in ("student_layer", "teacher_layer"):
            value = getattr(self, key)
            if value is not None and (not isinstance(value, str) or not value):
                raise InputError(f"term {self.name!r}: {key} must be a module path or null (logits), got {value!r}.")
        if not isinstance(self.resize, bool):
            raise InputError(f"term {self.name!r}: resize must be true or false, got {self.resize!r}.")
        if self.adapter is not None and not isinstance(self.adapter, nn.Module):
            check_choice(f"term {self.name!r}: adapter, unless null or a module,", self.adapter, [CONV1X1])


def check_term_name(name: object) -> None:
    """Raise ``InputError`` unless ``name`` can name a term, a sub-module and a logged value."""
    if not isinstance(name, str) or not name or any(c in name for c in "./") or name in _RESERVED:
        raise InputError(f"a term needs a name without '.' and '/' that is no attribute of modules, got {name!r}.")


def read_term(entry: object, position: int) -> DistillationTerm | None:
    """Turn an entry of a config into a term; ``None`` where its weight is 0, whose loss is then not built.

    Args:
        entry: a term, or a mapping with its fields and, where ``loss`` is a name, ``"options"`` for its class.
        position: place of the entry in the list, for messages.

    Raises:
        InputError: if a key is missing, unknown or of the wrong kind.
        UnknownNameError: if no loss has the given name.
    """
    if isinstance(entry, DistillationTerm):
        return entry if entry.weight > 0 else None
    if not isinstance(entry, Mapping):
        raise InputError(f"term {position} must be a mapping or a DistillationTerm, got {type(entry).__name__}.")
    values: dict[str, Any] = dict(entry)
    known = [*(f.name for f in fields(DistillationTerm)), "options"]
    for key in values:
        if key not in known:
            hint = near_matches(str(key), known)
            raise InputError(f"term {position} has an unknown key {key!r}; known: {', '.join(known)}.{hint}")
    for key in ("name", "loss"):
        if key not in values:
            raise InputError(f"term {position} lacks the key {key!r}.")
    check_term_name(values["name"])
    name, loss, options = values["name"], values["loss"], values.pop("options", None) or {}
    if isinstance(loss, nn.Module):
        if options:
            raise InputError(f"term {name!r}: options go with the name of a loss; this loss is already built.")
    else:
        with naming_term(name):
            check_loss_name(loss)
        if not isinstance(options, Mapping):
            raise InputError(f"term {name!r}: options must be a mapping, got {type(options).__name__}.")
    # The rest is checked for terms of weight 0 as well, so that a typing error does not wait for its turn.
    term = DistillationTerm(**{**values, "loss": loss if isinstance(loss, nn.Module) else nn.Identity()})
    if term.weight == 0:
        return None
    if not isinstance(loss, nn.Module):
        with naming_term(name):
            term.loss = get_loss(loss, **options)
    return term


@contextmanager
def naming_term(name: str) -> Iterator[None]:
    """Put the term's name in front of the message of an ``InputError`` raised inside."""
    try:
        yield
    except InputError as error:
        raise type(error)(f"term {name!r}: {error}") from error


def conv1x1(spatial_dims: int, in_channels: int, out_channels: int, seed: int) -> nn.Module:
    """Return a 1x1 convolution without bias, initialised as PyTorch does but from ``seed`` alone.

    The global random state stays as it is, so that a run with an adapter draws the same batches as one without.
    """
    convolution = nn.utils.skip_init(
        (nn.Conv2d, nn.Conv3d)[spatial_dims - 2], in_channels, out_channels, kernel_size=1, bias=False
    )
    generator = torch.Generator().manual_seed(seed)
    nn.init.kaiming_uniform_(convolution.weight, a=5**0.5, generator=generator)
    return convolution
